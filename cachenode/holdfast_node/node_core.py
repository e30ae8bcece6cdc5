"""One node below its services: its replicas, its part in placement, the map and the addresses it goes by.

    driver -> hosting (replicas) -> routing (who serves what)
           -> agent (reports, orders) <-> conductor (of the newest replica of the placement group here)

The server gives it ports and real time, the simulator virtual ones; both run this code.

Invariants:
- The map and the addresses begin with the last news this node wrote down, else with what the cluster is
  born with, and follow the placement group; policies only what this process was told.
- Replicas are made from configuration only at the very first start; later the WAL alone says which there
  are.
- One replica of the placement group here is conducted for at most: of the newest group, as the groups
  that are the placement group one after another have ids that grow. So reports go to the one that goes
  on, as soon as it is here; whoever needs the conductor asks for the present one.
Callback style on the node's loop thread: no asyncio.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from holdfast.keys import KeyRange
from holdfast.shardmap import Shard as MapEntry
from holdfast_raft.clock import Clock
from holdfast_raft.driver import Driver
from holdfast_raft.group import Group

from holdfast_node import talk
from holdfast_node.address_book import AddressBook
from holdfast_node.agent import Agent, Figures
from holdfast_node.beginning import Beginning
from holdfast_node.cache.policy import Eviction, Policy
from holdfast_node.cache.state import State
from holdfast_node.hosted import Hosted, HostedState
from holdfast_node.hosting import Hosting
from holdfast_node.placement.cluster import PLACEMENT_GROUP, PLACEMENT_NAMESPACE
from holdfast_node.placement.conductor import Conductor
from holdfast_node.placement.replica import PlacementReplica
from holdfast_node.placement.state import PlacementState
from holdfast_node.placement.succession import Succession
from holdfast_node.routing import Routing
from holdfast_node.shard import Shard
from holdfast_node.talk import MapNews


class NodeCore:
    """See the module docstring. Make it, then `make_first` or `open`, then `start`."""

    def __init__(
        self,
        node: int,
        incarnation: int,
        driver: Driver,
        clock: Clock,
        beginning: Beginning,
        *,
        last_news: MapNews | None,
        make_shard: Callable[[NodeCore, MapEntry, State | None], Shard],
        figures: Figures,
        remember: Callable[[MapNews], None] = lambda _: None,
        set_peers: Callable[[dict[int, str]], None] = lambda _: None,
    ) -> None:
        """Makes no replica yet.

        Args:
            node: this node's id.
            incarnation: of its data directory.
            driver: its driver, not started.
            clock: its clock.
            beginning: what the cluster is born with.
            last_news: what this node last wrote down; None: nothing yet.
            make_shard: makes a shard; with `Hosting.sealing` and `AddressBook.replicas_of` of this core.
            figures: the node's load.
            remember: writes news down, so that the next start begins with them.
            set_peers: tells the transport who the others are.
        """
        self.node = node
        self.driver = driver
        self._clock = clock
        self._beginning = beginning
        self._make_shard = make_shard
        self._remember = remember
        self._set_peers = set_peers
        known = last_news or beginning.news
        self.news_waits: set[Callable[[], None]] = set()
        """Told when the map has changed."""
        self.book = AddressBook(known.nodes, known.placement, known.placement_group)
        self.routing: Routing[Shard] = Routing(known.map)
        self.namespaces = {space.name: space for space in known.namespaces}
        # What was written down may be old: a policy is asked for by what this process was told, and to be
        # told it says that it knows no map yet.
        self.epoch = 0
        self._knows_policies = False
        self.hosting = self._make_hosting()
        self.agent = Agent(
            node,
            incarnation,
            driver,
            self.hosting,
            clock,
            figures=figures,
            placement=lambda: self.book.placement,
            epoch=lambda: self.epoch,
            take_news=self._take_news,
        )
        self.placement: PlacementReplica | None = None
        """The newest one here, sealed or not."""
        self.conductor: Conductor | None = None
        """Of that replica."""
        self._has_started = False

    def _make_hosting(self) -> Hosting:
        return Hosting(
            self.node,
            self.driver,
            self._make_replica,
            replicas_of=self.book.replicas_of,
            hosted=self._hosted,
            unhosted=self._unhosted,
            learned=self._learned,
            changed=lambda: self.agent.changed(),  # noqa: PLW0108 - it comes later
        )

    def __repr__(self) -> str:
        return f"<NodeCore {self.node}: {self.hosting!r}, epoch {self.epoch}>"

    # ---- replicas --------------------------------------------------------------------------------------

    def make_first(self) -> None:
        """The replicas that the cluster is born with, on its very first start here."""
        self._knows_policies = True
        for entry in self._beginning.news.map.shards:
            if any(replica.node == self.node for replica in entry.replicas):
                self.hosting.create(entry)
        members = self._beginning.news.placement
        if self.node in members:
            replicas = self.book.replicas_of(members)
            everything = KeyRange(b"", b"")
            self.hosting.create(MapEntry(PLACEMENT_NAMESPACE, everything, PLACEMENT_GROUP, 0, replicas, 0))

    def open(self) -> None:
        """The replicas that the WAL knows. Raises what Hosting.open_all raises."""
        self.hosting.open_all()

    def _make_replica(self, entry: MapEntry, state: HostedState | None) -> Hosted:
        if entry.namespace != PLACEMENT_NAMESPACE:
            assert state is None or isinstance(state, State), "of its source's kind"
            return self._make_shard(self, entry, state)
        assert state is None or isinstance(state, PlacementState), "of its source's kind"
        first = self._beginning.bootstrap if entry.group == PLACEMENT_GROUP else None
        return PlacementReplica(entry, first, self._clock, state=state, sealing=self._placement_sealed)

    def _placement_sealed(self, replica: PlacementReplica) -> None:
        self.hosting.sealing(replica)
        Succession(
            replica,
            call_later=self.driver.call_later,
            tell=self._tell,
            is_over=lambda: self.hosting.replicas.get(replica.entry.group) is not replica,
        )

    def _hosted(self, replica: Hosted) -> None:
        if isinstance(replica, Shard):
            self.routing.host(replica)
        else:
            self._conduct_newest()

    def _unhosted(self, replica: Hosted) -> None:
        if isinstance(replica, Shard):
            self.routing.unhost(replica.entry.group)
        else:
            self._conduct_newest()

    def _learned(self, entries: Iterable[MapEntry]) -> None:
        """Of replicas here and of targets; where the placement group is, no map says."""
        shards = []
        for entry in entries:
            if entry.namespace == PLACEMENT_NAMESPACE:
                self.book.take_placement(entry.group, (replica.node for replica in entry.replicas))
            else:
                shards.append(entry)
        self.routing.learn(shards)

    def _conduct_newest(self) -> None:
        """Lets the newest replica of the placement group here be conducted for, and no other."""
        here = [r for r in self.hosting.replicas.values() if isinstance(r, PlacementReplica)]
        newest = max(here, key=lambda replica: replica.entry.group, default=None)
        if newest is self.placement:
            return
        before, self.placement, self.conductor = self.conductor, newest, None
        if newest is not None:
            heard = before.heard if before is not None else {}
            call_later = self.driver.call_later
            self.conductor = Conductor(
                newest, self._clock, call_later=call_later, tell=self._tell, heard=heard
            )
            if self._has_started:
                call_later(0.0, self.conductor.start)  # the replica has no group yet
        if before is not None:
            before.stop()
        self.agent.take_report = self.conductor.take_report if self.conductor is not None else None

    def start(self) -> None:
        """Begins to report, and to conduct if there is a replica of the placement group here."""
        self._has_started = True
        self.agent.start()
        if self.conductor is not None:
            self.conductor.start()

    def policy_of(self, namespace: str) -> Policy | None:
        """What a namespace's shards are to go by; None: as they do.

        Never by what an earlier process was told: a leader that asked for an old policy could evict what
        the present one keeps.
        """
        space = self.namespaces.get(namespace) if self._knows_policies else None
        return Policy(space.budget_bytes, Eviction(space.eviction)) if space is not None else None

    # ---- where the placement group is ------------------------------------------------------------------

    def placement_entry(self) -> MapEntry:
        """The placement group as a map would have it, as far as this node knows."""
        group = self.book.placement_group
        here = self.hosting.replicas.get(group)
        leader = here.group.leader if here is not None else None
        replicas = self.book.replicas_of(self.book.placement)
        return MapEntry(PLACEMENT_NAMESPACE, KeyRange(b"", b""), group, self.epoch, replicas, leader or 0)

    def placement_here(self) -> list[tuple[PlacementReplica, Group]]:
        """Replicas of the placement group on this node."""
        return [
            (replica, self.driver.groups[group])
            for group, replica in self.hosting.replicas.items()
            if isinstance(replica, PlacementReplica)
        ]

    # ---- words -----------------------------------------------------------------------------------------

    def _tell(self, node: int, word: talk.Word) -> None:
        if node != self.node:
            # A map of a thousand shards is some MiB: it must not delay heartbeats, nor be written for nobody.
            if self.driver.is_connected(node):
                self.driver.tell(node, talk.write(word), bulk=isinstance(word, MapNews))
        elif isinstance(word, MapNews):
            self._take_news(word)
        elif not isinstance(word, talk.Report):
            self.agent.obey(word)

    def _take_news(self, news: MapNews) -> None:
        if news.map.epoch <= self.epoch:
            return
        self.epoch = news.map.epoch
        self._knows_policies = True
        self.book.take(news.nodes, news.placement, news.placement_group)
        self.namespaces = {space.name: space for space in news.namespaces}
        for shard in self.hosting.shards.values():
            shard.want_policy(self.policy_of(shard.entry.namespace))
            space = self.namespaces.get(shard.entry.namespace)
            shard.want_strict_ttl(space is not None and space.strict_ttl)
        self.routing.replace_map(news.map)
        self._set_peers(self.book.peers_of(self.node))
        self._remember(news)
        self.agent.changed()
        for act in list(self.news_waits):
            act()
