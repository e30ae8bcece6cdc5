"""Words between nodes: each survives its bytes, and what is none is refused."""

from __future__ import annotations

import pytest
from holdfast.keys import KeyRange
from holdfast.shardmap import Replica, Shard, ShardMap
from holdfast.units import Units
from holdfast.v1 import types_pb2
from holdfast_node import talk
from holdfast_node.cache.seal import OtherSource, Target
from holdfast_node.talk import (
    AbortOrder,
    About,
    CopyOrder,
    CopyReport,
    CreateOrder,
    DropCopyOrder,
    MapNews,
    NamespaceNews,
    NodeNews,
    Order,
    ReplicaReport,
    Report,
    RetireOrder,
    SealOrder,
    SnapshotOrder,
    TransferOrder,
    UnsealOrder,
)
from holdfast_node.v1 import talk_pb2 as pb

UNITS = Units(2, b":", hashed=True)
TARGET = Target(9, b"a", b"", (3, 1, 2))
OTHERS = (OtherSource(4, 17, 3), OtherSource(5, 1, 1))
REPORT = Report(
    7,
    3,
    (
        ReplicaReport(2, True, 9, 7, 8, 2, 6, True, -1, True, 5, 1 << 40, 900, b"m", b"n", b"hot"),
        ReplicaReport(3, staleness_ms=86_400_000),
    ),
    (CopyReport(9, True, 5, 1 << 40, "slow", begun=False), CopyReport(10)),
    99,
    True,
)
NEWS = MapNews(
    ShardMap(
        4,
        (
            Shard("default", KeyRange(b"", b"\xff\x00"), 2, 1, (Replica(1, "a:1"), Replica(2, "")), 1),
            Shard("default", KeyRange(b"\xff\x00", b""), 8, 4, (), 0),
            Shard("devices", KeyRange(b"", b""), 9, 4, (), 0, UNITS),
        ),
    ),
    (NodeNews(1, "a:1", "a:2", "z"), NodeNews(2, "", "", "")),
    (1, 2),
    (NamespaceNews("default", 1 << 40, 2, True),),
)
ORDERS: tuple[Order, ...] = (
    SealOrder(7, 2, True, (TARGET, Target(10, b"", b"a", (1,))), OTHERS),
    SealOrder(7, 2, False, (TARGET,), ()),
    AbortOrder(7, 2),
    UnsealOrder(7, 2),
    CopyOrder(7, "default", TARGET, 2, (1, 2), 1 << 33),
    SnapshotOrder(2),
    RetireOrder(3),
    DropCopyOrder(4),
    TransferOrder(2, 3),
    CreateOrder("jobs", TARGET),
    CopyOrder(7, "devices", TARGET, 2, (1, 2), 1 << 33, UNITS),
    CreateOrder("devices", TARGET, UNITS),
)


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: type(order).__name__)
def test_an_order_survives_its_bytes(order: Order) -> None:
    """Nothing of it is lost, and its kind is told from any other."""
    assert talk.read(talk.write(order)) == order
    assert type(talk.read(talk.write(order))) is type(order)


def test_a_report_survives_its_bytes() -> None:
    """All that a node tells of its replicas and copies."""
    assert talk.read(talk.write(REPORT)) == REPORT
    assert talk.read(talk.write(Report(1, 0, ()))) == Report(1, 0, ())


def test_news_survive_their_bytes() -> None:
    """Map, nodes, namespaces."""
    read = talk.read(talk.write(NEWS))

    assert isinstance(read, MapNews)
    assert (read.map.epoch, read.map.shards) == (NEWS.map.epoch, NEWS.map.shards)
    assert read[1:] == NEWS[1:]


def test_what_a_birth_record_says_survives_its_bytes() -> None:
    """With this a node knows its replicas from the WAL alone, also how their keys are placed."""
    about = About("default", b"\x00", b"", (2, 1), 7, OTHERS, UNITS)

    assert talk.read_about(talk.write_about(about)) == about
    assert talk.read_about(talk.write_about(about._replace(units=None))).units is None
    assert talk.read_about(talk.write_about(About("default", b"", b"", (1,)))).sources == ()


def test_every_order_of_the_wire_is_known_here() -> None:
    """A new act in talk.proto without its value here would be dropped in silence."""
    acts = {field.name for field in pb.Order.DESCRIPTOR.oneofs_by_name["act"].fields}

    assert {pb.Talk.FromString(talk.write(o)).order.WhichOneof("act") for o in ORDERS} == acts


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xff\xff",
        pb.Talk(order=pb.Order(plan=3)).SerializeToString(),
        pb.Talk(map_news=pb.MapNews()).SerializeToString()[:1],
        b"\x7a\x01x",
    ],
    ids=["nothing", "noise", "an order without an act", "cut off", "a newer program's word"],
)
def test_what_is_no_word_is_unreadable(data: bytes) -> None:
    """One error, whatever it is."""
    with pytest.raises(talk.Unreadable):
        talk.read(data)


def test_units_that_are_none_are_unreadable() -> None:
    """Nobody places keys by a separator that is not one byte."""
    order = talk.write(CreateOrder("devices", TARGET, UNITS._replace(separator=b"::")))
    with pytest.raises(talk.Unreadable, match="one byte"):
        talk.read(order)
    with pytest.raises(talk.Unreadable, match="one byte"):
        talk.read_about(pb.ReplicaAbout(units=types_pb2.Units(parts=1)).SerializeToString())


def test_a_map_that_leaves_keys_out_is_unreadable() -> None:
    """A map is checked where it comes in, before anybody goes by it."""
    message = pb.Talk.FromString(talk.write(NEWS))
    del message.map_news.map.shards[0]

    with pytest.raises(talk.Unreadable, match="do not cover all keys"):
        talk.read(message.SerializeToString())


def test_a_birth_record_that_is_damaged_is_unreadable() -> None:
    """A start is refused by it instead of guessing a range."""
    with pytest.raises(talk.Unreadable):
        talk.read_about(b"\xff\xff")
