"""Routing: every answer is a hosted shard or the error that repairs the caller."""

from __future__ import annotations

from typing import NamedTuple

from holdfast.errors import HoldfastError, Reason
from holdfast.keys import KeyRange
from holdfast.shardmap import Replica, Shard, ShardMap
from holdfast.v1 import cache_pb2 as pb
from holdfast_node.cache.commands import decode_operation
from holdfast_node.cache.op import Op
from holdfast_node.routing import Routing


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
