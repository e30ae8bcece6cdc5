"""The replicas of one node, of shards and of the placement group: opened at its start, made from sealed ones,
copied from others, retired.

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
from holdfast_raft.machine import CorruptImage

from holdfast_node import talk
from holdfast_node.cache.seal import OtherSource, Sealed, Target
from holdfast_node.cache.state import State
from holdfast_node.following import Following
from holdfast_node.hosted import Hosted, HostedState, empty_state
from holdfast_node.shard import Shard
from holdfast_node.shedding import shed
from holdfast_node.talk import About

logger = logging.getLogger(__name__)

MakeReplica = Callable[[MapEntry, HostedState | None], Hosted]
"""A replica for an entry, with the state it begins with; the node knows kinds, policies, clocks, watchers."""


class Hosting:
    """See the module docstring."""

    def __init__(
        self,
        node: int,
        driver: Driver,
        make_replica: MakeReplica,
        *,
        replicas_of: Callable[[Sequence[int]], tuple[Replica, ...]],
        hosted: Callable[[Hosted], None],
        unhosted: Callable[[Hosted], None],
        learned: Callable[[Iterable[MapEntry]], None] = lambda _: None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """Opens nothing yet.

        Args:
            node: this node.
            driver: its driver.
            make_replica: see MakeReplica.
            replicas_of: node ids with their addresses.
            hosted: a replica serves here from now on; unhosted: no more.
            unhosted: see hosted.
            learned: told of replicas that serve here, and of the targets of a Seal that was applied here.
            changed: something that a report tells has changed.
        """
        self._node = node
        self._driver = driver
        self._make_replica = make_replica
        self._replicas_of = replicas_of
        self._hosted = hosted
        self._unhosted = unhosted
        self._learned = learned
        self._changed = changed
        self.replicas: dict[int, Hosted] = {}
        self.copies: dict[int, Copy] = {}
        # Born here, waiting for their sources' state since this process began.
        self.waiting: dict[int, About] = {}
        # Born by this process, and the record is not on disk yet.
        self._unsure: set[int] = set()

    def __repr__(self) -> str:
        return f"<Hosting node {self._node}: {sorted(self.shards)}, copies {sorted(self.copies)}>"

    @property
    def shards(self) -> dict[int, Shard]:
        """The replicas of shards, by group."""
        return {group: replica for group, replica in self.replicas.items() if isinstance(replica, Shard)}

    # ---- at the start ----------------------------------------------------------------------------------

    def open_all(self) -> None:
        """Opens every replica the WAL knows, those that need another's state once they have it.

        Raises CorruptImage, SnapshotDamaged, talk.Unreadable.
        """
        known = self._driver.known_groups()
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
        about = talk.read_about(born.about)
        # The placement group's first replicas were once born without a word about them.
        return about if about.replicas else about._replace(replicas=born.members)

    def _stands_on_disk(self, group: int) -> bool:
        """Whether the replica's state is here without any other's help."""
        born = self._driver.born(group)
        assert born is not None, f"group {group} is known"
        return born.base_index <= 1 or self._driver.store.latest(group) is not None

    def _has_sources(self, about: About) -> bool:
        return bool(about.sources) and all(
            source.group in self.replicas or source.group in self.waiting for source in about.sources
        )

    def _open(self, group: int, about: About, state: HostedState | None) -> None:
        following = Following(empty_state(about.namespace))
        if state is None and self._driver.replay(group, following):  # it was a copy, and is its only source
            state = following.state.cut(about.start, about.end, about.sources[0].group)
        replica = self._make_replica(self._entry(group, about), state)
        committed = max(
            (s.index for w in self.waiting.values() for s in w.sources if s.group == group), default=0
        )
        opened = self._driver.open_group(group, replica, committed=committed)
        self._serve(replica, opened)
        if committed:
            opened.catch_up()  # through its Seal: its targets here begin now

    # ---- new replicas ----------------------------------------------------------------------------------

    def create(self, entry: MapEntry) -> None:
        """Makes a replica of an empty group that its cluster or namespace is born with; again: nothing.

        One that a first start made which was cut off is opened.
        """
        if self._driver.born(entry.group) is not None:
            if entry.group not in self.replicas and not self._driver.retired(entry.group):
                self._open(entry.group, self._about(entry.group), None)
            return
        members = tuple(replica.node for replica in entry.replicas)
        about = About(entry.namespace, entry.range.start, entry.range.end, members, units=entry.units)
        replica = self._make_replica(entry, None)
        group = self._driver.create_group(entry.group, members, replica, about=talk.write_about(about))
        self._serve_born(replica, group)

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
        following = Following(empty_state(order.namespace))
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
        copy = self.copies.pop(group, None)
        if copy is not None or group in self._driver.unfinished_copies():
            self._driver.drop_copy(group)
            self._changed()
        if copy is not None and isinstance(copy.machine, Following):
            shed(copy.machine.state, self._driver.call_later)

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
        replica = self._make_replica(self._entry(number, about), state)
        group = self._driver.birth(number, target.replicas, replica, about=talk.write_about(about))
        self._serve_born(replica, group)

    # ---- in place --------------------------------------------------------------------------------------

    def sealing(self, replica: Hosted) -> None:
        """A Seal was applied in a replica here, or found in its snapshot, or lifted again."""
        sealed = replica.state.sealed
        if sealed is not None:
            self._start_targets(sealed)
            if sealed.decides:
                self._learned(self._successors(replica.entry, sealed))
        self._changed()

    def _start_targets(self, sealed: Sealed) -> None:
        """Makes the targets here, once every source here is sealed for the plan and one Seal decides."""
        sources = [replica for replica in self.replicas.values() if _is_sealed_by(replica, sealed.plan)]
        deciding = next((s.state.sealed for s in sources if s.state.sealed and s.state.sealed.decides), None)
        if deciding is None or len(sources) < 1 + len(deciding.others):
            return
        for target in deciding.targets:
            if self._node in target.replicas and target.group not in self.replicas:
                self._start(target, sources, deciding)

    def _start(self, target: Target, sources: list[Hosted], sealed: Sealed) -> None:
        driver = self._driver
        if driver.retired(target.group) or target.group in self.copies:
            return
        born = driver.born(target.group)
        if born is not None and target.group not in self.waiting:
            return  # it stands on its own, and is opened by itself
        sources = sorted(sources, key=lambda replica: replica.entry.range.start)
        places = [OtherSource(s.entry.group, *_place(s)) for s in sources]
        state = _handed_over(sources, target)
        namespace, units = sources[0].entry.namespace, sources[0].entry.units
        about = About(namespace, target.start, target.end, target.replicas, sealed.plan, tuple(places), units)
        if born is not None:
            del self.waiting[target.group]
            self._open(target.group, about, state)
            return
        base = max(place.index for place in places), max(place.term for place in places)
        replica = self._make_replica(self._entry(target.group, about), state)
        group = driver.create_group(
            target.group, target.replicas, replica, base=base, about=talk.write_about(about)
        )
        self._serve_born(replica, group)

    # ---- the end ---------------------------------------------------------------------------------------

    def stands(self, group: int) -> bool:
        """Whether the replica would start again without its source: others let go of theirs by this."""
        return group in self.replicas and group not in self._unsure and self._stands_on_disk(group)

    def snapshot(self, group: int) -> None:
        """Asks a replica that needs its source for a snapshot of its own."""
        if group in self.replicas and not self.stands(group):
            self._driver.groups[group].want_snapshot()

    def retire(self, group: int) -> str:
        """Ends a replica; why not, if a target here still needs it."""
        replica = self.replicas.get(group)
        if replica is None:
            return ""
        needing = [
            number
            for number, about in self._abouts_here()
            if any(source.group == group for source in about.sources) and not self.stands(number)
        ]
        sealed = replica.state.sealed
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
        del self.replicas[group]
        self._unhosted(replica)
        self._driver.retire_group(group)
        shed(replica.state, self._driver.call_later)
        self._changed()
        return ""

    def _abouts_here(self) -> list[tuple[int, About]]:
        return [(group, self._about(group)) for group in (*self.replicas, *self.waiting)]

    # ---- small things ----------------------------------------------------------------------------------

    def _entry(self, group: int, about: About) -> MapEntry:
        span = KeyRange(about.start, about.end)
        return MapEntry(about.namespace, span, group, 0, self._replicas_of(about.replicas), 0, about.units)

    def _successors(self, entry: MapEntry, sealed: Sealed) -> list[MapEntry]:
        """The targets as map entries; of no newer epoch than the source, as nobody has published them yet."""
        return [
            entry._replace(
                range=KeyRange(target.start, target.end),
                group=target.group,
                replicas=self._replicas_of(target.replicas),
                leader=0,
            )
            for target in sealed.targets
        ]

    def _serve_born(self, replica: Hosted, group: Group) -> None:
        """Serves a replica that was born just now, by a record that is not on disk yet."""
        self._unsure.add(group.id)
        self._serve(replica, group)
        self._driver.when_durable(group.journal.appended_lsn, lambda: self._is_durable(group.id))

    def _is_durable(self, group: int) -> None:
        self._unsure.discard(group)
        self._changed()

    def _serve(self, replica: Hosted, group: Group) -> None:
        self.replicas[group.id] = replica
        self._hosted(replica)
        replica.bind(group, self._driver)
        # It is there before any map says so; after a restart the map may be an old one.
        self._learned((replica.entry,))
        if replica.state.sealed is not None:  # its snapshot was: it said so before it could be found here
            self.sealing(replica)
        self._changed()


def _handed_over(sources: Sequence[Hosted], target: Target) -> HostedState:
    """What the target begins with; the sealed sources are in key order."""
    if len(sources) == 1:
        return sources[0].state.cut(target.start, target.end, sources[0].entry.group)
    states = [replica.state for replica in sources if isinstance(replica, Shard)]
    return State.joined(states, [replica.entry.group for replica in sources], states[0].policy)


def _is_sealed_by(replica: Hosted, plan: int) -> bool:
    sealed = replica.state.sealed
    return sealed is not None and sealed.plan == plan


def _place(replica: Hosted) -> tuple[int, int]:
    sealed = replica.state.sealed
    assert sealed is not None, "only sealed replicas are asked"
    return sealed.index, sealed.term
