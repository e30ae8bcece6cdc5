"""Large states go away a piece at a time.

A million keys take some 0.2 s to free, in which the node's loop would do nothing else. And a retired
replica, its group and its services refer to each other in circles, so nothing of it would be freed before a
collection of all objects, which comes once in a long while: emptied, what stays is small.

Not here: states that another one shares keys with - each lets go of its own references only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

SHED_KEYS = 4000
"""A step: some 1 ms."""
SHED_EVERY = 0.01


class Sheddable(Protocol):
    """A state that nobody uses any more."""

    def shed(self, count: int) -> bool:
        """Lets go of about so many keys, repeats or events; whether anything is left."""
        ...


def shed(state: Sheddable, call_later: Callable[[float, Callable[[], None]], object]) -> None:
    """Empties a state, the first piece at once, the others by the timer."""
    if state.shed(SHED_KEYS):
        call_later(SHED_EVERY, lambda: shed(state, call_later))
