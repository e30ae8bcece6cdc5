"""Watches of hashed namespaces: which parts are opened, and what becomes of one whose name is given anew."""

import asyncio
from types import SimpleNamespace

import holdfast
import pytest
from holdfast import Mark, MarkKind, Reason, RefusedError
from holdfast.keys import KeyRange
from holdfast.types import WatchPoint
from holdfast.units import Units
from holdfast.v1 import types_pb2

from tests.unit.holdfast.scripted_node import Group, ScriptedCluster

UNITS = Units(1, hashed=True)


class HashedCluster(ScriptedCluster):
    """Its map says that the namespace is hashed, as soon as `hashed` does."""

    hashed = True

    def shard_message(self, group: Group) -> types_pb2.Shard:
        message = super().shard_message(group)
        if self.hashed:
            message.units.CopyFrom(types_pb2.Units(parts=1, separator=b"/"))
        return message


def started(prefix: str, starts: int, **how) -> list[tuple[bytes, bytes, KeyRange]]:
    """What a watch of two shards asks the node for."""

    async def run():
        async with (
            HashedCluster(1, (b"\x80",)) as cluster,
            holdfast.connect(cluster.endpoints) as client,
            client.watch(prefix=prefix, **how),
        ):
            node = cluster.nodes[0]
            await node.until(lambda: len(node.watch_starts) >= starts)
            return list(node.watch_starts)

    return [
        (s.range.start, s.range.end, KeyRange(s.range.places.start, s.range.places.end))
        for s in asyncio.run(run())
    ]


def test_a_watch_over_units_has_a_part_at_the_places_of_each_shard():
    """Every shard is asked for the plain keys, among what it holds."""
    low, high = KeyRange(b"", b"\x80"), KeyRange(b"\x80", b"")

    assert started("dev", 2) == [(b"dev", b"dew", low), (b"dev", b"dew", high)]


def test_a_watch_of_one_unit_has_one_part():
    """Its keys are one range of places, in one shard; points say places and resume there."""
    places = UNITS.places_of(KeyRange.of_prefix(b"dev/"))
    point = WatchPoint(2, 0, *places)

    assert started("dev/", 1) == [(b"dev/", b"dev0", places)]
    assert started("dev/", 1, from_=point) == [(b"dev/", b"dev0", places)]


def test_a_mark_knows_the_keys_it_is_about():
    """Its bounds are places: `holds` tells for a key, hashed or not."""
    place = UNITS.placed(b"dev/x")
    mark = Mark(MarkKind.SNAPSHOT_BEGINS, place[:1], place[:8] + b"dev/\xff", UNITS)

    assert (mark.holds(b"dev/x"), mark.holds(b"dev/\xffx"), mark.holds(b"else/x")) == (True, False, False)
    assert Mark(MarkKind.CAUGHT_UP, b"a", b"").holds(b"dev/x")


def test_a_watch_ends_when_its_name_is_given_anew_with_other_units():
    """Its points mean nothing there: the caller is told to begin again, not left without events."""

    async def run():
        cluster = HashedCluster()
        cluster.hashed = False
        async with cluster, holdfast.connect(cluster.endpoints) as client:
            watch, session, loop = client.watch(prefix="dev"), client._backend, asyncio.get_running_loop()
            await cluster.nodes[0].until(lambda: cluster.nodes[0].watchers)

            def call_later(after_s, act, *given):
                """Lets the pause last until the map has come, however slow the machine."""
                is_known = session.map.epoch == cluster.epoch
                return loop.call_later(
                    after_s, *(act, *given) if is_known else (call_later, after_s, act, *given)
                )

            client._watches._loop = SimpleNamespace(time=loop.time, call_later=call_later)
            cluster.hashed = True
            cluster.epoch += 1
            cluster.nodes[0].cut_watches()
            async with asyncio.timeout(30):
                await anext(watch)

    with pytest.raises(RefusedError, match="made anew") as ended:
        asyncio.run(run())
    assert ended.value.reason is Reason.COMPACTED
