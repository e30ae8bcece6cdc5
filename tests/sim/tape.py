"""The simplest state machine: what raft's own scenarios replicate."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_raft.machine import CorruptImage


class TapeImage:
    """A frozen tape, a few items a chunk."""

    def __init__(self, items: list[bytes]) -> None:
        self._items = list(items)

    def chunks(self) -> Iterator[bytes]:
        for start in range(0, len(self._items), 4):
            yield b"".join(len(item).to_bytes(4, "big") + item for item in self._items[start : start + 4])
        yield b"end%d" % len(self._items)

    def release(self) -> None: ...


class TapeBuilder:
    """Restores a tape."""

    def __init__(self) -> None:
        self.items: list[bytes] = []
        self._total: int | None = None

    def feed(self, chunk: bytes) -> None:
        if chunk[:3] == b"end":
            self._total = int(chunk[3:])
            return
        while chunk:
            size = int.from_bytes(chunk[:4], "big")
            self.items.append(chunk[4 : 4 + size])
            chunk = chunk[4 + size :]

    def finish(self) -> None:
        if self._total != len(self.items):
            raise CorruptImage(f"{len(self.items)} items, {self._total} expected")


class Tape:
    """The simplest state machine: remembers every entry, in order.

    `agreed` is one for all replicas of a group: what the first of them applied at an index.
    """

    def __init__(self, agreed: dict[int, bytes]) -> None:
        self._agreed = agreed
        self.items: list[bytes] = []
        self.leading = False
        self.payloads: list[tuple[int, bytes]] = []
        self.poison: bytes | None = None

    def apply(self, index: int, term: int, data: bytes, context: object | None) -> object:
        if data == self.poison:
            raise ValueError("poison")
        assert self._agreed.setdefault(index, data) == data, f"two entries at index {index}"
        self.items.append(data)
        return len(self.items)

    def freeze(self) -> TapeImage:
        return TapeImage(self.items)

    def builder(self) -> TapeBuilder:
        return TapeBuilder()

    def install(self, builder: TapeBuilder) -> None:
        self.items = builder.items

    def role_changed(self, leading: bool) -> None:
        self.leading = leading

    def received(self, sender: int, data: bytes) -> None:
        self.payloads.append((sender, data))

    def turn(self) -> None: ...
    def close(self) -> None: ...
