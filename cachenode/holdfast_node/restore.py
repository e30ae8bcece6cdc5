"""A state being restored from a snapshot, in raft's words: whatever state it is.

Not here: what the chunks say (cache/image.py, placement/image.py).
"""

from __future__ import annotations

from typing import Any, Protocol

from holdfast_raft.machine import CorruptImage

from holdfast_node.cache.image import CorruptImageError


class StateBuilder(Protocol):
    """What builds a state of its chunks. Its methods raise CorruptImageError."""

    def feed(self, chunk: bytes) -> None: ...
    def finish(self) -> None: ...


class Restore:
    """See the module docstring. inner: the builder. holdfast_raft.machine.Builder."""

    def __init__(self, inner: StateBuilder) -> None:
        self.inner: Any = inner

    def feed(self, chunk: bytes) -> None:
        try:
            self.inner.feed(chunk)
        except CorruptImageError as problem:
            raise CorruptImage(str(problem)) from problem

    def finish(self) -> None:
        try:
            self.inner.finish()
        except CorruptImageError as problem:
            raise CorruptImage(str(problem)) from problem
