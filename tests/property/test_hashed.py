"""Hashed namespaces: whoever places a key, and wherever it is cut, the same keys are found, deleted and told.

Clients ask as `holdfast.ranges` does, shard after shard by places; each shard is a real state machine that
gets the operation's bytes. The model is a set of plain keys.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from holdfast import ranges, wire
from holdfast.errors import HoldfastError, Reason, error
from holdfast.keys import KeyRange
from holdfast.shardmap import Replica, Shard, ShardMap
from holdfast.token import Token
from holdfast.types import Level, Served
from holdfast.units import Units
from holdfast_node import limits
from holdfast_node.cache import commands
from holdfast_node.cache.decoding import decode_operation
from holdfast_node.cache.state import State
from holdfast_node.routing import Routing
from holdfast_node.rpc import convert
from hypothesis import given, settings
from hypothesis import strategies as st

STAMP = 1_000_000
REPLICAS = (Replica(1, "n:1"),)
# Few letters, so that prefixes meet: units, separators, keys that are prefixes of others.
KEYS = st.lists(st.sampled_from([b"/", b"a", b"b", b"\xff"]), min_size=1, max_size=6).map(b"".join)
BOUNDS = st.one_of(st.just(b""), KEYS)
CUTS = st.lists(st.binary(min_size=1, max_size=8), max_size=4).map(lambda cuts: sorted(set(cuts)))
UNITS = st.builds(Units, st.integers(0, 2), st.just(b"/"), st.just(True))


class Hosted:
    """A shard: its state, led here."""

    leader = 1

    def __init__(self, entry: Shard) -> None:
        self.entry = entry
        self.state = State()


class Cluster:
    """One node that hosts every shard of one namespace. A ranges.Backend."""

    def __init__(self, units: Units, cuts: list[bytes]) -> None:
        self.token, self.token_full = Token("test"), False
        self.units = units
        self._stamps = itertools.count(STAMP)
        self.map = ShardMap(1, [
            Shard("default", KeyRange(start, end), group, 1, REPLICAS, 1, units)
            for group, (start, end) in enumerate(itertools.pairwise((b"", *cuts, b"")), 2)
        ])  # fmt: skip
        self.routing = Routing(self.map, [Hosted(entry) for entry in self.map.shards])

    def do(self, data: bytes) -> wire.Result:
        """What a node does with an operation's bytes, whatever the shard."""
        op = decode_operation(data, self.routing.hashed_by("default"))
        shard = self.routing.locate_operation("default", op, whole=op.is_write)
        if isinstance(shard, HoldfastError):
            raise shard
        if op.is_write:
            entry = commands.encode_batch(
                next(self._stamps), [commands.Run(b"", 0, [data])], shard.entry.units
            )
            ((result,),) = shard.state.apply(entry)
        else:
            result = shard.state.read(op)
            page = result.page
            if page is not None and not page.next and shard.entry.range.end:
                result = result._replace(page=page._replace(next=shard.entry.range.end))
        found: list[wire.Result] = []
        holder = wire.StreamResponse().answers.add()
        convert.add_result(holder.results, 1, result, shard.entry.units)
        found += holder.results
        if found[0].HasField("error"):
            raise error(Reason(found[0].error.reason), found[0].error.message)
        return found[0]

    async def submit(
        self, namespace: str, where: bytes, key: bytes, kind: bytes, level: int, timeout_s: float,
        *, is_place: bool = False,
    ) -> Any:  # fmt: skip
        known = self.map.at(namespace, where) if is_place else self.map.locate(namespace, where)
        not_after = b"" if level else wire.not_after(STAMP + 60_000)
        frame = wire.operation(1, key, not_after, kind)
        data = wire.StreamRequest.FromString(frame).operations[0].SerializeToString()
        op = decode_operation(data, self.units)
        served = self.routing.locate_operation(namespace, op, whole=op.is_write)
        assert not isinstance(served, HoldfastError), served
        assert served.entry == known, "the client asks where the node serves"
        return self.do(data), Served(Level.LINEARIZABLE, 1, 1, 0)

    async def close(self) -> None: ...

    def put(self, key: bytes) -> None:
        asyncio.run(self.submit("default", key, key, wire.plain_put(b"v"), 0, 5.0))

    def scan(self, keys: KeyRange, limit: int) -> list[bytes]:
        async def run() -> list[bytes]:
            found, cursor = [], b""
            while True:
                ask = ranges.PageAsk(keys, limit, False, Level.LINEARIZABLE, 0, False)
                page = await ranges.page(self, "default", ask, cursor, 5.0)
                found += [item.key for item in page.items]
                cursor = page.next
                if not cursor:
                    return found

        return asyncio.run(run())


def filled(units: Units, cuts: list[bytes], keys: set[bytes]) -> Cluster:
    cluster = Cluster(units, cuts)
    for key in sorted(keys):
        cluster.put(key)
    return cluster


@pytest.fixture
def few_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that pages end for what they looked at."""
    monkeypatch.setattr(limits, "SCAN_LOOKS_MAX", 3)
    monkeypatch.setattr(limits, "DELETE_LOOKS_MAX", 3)
    monkeypatch.setattr(limits, "DELETE_KEYS_MAX", 2)


RANGES = st.one_of(BOUNDS.map(KeyRange.of_prefix), st.builds(KeyRange, BOUNDS, BOUNDS)).filter(
    lambda keys: not keys.is_empty()
)


@pytest.mark.usefixtures("few_looks")
@settings(deadline=None, max_examples=150)
@given(UNITS, CUTS, st.sets(KEYS, max_size=20), RANGES, st.integers(1, 5))
def test_a_scan_finds_what_the_model_holds_each_key_once(units, cuts, keys, meant, limit):
    """By whatever range, in whatever pages and shards: the keys of it, in the order of their places."""
    cluster = filled(units, cuts, keys)

    assert cluster.scan(meant, limit) == sorted((key for key in keys if key in meant), key=units.placed)


@pytest.mark.usefixtures("few_looks")
@settings(deadline=None, max_examples=150)
@given(UNITS, CUTS, st.sets(KEYS, max_size=20), RANGES)
def test_a_paged_delete_takes_exactly_what_is_meant(units, cuts, keys, meant):
    """It ends, says how many went, and what is left is the rest."""
    cluster = filled(units, cuts, keys)
    gone = {key for key in keys if key in meant}

    assert asyncio.run(ranges.delete_in_pages(cluster, "default", meant, 5.0)) == len(gone)
    assert set(cluster.scan(KeyRange(b"", b""), 100)) == keys - gone


@settings(deadline=None, max_examples=150)
@given(UNITS, CUTS, st.lists(KEYS, min_size=1, max_size=8))
def test_keys_of_one_unit_lie_in_one_shard(units, cuts, keys):
    """However it is cut at places that may be cut: so a transaction over a unit never crosses shards."""
    cluster = Cluster(units, [cut for cut in cuts if units.may_cut(cut)])
    groups: dict[bytes, set[int]] = {}
    for key in keys:
        entry = cluster.map.locate("default", key)
        assert entry is not None
        groups.setdefault(units.unit_of(key), set()).add(entry.group)

    assert all(len(served) == 1 for served in groups.values())
