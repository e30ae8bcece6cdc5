"""How many forks lie between this process and the first: a client serves the process it was made in alone.

In a child it would write under its parent's name, on its parent's connections. So whoever was made before the
fork refuses there (`Session`, `Watch`, `LoopThread`). Nor can a new one be made there while others were open
at the fork: gRPC with channels open at a fork connects to nobody in the child, or crashes (with all closed it
worked in 30 of 30 forks).

The hook only counts. It runs in every child, also in one that is about to start another program, and a loop
that waits for that (uvloop's does) waits for the hook: whatever it let go of, or made the collector find,
could be gRPC's, which waits for locks that threads of the parent held at the fork and nobody gives back.
"""

from __future__ import annotations

import os
from typing import Final

from holdfast.errors import Reason, error

_INSTEAD = "close clients before the fork, or start processes by spawn"

count = 0
_open = 0
_is_spoilt = False


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


def opened() -> None:
    """A session begins. Raises HoldfastError (refused) where gRPC was in use at a fork."""
    global _open  # noqa: PLW0603 - one for the process
    if _is_spoilt:
        raise error(Reason.STOPPED, f"clients were open when this process was forked; {_INSTEAD}")
    _open += 1


def closed() -> None:
    """A session of this process has closed its channels."""
    global _open  # noqa: PLW0603 - one for the process
    _open -= 1


def _forked() -> None:
    global count, _open, _is_spoilt  # noqa: PLW0603 - one for the process
    count += 1
    _is_spoilt = _is_spoilt or _open > 0
    _open = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
