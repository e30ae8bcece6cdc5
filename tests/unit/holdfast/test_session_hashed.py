"""A session routes keys of hashed namespaces by their places, by the map of the moment."""

import asyncio

import holdfast
from holdfast import wire
from holdfast.types import Level
from holdfast.units import Units

from tests.unit.holdfast.test_node_watches_hashed import HashedCluster

UNITS = Units(1, hashed=True)
LOW, HIGH = 2, 3
# Of each half of the hash space, and with its place in the other one when taken for a key.
PLACE = next(bytes((n,)) for n in range(128, 256) if UNITS.placed(bytes((n,)))[0] < 128)
KEY = next(key for n in range(99) if UNITS.placed(key := b"%d" % n)[0] >= 128)


def routed(where: bytes, *, is_place: bool, stale: bool = False) -> tuple[int, int]:
    """The group that an operation goes to at first, and once the map has come."""

    async def run():
        cluster = HashedCluster(1, (b"\x80",))
        cluster.hashed = not stale
        async with cluster, holdfast.connect(cluster.endpoints) as client:
            session = client._backend
            kind = wire.get(Level.LINEARIZABLE)
            call = session.submit("default", where, KEY, kind, 1, 5.0, is_place=is_place)
            first = call.group
            cluster.hashed = True
            cluster.epoch += 1
            session.router.learn_map(wire.shard_map(cluster.map_message()), 0.0)
            session._route(call, asyncio.get_running_loop().time())
            call.cancel()
            return first, call.group

    return asyncio.run(run())


def test_a_key_goes_where_its_place_is_and_a_place_where_it_is():
    """A cursor or bound is no key: it is never placed again."""
    assert routed(KEY, is_place=False) == (HIGH, HIGH)
    assert routed(PLACE, is_place=True) == (HIGH, HIGH)


def test_a_key_is_placed_anew_by_the_map_that_has_come():
    """What waits for another attempt goes by what is known then, not by what was when it was asked."""
    assert routed(KEY, is_place=False, stale=True) == (LOW, HIGH)
