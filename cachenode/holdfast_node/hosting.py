"""The replicas of one node: opened at its start, made from sealed ones, copied from others, retired.

A replica comes to be in four ways, each ending in a durable Born record: with its cluster or namespace
(`create`), in place from the sealed sources that this node holds (`_start_targets`), by a copy that has
followed a source of other nodes up to its Seal (`copy`), or by opening what the WAL knows (`open_all`).

Invariants:
- A replica made in place needs its sources' files until it has a snapshot of its own; a node that starts
  again opens the sources first and makes it anew (protocols.md 7).
- A source goes only when no target here needs it any more, whoever asks.
- Everything happens in the synchronous call in which a Seal is applied, so no request sees a state in
  between.
- A replica knows from its birth whether its namespace is hashed and how: from the order that made it or the
  source it was made from, kept in its birth record. The map and the news only ever repeat it.

Callback style on the node's loop thread: no asyncio, so the simulator runs the same code.
Does not decide when to seal, copy or retire (placement/conductor.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from holdfast.keys import KeyRange
from holdfast.shardmap import Replica
from holdfast.shardmap import Shard as MapEntry
from holdfast_raft.copying import Copy
from holdfast_raft.driver import Driver
from holdfast_raft.group import Group
from holdfast_raft.machine import Builder, CorruptImage, Image, UnknownEntry

from holdfast_node import talk
from holdfast_node.cache.commands import UnknownEntryError
from holdfast_node.cache.seal import OtherSource, Sealed, Target
from holdfast_node.cache.state import State
from holdfast_node.shard import Restore, Shard
from holdfast_node.talk import About

logger = logging.getLogger(__name__)

MakeShard = Callable[[MapEntry, State | None], Shard]
"""A shard for an entry, with the state it begins with; the node knows policies, clocks and watchers."""


class Following:
    """A source's state, followed under a target's id. A holdfast_raft.machine.StateMachine."""

    def __init__(self) -> None:
        self.state = State()

    def stands_at(self, index: int, term: int) -> tuple[int, int]:
        """Where a state that came as a snapshot of (index, term) stands: a sealed one changes no more."""
        sealed = self.state.sealed
        return (index, term) if sealed is None else (sealed.index, sealed.term)

    def apply(self, index: int, term: int, data: bytes, context: object | None) -> object:  # noqa: ARG002 - the contract's
        try:
            return self.state.apply(data, None, (index, term))
        except UnknownEntryError as problem:
            raise UnknownEntry(str(problem)) from problem

    def freeze(self) -> Image:
        return self.state.freeze()

    def builder(self) -> Builder:
        return Restore()

    def install(self, builder: Builder) -> None:
        assert isinstance(builder, Restore), "install takes what builder() gave"
        self.state = State.restored(builder.inner)

    def role_changed(self, leading: bool) -> None: ...
    def received(self, sender: int, data: bytes) -> None: ...
    def turn(self) -> None: ...
    def close(self) -> None: ...


class Hosting:
    """See the module docstring."""

    def __init__(
        self,
        node: int,
        driver: Driver,
        make_shard: MakeShard,
        *,
        replicas_of: Callable[[Sequence[int]], tuple[Replica, ...]],
        hosted: Callable[[Shard], None],
        unhosted: Callable[[Shard], None],
        learned: Callable[[Iterable[MapEntry]], None] = lambda _: None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """Opens nothing yet.

        Args:
            node: this node.
            driver: its driver.
            make_shard: see MakeShard.
            replicas_of: node ids with their addresses.
            hosted: a replica serves here from now on; unhosted: no more.
            unhosted: see hosted.
            learned: told of replicas that serve here, and of the targets of a Seal that was applied here.
            changed: something that a report tells has changed.
        """
        self._node = node
        self._driver = driver
        self._make_shard = make_shard
        self._replicas_of = replicas_of
        self._hosted = hosted
        self._unhosted = unhosted
        self._learned = learned
        self._changed = changed
        self.shards: dict[int, Shard] = {}
        self.copies: dict[int, Copy] = {}
        # Born here, waiting for their sources' state since this process began.
        self.waiting: dict[int, About] = {}
        # Born by this process, and the record is not on disk yet.
        self._unsure: set[int] = set()

    def __repr__(self) -> str:
        return f"<Hosting node {self._node}: {sorted(self.shards)}, copies {sorted(self.copies)}>"

    # ---- at the start ----------------------------------------------------------------------------------

    def open_all(self, but: Iterable[int] = ()) -> None:
        """Opens every replica the WAL knows, those that need another's state once they have it.

        but: groups that are another's to open. Raises CorruptImage, SnapshotDamaged, talk.Unreadable.
        """
        known = [group for group in self._driver.known_groups() if group not in set(but)]
        abouts = {group: self._about(group) for group in known}
        self.waiting = {group: abouts[group] for group in known if not self._stands_on_disk(group)}
        for group in [group for group in known if group not in self.waiting]:
            self._open(group, abouts[group], None)  # which may bring sealed sources' targets with it
        lost = [group for group in self.waiting if not self._has_sources(self.waiting[group])]
        if lost:
            raise CorruptImage(
                f"group {lost[0]} was made here from others, which this node's write-ahead log does not hold"
                " any more: restore the data directory, or reset the node"
            )

    def _about(self, group: int) -> About:
        born = self._driver.born(group)
        assert born is not None, f"group {group} is known"
        return talk.read_about(born.about)

    def _stands_on_disk(self, group: int) -> bool:
        """Whether the replica's state is here without any other's help."""
        born = self._driver.born(group)
        assert born is not None, f"group {group} is known"
        return born.base_index <= 1 or self._driver.store.latest(group) is not None

    def _has_sources(self, about: About) -> bool:
        return bool(about.sources) and all(
            source.group in self.shards or source.group in self.waiting for source in about.sources
        )

    def _open(self, group: int, about: About, state: State | None) -> None:
        following = Following()
        if state is None and self._driver.replay(group, following):  # it was a copy, and is its only source
            state = following.state.cut(about.start, about.end, about.sources[0].group)
        shard = self._make_shard(self._entry(group, about), state)
        committed = max(
            (s.index for w in self.waiting.values() for s in w.sources if s.group == group), default=0
        )
        opened = self._driver.open_group(group, shard, committed=committed)
        self._serve(shard, opened)
        if committed:
            opened.catch_up()  # through its Seal: its targets here begin now

    # ---- new replicas ----------------------------------------------------------------------------------

    def create(self, entry: MapEntry) -> None:
        """Makes a replica of an empty group that its cluster or namespace is born with; again: nothing.

        One that a first start made which was cut off is opened.
        """
        if self._driver.born(entry.group) is not None:
            if entry.group not in self.shards and not self._driver.retired(entry.group):
                self._open(entry.group, self._about(entry.group), None)
            return
        members = tuple(replica.node for replica in entry.replicas)
        about = About(entry.namespace, entry.range.start, entry.range.end, members, units=entry.units)
        shard = self._make_shard(entry, None)
        group = self._driver.create_group(entry.group, members, shard, about=talk.write_about(about))
        self._serve_born(shard, group)

    def create_empty(self, order: talk.CreateOrder) -> None:
        """Makes a replica of a new shard of a new namespace."""
        target = order.target
        span = KeyRange(target.start, target.end)
        replicas = self._replicas_of(target.replicas)
        self.create(MapEntry(order.namespace, span, target.group, 0, replicas, 0, order.units))

    def copy(self, order: talk.CopyOrder) -> None:
        """Begins to copy a source under the target's id; again: nothing."""
        target = order.target
        driver = self._driver
        if driver.born(target.group) is not None or driver.retired(target.group):
            return
        if target.group in self.copies:
            return
        following = Following()
        self.copies[target.group] = self._driver.start_copy(
            target.group,
            order.source,
            following,
            order.from_nodes,
            order.bytes_per_s,
            stands_at=following.stands_at,
            applied=lambda _index, _term: self._followed(order, following),
        )
        self._changed()

    def drop_copy(self, group: int) -> None:
        """Ends a copy whose plan is no more."""
        if self.copies.pop(group, None) is not None or group in self._driver.unfinished_copies():
            self._driver.drop_copy(group)
            self._changed()

    def _followed(self, order: talk.CopyOrder, following: Following) -> None:
        """The copy has got on; once it has its source's Seal, it is a replica."""
        sealed, number = following.state.sealed, order.target.group
        if sealed is None or not sealed.decides or number not in self.copies:
            return
        target = next((target for target in sealed.targets if target.group == number), None)
        if target is None or self._node not in target.replicas:
            return  # another plan ended the source; the conductor drops this copy
        source = OtherSource(order.source, sealed.index, sealed.term)
        about = About(
            order.namespace, target.start, target.end, target.replicas, sealed.plan, (source,), order.units
        )
        del self.copies[number]
        state = following.state.cut(target.start, target.end, order.source)
        shard = self._make_shard(self._entry(number, about), state)
        group = self._driver.birth(number, target.replicas, shard, about=talk.write_about(about))
        self._serve_born(shard, group)

    # ---- in place --------------------------------------------------------------------------------------

    def sealing(self, shard: Shard) -> None:
        """A Seal was applied in a shard here, or found in its snapshot, or lifted again."""
        sealed = shard.state.sealed
        if sealed is not None:
            self._start_targets(sealed)
            if sealed.decides:
                self._learned(map(shard.entry_of, sealed.targets))
        self._changed()

    def _start_targets(self, sealed: Sealed) -> None:
        """Makes the targets here, once every source here is sealed for the plan and one Seal decides."""
        sources = [shard for shard in self.shards.values() if _is_sealed_by(shard, sealed.plan)]
        deciding = next((s.state.sealed for s in sources if s.state.sealed and s.state.sealed.decides), None)
        if deciding is None or len(sources) < 1 + len(deciding.others):
            return
        for target in deciding.targets:
            if self._node in target.replicas and target.group not in self.shards:
                self._start(target, sources, deciding)

    def _start(self, target: Target, sources: list[Shard], sealed: Sealed) -> None:
        driver = self._driver
        if driver.retired(target.group) or target.group in self.copies:
            return
        born = driver.born(target.group)
        if born is not None and target.group not in self.waiting:
            return  # it stands on its own, and is opened by itself
        sources = sorted(sources, key=lambda shard: shard.entry.range.start)
        places = [OtherSource(s.entry.group, *_place(s)) for s in sources]
        if len(sources) == 1:
            state = sources[0].state.cut(target.start, target.end, sources[0].entry.group)
        else:
            states = [shard.state for shard in sources]
            state = State.joined(states, [s.entry.group for s in sources], states[0].policy)
        namespace, units = sources[0].entry.namespace, sources[0].entry.units
        about = About(namespace, target.start, target.end, target.replicas, sealed.plan, tuple(places), units)
        if born is not None:
            del self.waiting[target.group]
            self._open(target.group, about, state)
            return
        base = max(place.index for place in places), max(place.term for place in places)
        shard = self._make_shard(self._entry(target.group, about), state)
        group = driver.create_group(
            target.group, target.replicas, shard, base=base, about=talk.write_about(about)
        )
        self._serve_born(shard, group)

    # ---- the end ---------------------------------------------------------------------------------------

    def stands(self, group: int) -> bool:
        """Whether the replica would start again without its source: others let go of theirs by this."""
        return group in self.shards and group not in self._unsure and self._stands_on_disk(group)

    def snapshot(self, group: int) -> None:
        """Asks a replica that needs its source for a snapshot of its own."""
        if group in self.shards and not self.stands(group):
            self._driver.groups[group].want_snapshot()

    def retire(self, group: int) -> str:
        """Ends a replica; why not, if a target here still needs it."""
        shard = self.shards.get(group)
        if shard is None:
            return ""
        needing = [
            number
            for number, about in self._abouts_here()
            if any(source.group == group for source in about.sources) and not self.stands(number)
        ]
        sealed = shard.state.sealed
        if sealed is not None and sealed.decides:
            needing += [
                target.group
                for target in sealed.targets
                if self._node in target.replicas
                and not self.stands(target.group)
                and not self._driver.retired(target.group)
            ]
        if needing:
            return f"group {needing[0]} has no snapshot of its own here yet"
        del self.shards[group]
        self._unhosted(shard)
        self._driver.retire_group(group)
        self._changed()
        return ""

    def _abouts_here(self) -> list[tuple[int, About]]:
        return [(group, self._about(group)) for group in (*self.shards, *self.waiting)]

    # ---- small things ----------------------------------------------------------------------------------

    def _entry(self, group: int, about: About) -> MapEntry:
        span = KeyRange(about.start, about.end)
        return MapEntry(about.namespace, span, group, 0, self._replicas_of(about.replicas), 0, about.units)

    def _serve_born(self, shard: Shard, group: Group) -> None:
        """Serves a replica that was born just now, by a record that is not on disk yet."""
        self._unsure.add(group.id)
        self._serve(shard, group)
        self._driver.when_durable(group.journal.appended_lsn, lambda: self._is_durable(group.id))

    def _is_durable(self, group: int) -> None:
        self._unsure.discard(group)
        self._changed()

    def _serve(self, shard: Shard, group: Group) -> None:
        self.shards[group.id] = shard
        self._hosted(shard)
        shard.bind(group, self._driver)
        # It is there before any map says so; after a restart the map may be an old one.
        self._learned((shard.entry,))
        if shard.state.sealed is not None:  # its snapshot was: it said so before it could be found here
            self.sealing(shard)
        self._changed()


def _is_sealed_by(shard: Shard, plan: int) -> bool:
    sealed = shard.state.sealed
    return sealed is not None and sealed.plan == plan


def _place(shard: Shard) -> tuple[int, int]:
    sealed = shard.state.sealed
    assert sealed is not None, "only sealed shards are asked"
    return sealed.index, sealed.term
