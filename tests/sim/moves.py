"""A group that moves: its source on nodes 1-3, its target on 1 (in place), 4 and 5 (by copies).

What an owner of raft does at a move, in small: a source is a tape that ends with a seal, a target is made
from a sealed source.
"""

from __future__ import annotations

from collections.abc import Callable

from holdfast_raft.copying import Copy
from holdfast_raft.machine import Builder
from holdfast_raft.replication import LogLimits
from holdfast_raft.wal import WalOptions

from tests.sim.cluster import Cluster, SimNode
from tests.sim.tape import Tape, TapeBuilder

SOURCE, TARGET = 2, 9
SOURCE_NODES = (1, 2, 3)
TARGET_NODES = (4, 1, 5)
COPIES = (4, 5)
SEAL = b"seal"


class Source(Tape):
    """A tape that a seal ends: what comes behind it changes nothing."""

    def __init__(self, agreed: dict[int, bytes], on_seal: Callable[[Source], None] | None = None) -> None:
        super().__init__(agreed)
        self.sealed: tuple[int, int] | None = None
        self.on_seal = on_seal

    def apply(self, index: int, term: int, data: bytes, context: object | None) -> object:
        if self.sealed is not None:
            return None
        if data != SEAL:
            return super().apply(index, term, data, context)
        self.sealed = (index, term)
        self.items.append(b"%s %d %d" % (SEAL, index, term))
        if self.on_seal is not None:
            self.on_seal(self)
        return None

    def install(self, builder: Builder) -> None:
        assert isinstance(builder, TapeBuilder)
        self.items = builder.items
        words = self.items[-1].split() if self.items else [b""]
        self.sealed = (int(words[1]), int(words[2])) if words[0] == SEAL else None

    def stands_at(self, index: int, term: int) -> tuple[int, int]:
        return self.sealed or (index, term)

    def cut(self, agreed: dict[int, bytes]) -> Tape:
        """The target's state."""
        assert self.sealed is not None
        tape = Tape(agreed)
        tape.items = [*self.items[:-1], b"moved"]
        return tape


class Moves(Cluster):
    """See the module docstring. `order` begins the copies; the move is done once the seal is written."""

    def __init__(
        self,
        seed: int,
        log_limits: LogLimits | None = None,
        wal_options: WalOptions | None = None,
        bytes_per_s: int = 1 << 30,
    ) -> None:
        super().__init__(seed, nodes=5, groups=(), log_limits=log_limits, wal_options=wal_options)
        self.bytes_per_s = bytes_per_s
        self.agreed = {SOURCE: {}, TARGET: {}}
        self.copies: dict[int, Copy] = {}
        self.ordered = False
        self.world.run_for(0.1)
        for number in SOURCE_NODES:
            node = self.nodes[number]
            assert node.driver is not None
            node.machines[SOURCE] = self.source(node)
            node.driver.create_group(SOURCE, SOURCE_NODES, node.machines[SOURCE])
        self.elect(SOURCE)

    # ---- what an owner does --------------------------------------------------------------------------

    def source(self, node: SimNode) -> Source:
        """A source's machine, which starts the target in place if the node has a replica of it."""
        on_seal = (lambda sealed: self.start_in_place(node, sealed)) if node.number in TARGET_NODES else None
        return Source(self.agreed[SOURCE], on_seal)

    def start_in_place(self, node: SimNode, sealed: Source) -> None:
        assert node.driver is not None
        assert sealed.sealed is not None
        if node.driver.born(TARGET) is None:
            node.machines[TARGET] = sealed.cut(self.agreed[TARGET])
            node.driver.create_group(
                TARGET, TARGET_NODES, node.machines[TARGET], base=sealed.sealed, about=b"in place"
            )

    def order(self, *numbers: int) -> None:
        """Begins the copies."""
        self.ordered = True
        for number in numbers or COPIES:
            self.copy(self.nodes[number])

    def copy(self, node: SimNode) -> Copy:
        machine = Source(self.agreed[SOURCE])

        def applied(index: int, term: int) -> None:
            if machine.sealed is not None:
                assert (index, term) == machine.sealed
                del self.copies[node.number]
                node.machines[TARGET] = machine.cut(self.agreed[TARGET])
                driver.birth(TARGET, TARGET_NODES, node.machines[TARGET], about=b"copied")

        driver = node.driver
        assert driver is not None
        self.copies[node.number] = copy = driver.start_copy(
            TARGET,
            SOURCE,
            machine,
            SOURCE_NODES,
            self.bytes_per_s,
            stands_at=machine.stands_at,
            applied=applied,
        )
        return copy

    def boot(self, node: SimNode) -> None:
        """A start: what the WAL knows is opened, what a copy left begins anew."""
        self.copies.pop(node.number, None)
        node.start()
        driver = node.driver
        assert driver is not None
        known = driver.known_groups()
        born = driver.born(TARGET)
        if SOURCE in known:
            machine = node.machines[SOURCE] = self.source(node)
            in_place = born is not None and born.about == b"in place"
            group = driver.open_group(SOURCE, machine, committed=born.base_index if in_place and born else 0)
            group.catch_up()
        if TARGET in known:
            self._open_target(node)
        if driver.unfinished_copies() or (self.ordered and node.number in COPIES and born is None):
            self.copy(node)

    def _open_target(self, node: SimNode) -> None:
        assert node.driver is not None
        copied = Source(self.agreed[SOURCE])
        tape = Tape(self.agreed[TARGET])
        if node.driver.replay(TARGET, copied):
            tape = copied.cut(self.agreed[TARGET])
        elif node.driver.store.latest(TARGET) is None:
            source = node.machines[SOURCE]
            assert isinstance(source, Source)
            tape = source.cut(self.agreed[TARGET])
        node.machines[TARGET] = tape
        node.driver.open_group(TARGET, tape)

    # ---- what a test asks ----------------------------------------------------------------------------

    def running(self, group: int, numbers: tuple[int, ...]) -> list[SimNode]:
        return [
            node
            for node in map(self.nodes.__getitem__, numbers)
            if node.driver is not None and group in node.driver.groups
        ]

    def caught_up(self, *numbers: int) -> bool:
        """Whether the copies have all that the source has."""
        commit = max(node.group(SOURCE).commit_index for node in self.running(SOURCE, SOURCE_NODES))
        return all(self.copies[n].index == self.copies[n].durable_index == commit for n in numbers or COPIES)

    def run_until_caught_up(self, *numbers: int, within: float = 10.0) -> None:
        assert self.world.run_until(lambda: self.caught_up(*numbers), within), self.copies

    def finish(self, within: float = 20.0) -> list[bytes]:
        """Seals the source if nobody has, waits until all three targets agree, and gives their tape."""
        if not any(node.machines[SOURCE].sealed for node in self.running(SOURCE, SOURCE_NODES)):  # type: ignore[attr-defined]
            self.propose(self.elect(SOURCE), SEAL, SOURCE)
        return self.agree(within)

    def agree(self, within: float = 20.0) -> list[bytes]:
        """Waits until all three targets are born and have the same."""

        def agreed() -> bool:
            there = self.running(TARGET, TARGET_NODES)
            leader = self.leader(TARGET)
            if len(there) < len(TARGET_NODES) or leader is None:
                return False
            last = leader.group(TARGET).journal.last_index
            return all(node.group(TARGET).applied_index == last for node in there)

        assert self.world.run_until(agreed, within), "the targets do not agree"
        first, *others = (node.tape(TARGET) for node in self.running(TARGET, TARGET_NODES))
        assert all(tape == first for tape in others)
        return list(first)
