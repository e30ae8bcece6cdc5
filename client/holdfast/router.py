"""Which node to ask: the map as known here, who leads, who answers.

Invariants: a node that failed is not chosen while another replica may answer, and is never given up for
good; a replica that refused a read gets no more of them in its turn. At every key the latest group ever told
serves: ids only grow along a key's life, so the targets named by a WRONG_SHARD answer stand above every map
that does not know them yet, one of two as well as both. What it knows are hints; a wrong one costs a
redirect, never a wrong answer.

Sends nothing and reads no clock: `now` is the caller's monotonic time in seconds.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any, Final

from holdfast.keys import KeyRange
from holdfast.shardmap import Shard, ShardMap

READER_TURN_S: Final = 0.05
"""So long, about, one replica of a shard serves a client's reads that any may serve: what is read together
travels together, and finds a replica that is awake."""
SUSPECT_S_MIN: Final = 0.1
SUSPECT_S_MAX: Final = 2.0
"""Also at once of a node that gave no sign of life: others name it as the leader until they elect anew."""
# A group learned of so recently may still be being born, and elect its first leader: tens of ms.
YOUNG_S: Final = 0.5


class Router:
    """The map, the leaders and the health of nodes, as one session sees them."""

    def __init__(self, turn: int = 0) -> None:
        """turn: where the replicas' turns begin; another for each client, or all would begin with one."""
        self.map = ShardMap(0, ())
        self.ready: set[int] = set()  # nodes with an open stream that was welcomed
        self._leaders: dict[int, int] = {}  # group -> node
        self._suspect: dict[int, tuple[float, int]] = {}  # node -> until, strikes
        self._silent: set[int] = set()  # ready nodes that have stopped answering, for now
        self._readers: dict[int, tuple[int, ...]] = {}  # group -> ready replicas, cached
        self._young_until: dict[int, float] = {}  # group -> until it counts as just born
        self._turn = turn  # of what goes to another one each time
        self._reader_turn = turn  # of the reads that any may serve: apart, so that nothing else ends it
        self._reader_turn_ends = float("-inf")  # monotonic seconds
        self._random = random.Random(turn)

    # ---- the map ----

    def learn_map(self, newer: ShardMap, now: float) -> tuple[Shard, ...]:
        """Takes a map unless the known one is newer; the shards that replace earlier ones."""
        if newer.epoch < self.map.epoch or not newer.shards:
            return ()
        ahead = [shard for shard in self.map.shards if newer.group(shard.group) is None]
        return self._adopt(newer.overlaid(ahead) if ahead else newer, now)

    def learn_shards(self, shards: Iterable[Shard], now: float) -> tuple[Shard, ...]:
        """Lays what an answer told over the map, all targets or some; the shards that this adds."""
        fresh = [shard for shard in shards if self.map.group(shard.group) is None]
        return self._adopt(self.map.overlaid(fresh), now) if fresh else ()

    def _adopt(self, changed: ShardMap, now: float) -> tuple[Shard, ...]:
        known, self.map = self.map, changed
        self._readers.clear()
        fresh = tuple(s for s in changed.shards if known.shards and known.group(s.group) is None)
        for shard in changed.shards:
            if shard.leader:
                self._leaders.setdefault(shard.group, shard.leader)
        for shard in fresh:
            self._leaders.setdefault(shard.group, shard.replicas[0].node)  # named first: it should lead
            self._young_until[shard.group] = now + YOUNG_S
        by_group: tuple[dict[int, Any], ...] = (self._leaders, self._young_until)
        for facts in by_group:
            for group in [g for g in facts if changed.group(g) is None]:
                del facts[group]
        return fresh

    def is_young(self, shard: Shard, now: float) -> bool:
        """Whether the shard's group was learned of a moment ago: it may have no leader yet."""
        return now < self._young_until.get(shard.group, 0.0)

    def nodes(self) -> dict[int, str]:
        """The nodes that hold a replica, and their addresses."""
        return {replica.node: replica.address for shard in self.map.shards for replica in shard.replicas}

    def locate(self, namespace: str, key: bytes) -> Shard | None:
        """The shard of a key; None: the namespace is not in the map."""
        return self.map.locate(namespace, key)

    def at(self, namespace: str, place: bytes) -> Shard | None:
        """The shard of a place; None: the namespace is not in the map."""
        return self.map.at(namespace, place)

    def overlapping(self, namespace: str, places: KeyRange) -> tuple[Shard, ...]:
        """The shards of a range of places, in order."""
        return self.map.overlapping(namespace, places)

    # ---- leaders ----

    def learn_leader(self, group: int, node: int, said_by: int) -> None:
        """A node's word on who leads: taken from the leader itself, or when nothing is known."""
        if node == said_by or group not in self._leaders:
            self._leaders[group] = node

    def not_leader(self, shard: Shard, node: int, leader_address: str, now: float) -> bool:
        """`node` said it does not lead. True: it named another that is worth asking."""
        self.forget_leader(shard.group, node)
        hint = next((r.node for r in shard.replicas if r.address == leader_address), None)
        if hint is None or hint == node or (hint not in self.ready and self.is_suspect(hint, now)):
            return False
        self._leaders[shard.group] = hint
        return True

    def forget_leader(self, group: int, node: int) -> None:
        """`node` cannot act as the group's leader: ask the others who does."""
        if self._leaders.get(group) == node:
            del self._leaders[group]

    def leader_of(self, shard: Shard, now: float, tried: int = 0) -> int:
        """The node to send writes and linearizable reads to: the leader, or who may know it.

        Args:
            shard: whose leader.
            now: monotonic seconds.
            tried: bit set of nodes asked before; others are preferred when no leader is known.
        """
        node = self._leaders.get(shard.group)
        if node is not None and (node in self.ready or not self.is_suspect(node, now)):
            return node
        return self.next_replica(shard, now, tried)

    # ---- readers ----

    def reader_of(self, shard: Shard, now: float, tried: int = 0) -> int:
        """The replica for a read that any replica may serve: one of a shard for a while, then the next.

        Args:
            shard: whose replica.
            now: monotonic seconds.
            tried: bit set of nodes asked before.
        """
        readers = self._readers_of(shard)
        if not readers or tried:
            return self.next_replica(shard, now, tried)
        if now >= self._reader_turn_ends:
            self._end_reader_turn(now)
        return readers[self._reader_turn % len(readers)]

    def refused_read(self, shard: Shard, node: int, now: float) -> None:
        """`node` cannot serve such a read now: its turn is over, if it has it."""
        readers = self._readers_of(shard)
        if readers and readers[self._reader_turn % len(readers)] == node:
            self._end_reader_turn(now)

    def _readers_of(self, shard: Shard) -> tuple[int, ...]:
        readers = self._readers.get(shard.group)
        if readers is None:
            ready = [r.node for r in shard.replicas if r.node in self.ready]
            readers = tuple([node for node in ready if node not in self._silent] or ready)
            self._readers[shard.group] = readers
        return readers

    def _end_reader_turn(self, now: float) -> None:
        self._reader_turn += 1
        # Of no fixed length: clients that ask the same replica now part again.
        self._reader_turn_ends = now + READER_TURN_S * self._random.uniform(0.5, 1.5)

    def may_go_elsewhere(self, shard: Shard, node: int, tried: int) -> bool:
        """Whether a read that waits for a node can be asked of another one that answers."""
        return any(
            r.node != node and r.node in self.ready and r.node not in self._silent and not tried >> r.node & 1
            for r in shard.replicas
        )

    def untried(self, shard: Shard, now: float, tried: int) -> bool:
        """Whether some replica that is worth asking has not been asked."""
        return any(not (tried >> r.node & 1 or self._is_away(r.node, now)) for r in shard.replicas)

    def _is_away(self, node: int, now: float) -> bool:
        """Whether the node failed and has not welcomed us since: who asks it waits for a connection."""
        return node not in self.ready and self.is_suspect(node, now)

    def next_replica(self, shard: Shard, now: float, tried: int = 0) -> int:
        """Another replica each time, of the best: untried and ready, untried and not suspect, untried, any
        that answers. For what stays where it is, as a watch does, and where nobody knows who leads.

        One that is away comes behind those that were asked: a leader whose process is stopped takes the
        connection and says nothing for a second, in which the others elect another.
        """
        self._turn += 1

        def rank(node: int) -> tuple[bool, bool, bool, bool]:
            doubtful = self.is_suspect(node, now) or node in self._silent
            return self._is_away(node, now), bool(tried >> node & 1), doubtful, node not in self.ready

        ranks = {replica.node: rank(replica.node) for replica in shard.replicas}
        best = min(ranks.values())
        nodes = [node for node, found in ranks.items() if found == best]
        return nodes[self._turn % len(nodes)]

    # ---- health ----

    def welcomed(self, node: int) -> None:
        """The node has answered a new stream."""
        self.ready.add(node)
        self._readers.clear()

    def answered(self, node: int) -> None:
        """The node does its work: past failures are forgotten."""
        if self._suspect:
            self._suspect.pop(node, None)

    def silent(self, node: int) -> None:
        """The node owes answers and sends nothing: reads go to others until it does."""
        if node not in self._silent:
            self._silent.add(node)
            self._readers.clear()

    def heard(self, node: int) -> None:
        """A node that was silent sends again."""
        self._silent.discard(node)
        self._readers.clear()

    def lost(self, node: int, now: float, *, gave_no_sign: bool = False) -> None:
        """The node's stream broke, or it gave no sign of life: others first, unless it welcomes us again."""
        self.ready.discard(node)
        self._silent.discard(node)
        self._readers.clear()
        strikes = self._suspect.get(node, (0.0, 0))[1] + 1
        pause = SUSPECT_S_MAX if gave_no_sign else SUSPECT_S_MIN * 2.0 ** min(strikes - 1, 10)
        pause = min(SUSPECT_S_MAX, pause)
        self._suspect[node] = (now + pause, strikes)
        for group in [g for g, leader in self._leaders.items() if leader == node]:
            del self._leaders[group]

    def is_suspect(self, node: int, now: float) -> bool:
        """Whether the node failed a moment ago."""
        found = self._suspect.get(node)
        return found is not None and now < found[0]

    def strikes(self, node: int) -> int:
        """How often the node failed in a row."""
        return self._suspect.get(node, (0.0, 0))[1]

    def unconnected(self, shards: Iterable[Shard], now: float) -> dict[int, str]:
        """Nodes of these shards without a stream that are worth dialling: id and address."""
        return {
            replica.node: replica.address
            for shard in shards
            for replica in shard.replicas
            if replica.node not in self.ready and not self.is_suspect(replica.node, now)
        }

    def __repr__(self) -> str:
        return f"<Router {self.map!r}, ready {sorted(self.ready)}, leaders {self._leaders}>"
