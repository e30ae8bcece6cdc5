"""How many forks lie between this process and the first: a client serves the process it was made in alone.

In a child it would write under its parent's name, on its parent's connections. So whoever was made before the
fork refuses there (`Session`, `Watch`, `LoopThread`). Nor can a new one be made there, also when all had been
closed: gRPC that was used before a fork connects to nobody after it, hangs or crashes, now and then.

The hook only counts. It runs in every child, also in one that is about to start another program, and a loop
that waits for that (uvloop's does) waits for the hook: whatever it let go of, or made the collector find,
could be gRPC's, which waits for locks that threads of the parent held at the fork and nobody gives back.
"""

from __future__ import annotations

import os
from typing import Final

from holdfast.errors import Reason, error

_INSTEAD = "fork before the first client is made, or start processes by spawn"

count = 0
_used_at: int | None = None


class Birth:
    """In which process a client, or a part of one, was made: here."""

    __slots__ = ("at",)

    def __init__(self) -> None:
        self.at: Final = count

    @property
    def is_inherited(self) -> bool:
        """Whether this process was forked since: whose birth this is belongs to the parent."""
        return self.at != count

    def check(self) -> None:
        """Raises HoldfastError (refused) where it is inherited."""
        if self.is_inherited:
            told = f"the client belongs to the process that forked this one; {_INSTEAD}"
            raise error(Reason.STOPPED, told)

    def __repr__(self) -> str:
        return f"<Birth after {self.at} forks, of {count}>"


def use() -> None:
    """To be called before gRPC is. Raises HoldfastError (refused) where a fork came after its first use."""
    global _used_at  # noqa: PLW0603 - one for the process
    if _used_at is None:
        _used_at = count
    if _used_at != count:
        raise error(Reason.STOPPED, f"gRPC was used before this process was forked; {_INSTEAD}")


def _forked() -> None:
    global count  # noqa: PLW0603 - one for the process
    count += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
