"""Acts on ranges of hashed namespaces: shard after shard, by places, each key once."""

import asyncio
import itertools

import holdfast
import pytest
from holdfast import Reason, ranges, wire
from holdfast.errors import error
from holdfast.keys import KeyRange
from holdfast.shardmap import Replica, Shard, ShardMap
from holdfast.token import Token
from holdfast.types import Level, Served
from holdfast.units import Units, even_cuts

UNITS = Units(1, hashed=True)
KEYS = sorted(f"{device:03}/{name}".encode() for device in range(40) for name in "ab")
ALL = KeyRange(b"", b"")


def shards(*cuts: bytes, units: Units | None = UNITS, first: int = 2) -> list[Shard]:
    return [
        Shard("default", KeyRange(start, end), first + at, 1, (Replica(1, "n:1"),), 0, units)
        for at, (start, end) in enumerate(itertools.pairwise((b"", *cuts, b"")))
    ]


class OneNode:
    """Keys of one namespace, served by its map; looks at `looks` keys a page."""

    def __init__(self, cuts: tuple[bytes, ...] = even_cuts(4), looks: int = 7) -> None:
        self.token, self.token_full = Token("test"), False
        self.keys = set(KEYS)
        self.looks = looks
        self.served = ShardMap(1, shards(*cuts))
        self.map = self.served
        self.asked: list = []

    async def submit(self, namespace, where, key, kind, level, timeout_s, *, is_place=False):
        operation = wire.OperationMessage.FromString(kind)
        act = operation.scan if operation.HasField("scan") else operation.delete
        self.asked.append(act)
        await asyncio.sleep(0)
        if not act.range.HasField("places"):
            self.map = self.served  # what the session asks for meanwhile
            raise error(Reason.CROSS_SHARD, "places: required")
        places = KeyRange(act.range.places.start, act.range.places.end)
        shard = self.served.at(namespace, places.start)
        assert (is_place, where) == (True, places.start)
        if not shard.range.covers(places):
            self.map = self.served
            raise error(Reason.CROSS_SHARD, "several shards", shards=self.served.shards)
        return self._answer(act, operation, places), Served(Level.LINEARIZABLE, 1, 1, 0)

    def _answer(self, act, operation, places):
        standing = sorted(place for place in map(UNITS.placed, self.keys) if place in places)
        looked, rest = standing[: self.looks], standing[self.looks :]
        meant = [
            UNITS.key_at(p) for p in looked if UNITS.key_at(p) in KeyRange(act.range.start, act.range.end)
        ]
        result = wire.Result()
        if operation.HasField("scan"):
            for key in meant:
                result.page.items.add(key=key)
            result.page.next = rest[0] if rest else b""
            return result
        self.keys -= set(meant)
        result.deleted, result.more, result.next = len(meant), bool(rest), rest[0] if rest else b""
        return result

    async def close(self) -> None: ...


def scanned(node: OneNode, keys: KeyRange) -> list[bytes]:
    async def run():
        found, cursor = [], b""
        while True:
            ask = ranges.PageAsk(keys, 10, False, Level.LINEARIZABLE, 0, False)
            page = await ranges.page(node, "default", ask, cursor, 5.0)
            found += [item.key for item in page.items]
            cursor = page.next
            if not cursor:
                return found

    return asyncio.run(run())


@pytest.mark.parametrize(
    "keys", [ALL, KeyRange.of_prefix(b"01"), KeyRange(b"003/b", b"017"), KeyRange(b"x", b"")]
)
def test_a_scan_over_units_asks_every_shard_by_its_places(keys):
    """Each request lies in one shard and says plain keys; each key comes once, in the order of places."""
    node = OneNode()

    assert scanned(node, keys) == sorted((key for key in KEYS if key in keys), key=UNITS.placed)
    assert {(act.range.start, act.range.end) for act in node.asked} == {keys}
    assert len({node.served.at("default", act.range.places.start).group for act in node.asked}) == 4


def test_a_scan_of_one_unit_asks_one_shard():
    """A unit's keys are one range of places: nobody else is asked."""
    node = OneNode()

    assert scanned(node, KeyRange.of_prefix(b"007/")) == [b"007/a", b"007/b"]
    assert len(node.asked) == 1


@pytest.mark.parametrize("stale", [shards(units=None), shards(), []], ids=["ordered", "one shard", "unknown"])
@pytest.mark.parametrize("act", ["scan", "pages", "at once"])
def test_an_act_planned_by_another_map_is_planned_anew(stale, act):
    """The namespace of before had the name only, or fewer shards: nothing is skipped or taken twice."""
    node = OneNode(cuts=even_cuts(4) if act != "at once" else (), looks=1000)
    node.map = ShardMap(1, stale)
    prefix = KeyRange.of_prefix(b"02")
    if act == "scan":
        assert sorted(scanned(node, prefix)) == [key for key in KEYS if key in prefix]
        return
    delete = ranges.delete_in_pages if act == "pages" else ranges.delete_atomically

    assert asyncio.run(delete(node, "default", prefix, 5.0)) == 20
    assert node.keys == {key for key in KEYS if key not in prefix}


def test_a_cursor_of_a_namespace_not_known_yet_is_kept():
    """A page may be asked for by who has not seen the map that the page before was read by."""
    node = OneNode()
    order = sorted(KEYS, key=UNITS.placed)
    node.map = ShardMap(1, [])
    ask = ranges.PageAsk(ALL, 10, False, Level.LINEARIZABLE, 0, False)
    page = asyncio.run(ranges.page(node, "default", ask, UNITS.placed(order[30]), 5.0))

    assert page.items[0].key == order[30]


def test_a_paged_delete_goes_on_where_the_answer_says():
    """Of a page that looked at others' keys only, what is left comes later: it is not looked at again."""
    node = OneNode()

    assert asyncio.run(ranges.delete_in_pages(node, "default", KeyRange.of_prefix(b"03"), 5.0)) == 20
    starts = [act.range.places.start for act in node.asked]
    assert starts == sorted(set(starts))
    assert node.keys == {key for key in KEYS if not key.startswith(b"03")}


def test_a_delete_at_once_over_several_shards_is_the_callers_to_hear():
    """CROSS_SHARD that names shards is no matter of maps."""
    with pytest.raises(holdfast.RefusedError) as refused:
        asyncio.run(ranges.delete_atomically(OneNode(), "default", ALL, 5.0))

    assert refused.value.reason is Reason.CROSS_SHARD
