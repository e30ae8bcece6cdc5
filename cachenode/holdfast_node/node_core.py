"""One node below its services: its replicas, its part in placement, the map and the addresses it goes by.

    driver -> hosting (replicas) -> routing (who serves what)
           -> agent (reports, orders) <-> conductor (on replicas of the placement group)

The server gives it ports and real time, the simulator virtual ones; both run this code.

Invariants:
- The map and the addresses begin with the last news this node wrote down, else with what the cluster is
  born with, and follow the placement group; policies only what this process was told.
- Replicas are made from configuration only at the very first start; later the WAL alone says which there
  are.
Callback style on the node's loop thread: no asyncio.
"""

from __future__ import annotations

from collections.abc import Callable

from holdfast.shardmap import Shard as MapEntry
from holdfast_raft.clock import Clock
from holdfast_raft.driver import Driver

from holdfast_node import talk
from holdfast_node.address_book import AddressBook
from holdfast_node.agent import Agent, Figures
from holdfast_node.beginning import Beginning
from holdfast_node.cache.policy import Eviction, Policy
from holdfast_node.cache.state import State
from holdfast_node.hosting import Hosting
from holdfast_node.placement.cluster import PLACEMENT_GROUP
from holdfast_node.placement.conductor import Conductor
from holdfast_node.placement.replica import PlacementReplica
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
        self._remember = remember
        self._set_peers = set_peers
        known = last_news or beginning.news
        self.news_waits: set[Callable[[], None]] = set()
        """Told when the map has changed."""
        self.book = AddressBook(known.nodes, known.placement)
        self.routing: Routing[Shard] = Routing(known.map)
        self.namespaces = {space.name: space for space in known.namespaces}
        # What was written down may be old: a policy is asked for by what this process was told, and to be
        # told it says that it knows no map yet.
        self.epoch = 0
        self._knows_policies = False
        self.hosting = Hosting(
            node,
            driver,
            lambda entry, state: make_shard(self, entry, state),
            replicas_of=self.book.replicas_of,
            hosted=self.routing.host,
            unhosted=lambda shard: self.routing.unhost(shard.entry.group),
            learned=self.routing.learn,
            changed=lambda: self.agent.changed(),  # noqa: PLW0108 - it comes below
        )
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
        self.conductor: Conductor | None = None

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
        if PLACEMENT_GROUP in self.driver.known_groups():  # of a first start that was cut off
            self._open_placement()
        elif self.node in members:
            replica = PlacementReplica(self._beginning.bootstrap)
            replica.bind(self.driver.create_group(PLACEMENT_GROUP, members, replica), self._clock)
            self._conduct(replica)

    def open(self) -> None:
        """The replicas that the WAL knows. Raises what Hosting.open_all raises."""
        if PLACEMENT_GROUP in self.driver.known_groups():
            self._open_placement()
        self.hosting.open_all(but=(PLACEMENT_GROUP,))

    def _open_placement(self) -> None:
        replica = PlacementReplica(self._beginning.bootstrap)
        replica.bind(self.driver.open_group(PLACEMENT_GROUP, replica), self._clock)
        self._conduct(replica)

    def _conduct(self, replica: PlacementReplica) -> None:
        self.placement = replica
        self.conductor = Conductor(replica, self._clock, call_later=self.driver.call_later, tell=self._tell)
        self.agent.take_report = self.conductor.take_report

    def start(self) -> None:
        """Begins to report, and to conduct if there is a replica of the placement group here."""
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

    # ---- words -----------------------------------------------------------------------------------------

    def _tell(self, node: int, word: talk.Word) -> None:
        if node != self.node:
            # A map of a thousand shards is some MiB: it must not delay heartbeats.
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
        self.book.take(news.nodes, news.placement)
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
