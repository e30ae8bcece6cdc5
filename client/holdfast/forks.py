"""Sessions in a forked process: each takes a new identity there, or two processes would write as one."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Renewable(Protocol):
    """A session."""

    def renew(self) -> None:
        """Takes a new identity."""


_alive: weakref.WeakSet[Renewable] = weakref.WeakSet()


def renew_in_child(session: Renewable) -> None:
    """From now on, for as long as it lives."""
    _alive.add(session)


def renew_all() -> None:
    """What a child does first."""
    for session in list(_alive):
        session.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=renew_all)
