"""How many forks lie between this process and the first: a client serves the process it was made in alone.

In a child it would write under its parent's name, on its parent's connections. So whoever was made before the
fork refuses there (`Session`, `LoopThread`).

The hook only counts. It runs in every child, also in one that is about to start another program, and a loop
that waits for that (uvloop's does) waits for the hook: whatever it let go of, or made the collector find,
could be gRPC's, which waits for locks that threads of the parent held at the fork and nobody gives back.
"""

from __future__ import annotations

import os

from holdfast.errors import HoldfastError, Reason, error

count = 0


def refusal() -> HoldfastError:
    """What a client says in a process it was not made in."""
    return error(Reason.STOPPED, "the client belongs to the process that forked this one; connect anew")


def _forked() -> None:
    global count  # noqa: PLW0603 - one for the process
    count += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
