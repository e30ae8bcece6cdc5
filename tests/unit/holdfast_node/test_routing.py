"""Routing: every answer is a hosted shard or the error that repairs the caller."""

from __future__ import annotations

from typing import NamedTuple

from holdfast.errors import HoldfastError, Reason
from holdfast.keys import KeyRange
from holdfast.shardmap import Replica, Shard, ShardMap
from holdfast.units import Units
from holdfast.v1 import cache_pb2 as pb
from holdfast_node.cache.commands import decode_operation
from holdfast_node.cache.op import Op
from holdfast_node.routing import Routing
from hypothesis import given
from hypothesis import strategies as st


class Hosted(NamedTuple):
    entry: Shard
    leader: int | None


REPLICAS = (Replica(1, "127.0.0.1:7400"), Replica(2, "127.0.0.1:7401"))
LOW = Shard("default", KeyRange(b"", b"m"), 2, 1, REPLICAS, 0)
HIGH = Shard("default", KeyRange(b"m", b""), 3, 1, REPLICAS, 0)
ALONE = Shard("other", KeyRange(b"", b""), 4, 1, REPLICAS, 0)
AWAY = Shard("away", KeyRange(b"", b""), 5, 1, REPLICAS[1:], 0)
MAP = ShardMap(1, (LOW, HIGH, ALONE, AWAY))
LOW_HERE, HIGH_HERE, ALONE_HERE = Hosted(LOW, 2), Hosted(HIGH, None), Hosted(ALONE, 1)


def routing() -> Routing[Hosted]:
    return Routing(MAP, (LOW_HERE, HIGH_HERE, ALONE_HERE))


def operation(**fields: object) -> Op:
    message = pb.Operation(sequence=1, not_after_ms=1, **fields)  # type: ignore[arg-type]
    if message.WhichOneof("kind") in ("get", "scan"):
        message.not_after_ms = 0
    return decode_operation(message.SerializeToString())


def reason(found: Hosted | HoldfastError) -> Reason:
    assert isinstance(found, HoldfastError)
    return found.reason


def test_a_key_goes_to_the_shard_of_its_range() -> None:
    """A range's start belongs to it, its end to the next."""
    assert routing().locate("default", b"lzz") is LOW_HERE
    assert routing().locate("default", b"m") is HIGH_HERE


def test_a_namespace_of_one_shard_needs_no_search() -> None:
    """`sole` names the shard only where it serves every key of the namespace."""
    assert routing().sole("other") is ALONE_HERE
    assert routing().sole("default") is None
    assert routing().sole("away") is None


def test_a_shard_hosted_elsewhere_is_wrong_shard_with_its_entry() -> None:
    """WRONG_SHARD carries the map entry, so the caller knows where to go."""
    found = routing().locate("away", b"k")

    assert reason(found) is Reason.WRONG_SHARD
    assert found.shards == (AWAY,)  # type: ignore[union-attr]


def test_an_unknown_namespace_is_named() -> None:
    """A namespace in no entry is refused by name, for keys, sets and ranges alike."""
    for found in (
        routing().locate("nope", b"k"),
        routing().locate_all("nope", (b"k",)),
        routing().locate_range("nope", KeyRange(b"a", b"b")),
    ):
        assert reason(found) is Reason.UNKNOWN_NAMESPACE
        assert "nope" in found.message  # type: ignore[union-attr]


def test_a_transaction_over_two_shards_is_refused_with_both() -> None:
    """All keys of an operation lie in one shard; else CROSS_SHARD with the entries, leaders filled in."""
    steps = [pb.TxnOperation(key=key, put=pb.Put(value=b"v")) for key in (b"a", b"z")]
    found = routing().locate_operation("default", operation(txn=pb.Txn(then=steps)))

    assert reason(found) is Reason.CROSS_SHARD
    assert [entry.group for entry in found.shards] == [2, 3]  # type: ignore[union-attr]
    assert found.shards[0].leader == 2  # type: ignore[union-attr]


def test_a_transaction_inside_a_shard_goes_there() -> None:
    """Keys that all lie in one shard are served by it."""
    steps = [pb.TxnOperation(key=key, put=pb.Put(value=b"v")) for key in (b"x", b"z")]

    assert routing().locate_operation("default", operation(txn=pb.Txn(then=steps))) is HIGH_HERE


def test_a_range_delete_lies_in_one_shard_and_a_scan_begins_in_one() -> None:
    """A scan's page ends with the shard, so only its first key decides; a delete must fit as a whole."""
    keys = pb.KeyRange(start=b"k", end=b"p")
    delete = operation(delete=pb.Delete(range=keys))
    scan = operation(scan=pb.Scan(range=keys))

    assert reason(routing().locate_operation("default", delete)) is Reason.CROSS_SHARD
    assert routing().locate_operation("default", scan, whole=False) is LOW_HERE


def test_a_single_key_operation_is_located_by_its_key() -> None:
    """Gets and puts go where their key stands."""
    assert routing().locate_operation("default", operation(key=b"z", get=pb.Get())) is HIGH_HERE


def test_only_a_newer_map_replaces_the_map() -> None:
    """An older map never takes the place of a newer one."""
    router = routing()
    router.replace_map(ShardMap(1, (ALONE,)))
    assert router.map is MAP

    router.replace_map(ShardMap(2, (ALONE,)))

    assert router.map.epoch == 2
    assert router.sole("other") is ALONE_HERE


def test_the_live_map_names_the_leaders_known_here() -> None:
    """What clients are given carries this node's knowledge of who leads; 0 where it has none."""
    leaders = {entry.group: entry.leader for entry in routing().live_map().shards}

    assert leaders == {2: 2, 3: 0, 4: 1, 5: 0}


def test_a_shard_is_routed_to_once_it_is_hosted() -> None:
    """`host` makes a shard found from then on."""
    router: Routing[Hosted] = Routing(MAP)
    assert reason(router.locate("other", b"k")) is Reason.WRONG_SHARD

    router.host(ALONE_HERE)

    assert router.locate("other", b"k") is ALONE_HERE
    assert router.hosted() == [ALONE_HERE]
    assert router.group(4) is ALONE_HERE


# ---- ahead of the map ----------------------------------------------------------------------------------


def entry(group: int, start: bytes, end: bytes, namespace: str = "default") -> Shard:
    return Shard(namespace, KeyRange(start, end), group, 1, REPLICAS, 0)


def groups(router: Routing[Hosted], *keys: bytes) -> list[int]:
    """Which group each key is routed to."""
    located = [router.map.locate("default", key) for key in keys]
    return [found.group for found in located if found is not None]


def test_what_a_seal_told_goes_before_the_map() -> None:
    """The targets serve before any map says so; where they are hosted they are found."""
    router = routing()
    left, right = Hosted(entry(10, b"", b"f"), 1), entry(11, b"f", b"m")
    router.host(left)

    router.learn((left.entry, right))

    assert router.locate("default", b"a") is left
    found = router.locate("default", b"g")
    assert reason(found) is Reason.WRONG_SHARD
    assert found.shards == (right,)  # type: ignore[union-attr]
    assert router.locate("default", b"z") is HIGH_HERE


def test_what_is_ahead_outlives_maps_that_do_not_know_it() -> None:
    """A map that is newer for another reason takes nothing back, however much was learned since."""
    router = routing()
    router.learn((entry(10, b"", b"f"), entry(11, b"f", b"m")))
    router.learn((entry(20, b"", b"c"), entry(21, b"c", b"f")))
    router.learn((entry(30, b"m", b""),))

    router.replace_map(ShardMap(2, (LOW, HIGH, ALONE)))

    assert groups(router, b"a", b"d", b"g", b"z") == [20, 21, 11, 30]
    assert router.map.epoch == 2


def test_a_map_that_knows_it_ends_what_was_ahead() -> None:
    """From then on the map alone is gone by, and a later one rules."""
    router = routing()
    router.learn((entry(10, b"", b"f"), entry(11, b"f", b"m")))

    router.replace_map(ShardMap(2, (entry(10, b"", b"f"), entry(11, b"f", b"m"), HIGH)))

    assert router.map.shards == (entry(10, b"", b"f"), entry(11, b"f", b"m"), HIGH)
    assert router._ahead == {}


def test_an_older_group_is_never_laid_over_a_later_one() -> None:
    """A replica that lags tells what it once was; group ids only grow along a key's life."""
    router: Routing[Hosted] = Routing(ShardMap(9, (entry(40, b"", b"m"), entry(41, b"m", b""))))

    router.learn((entry(10, b"", b""), entry(40, b"", b"m")))

    assert groups(router, b"a", b"z") == [40, 41]
    assert router._ahead == {}


def test_a_part_of_a_whole_is_known_alone() -> None:
    """After a restart with an old map a node may know one target only, by its own replica of it."""
    router: Routing[Hosted] = Routing(ShardMap(1, (entry(2, b"", b""),)))

    router.learn((entry(11, b"f", b"m"),))

    assert groups(router, b"a", b"g", b"z") == [2, 11, 2]


def test_the_sole_shard_is_found_anew() -> None:
    """A namespace of one shard that was cut has none that serves it all; a merged one has again."""
    router = routing()
    router.learn((entry(10, b"", b"f", "other"), entry(11, b"f", b"", "other")))
    assert router.sole("other") is None
    whole = Hosted(entry(20, b"", b"", "other"), 1)
    router.host(whole)
    router.learn((whole.entry,))
    assert router.sole("other") is whole

    router.unhost(20)

    assert router.sole("other") is None
    assert reason(router.locate("other", b"a")) is Reason.WRONG_SHARD


def test_a_namespace_that_is_gone_takes_what_was_ahead_with_it() -> None:
    """Nothing of it is kept for a later one of that name."""
    router = routing()
    router.learn((entry(10, b"", b"", "other"),))

    router.replace_map(ShardMap(2, (LOW, HIGH)))

    assert router._ahead == {}
    assert reason(router.locate("other", b"a")) is Reason.UNKNOWN_NAMESPACE


def test_a_shard_that_is_no_longer_hosted_is_not_routed_to() -> None:
    """`unhost` may be said again."""
    router = routing()
    router.unhost(2)
    router.unhost(2)

    assert router.hosted() == [HIGH_HERE, ALONE_HERE]
    assert reason(router.locate("default", b"a")) is Reason.WRONG_SHARD


# ---- hashed namespaces ---------------------------------------------------------------------------------

UNITS = Units(1, hashed=True)
FIRST = Shard("devices", KeyRange(b"", b"\x80"), 6, 1, REPLICAS, 0, UNITS)
SECOND = Shard("devices", KeyRange(b"\x80", b""), 7, 1, REPLICAS, 0, UNITS)


def devices() -> Routing[Hosted]:
    return Routing(ShardMap(2, (ALONE, FIRST, SECOND)), (Hosted(FIRST, 1), Hosted(SECOND, 2)))


def placed_operation(units: Units, **fields: object) -> Op:
    message = pb.Operation(sequence=1, **fields)  # type: ignore[arg-type]
    return decode_operation(message.SerializeToString(), units)


@given(st.binary(min_size=1, max_size=12))
def test_a_node_sends_a_key_where_a_client_looks_for_it(key: bytes) -> None:
    """Both place by the units of one map: routing by a client and by a node are the same."""
    router = devices()
    units = router.hashed_by("devices")
    assert units is not None
    found = router.locate_operation("devices", placed_operation(units, key=key, get=pb.Get()))

    assert isinstance(found, Hosted)
    assert found.entry == router.map.locate("devices", key)


def test_a_range_over_units_in_several_shards_crosses_them() -> None:
    """Whoever names the places of one shard is served there; all of them are several shards'."""
    router = devices()
    wide = pb.Scan(range=pb.KeyRange(prefix=b"d", places=pb.Places()))
    half = pb.Scan(range=pb.KeyRange(prefix=b"d", places=pb.Places(start=b"\x80")))
    unit = pb.Scan(range=pb.KeyRange(prefix=b"d/", places=pb.Places()))

    assert (
        reason(router.locate_operation("devices", placed_operation(UNITS, scan=wide))) is Reason.CROSS_SHARD
    )
    for scan in (half, unit):
        found = router.locate_operation("devices", placed_operation(UNITS, scan=scan))
        assert isinstance(found, Hosted)


def test_nothing_is_placed_by_a_map_that_does_not_say_how() -> None:
    """A namespace that only a replica here knows, or knows with other units, is not served by guess."""
    router: Routing[Hosted] = Routing(ShardMap(1, (ALONE,)))
    for hosted in (Hosted(FIRST, 1), Hosted(SECOND, 1)):
        router.host(hosted)
    router.learn((FIRST, SECOND))
    assert router.hashed_by("devices") is None
    assert reason(router.locate("devices", b"k")) is Reason.UNKNOWN_NAMESPACE
    before = Shard("devices", KeyRange(b"", b""), 5, 1, REPLICAS, 0)
    router = Routing(ShardMap(1, (before,)), (Hosted(FIRST, 1), Hosted(SECOND, 1)))
    router.learn((FIRST, SECOND))
    assert router.hashed_by("devices") is None
    assert reason(router.locate("devices", b"k")) is Reason.WRONG_SHARD
    router.replace_map(ShardMap(2, (FIRST, SECOND)))

    assert router.hashed_by("devices") == UNITS
    assert isinstance(router.locate("devices", UNITS.placed(b"k")), Hosted)


def test_a_replica_that_knows_other_units_than_the_map_is_given_nothing() -> None:
    """Whichever of them is wrong: a key that is placed wrongly once is lost, one that waits is not."""
    for told in (None, Units(2, hashed=True)):
        sole, first = FIRST._replace(range=KeyRange(b"", b""), units=told), FIRST._replace(units=told)
        router: Routing[Hosted] = Routing(ShardMap(2, (sole,)), (Hosted(FIRST, 1),))
        assert router.sole("devices") is None
        assert reason(router.locate("devices", b"k")) is Reason.BUSY
        router = Routing(ShardMap(2, (first, SECOND._replace(units=told))), (Hosted(FIRST, 1),))
        assert reason(router.locate("devices", b"\x01")) is Reason.BUSY
        assert reason(router.locate_range("devices", KeyRange(b"\x01", b"\x02"))) is Reason.BUSY
        router.replace_map(ShardMap(3, (FIRST, SECOND)))
        assert router.locate("devices", b"\x01") == Hosted(FIRST, 1)
