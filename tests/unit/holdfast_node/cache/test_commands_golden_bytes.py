"""Stored messages keep their bytes: logs and snapshots of today are read by the programs of tomorrow.

A failure here means that stored data changed. That needs a new entry version or snapshot format, not new
golden bytes.
"""

from __future__ import annotations

from holdfast.units import Units
from holdfast.v1 import types_pb2
from holdfast_node.cache import commands
from holdfast_node.cache.buckets import pack_record
from holdfast_node.cache.commands import Run
from holdfast_node.cache.policy import Eviction, Policy
from holdfast_node.cache.seal import OtherSource, Seal, Target
from holdfast_node.cache.state import State
from holdfast_node.v1 import command_pb2, snapshot_pb2

from tests.entries import SESSION, apply, operation

STAMP = 0x0102030405

GOLDEN_ENTRIES = {
    "batch": (
        commands.encode_batch(STAMP, [Run(b"S" * 16, 9, [b"op-1", b"op-2"]), Run(b"", 0, [b"op-3"])]),
        "010105040302010000000a200a10" + "53" * 16 + "10091a046f702d311a046f702d320a061a046f702d33",
    ),
    "batch of a hashed namespace": (
        commands.encode_batch(STAMP, [Run(b"", 0, [b"op-1"])], Units(2, b"/", hashed=True)),
        "010205040302010000000a061a046f702d31120508021201" + "2f",
    ),
    "touch": (commands.encode_touch(STAMP, [b"a", b"bc"]), "020105040302010000000a01610a026263"),
    "expire": (commands.encode_expire(STAMP), "0301050403020100000008e807"),
    "evict": (commands.encode_evict(STAMP, 3), "040105040302010000000803"),
    "policy": (
        commands.encode_policy(STAMP, Policy(4096, Eviction.NOEVICT, 10, 300)),
        "050105040302010000000880201002180a20ac02",
    ),
    "seal": (
        commands.encode_seal(
            STAMP,
            Seal(
                5,
                True,
                (Target(8, b"a", b"m", (1, 2, 3)), Target(9, b"m", b"", (3,))),
                (OtherSource(4, 70, 2),),
            ),
        ),
        "06010504030201000000080510011a0d08081201611a016d22030102031a08080912016d2201032206080410461802",
    ),
    "abort": (commands.encode_abort(STAMP, 5), "070105040302010000000805"),
    "unseal": (commands.encode_unseal(STAMP, 300), "0801050403020100000008ac02"),
}


def test_entries_keep_their_bytes() -> None:
    """Each kind of entry is encoded as the first release did."""
    for name, (data, golden) in GOLDEN_ENTRIES.items():
        assert data.hex() == golden, name


def test_records_keep_their_bytes() -> None:
    """A record is u8 recency, u64 revision, u64 deadline, little-endian, then the value."""
    assert pack_record(3, 258, 1, b"v").hex() == "030201000000000000010000000000000076"


def test_snapshots_keep_their_bytes() -> None:
    """An image of a small state is, chunk by chunk, what the first release wrote."""
    state = State(Policy(4096, Eviction.CLOCK, 10, 3000))
    apply(
        state,
        operation("put", b"k", 1, 1100, value=b"v", ttl_ms=50),
        operation("increment", b"n", 2, 1100, by=5),
        stamp=1000,
        session=SESSION,
        below=1,
    )
    image = state.freeze()
    chunks = [chunk.hex() for chunk in image.chunks()]
    image.release()
    assert chunks == GOLDEN_SNAPSHOT


def test_heads_keep_their_bytes() -> None:
    """The head of a sealed state whose keys came from a merge."""
    left, right = State(Policy(4096, Eviction.CLOCK, 10, 3000)), State()
    apply(left, operation("put", b"a", 1, 1100, value=b"v"), stamp=1000)
    apply(right, operation("put", b"b", 1, 1100), operation("put", b"c", 1, 1100), stamp=1000)
    for group, state in ((3, left), (4, right)):
        state.apply(
            commands.encode_seal(1000, Seal(1, group == 4, (Target(5, b"", b"", (1,)),))), None, (9, 2)
        )
    whole = State.joined([left, right], [3, 4], left.policy)
    whole.apply(commands.encode_abort(1000, 6))
    whole.apply(commands.encode_seal(1000, Seal(7, True, (Target(8, b"", b"", (1, 2)),))), None, (10, 3))
    image = whole.cut(b"", b"", 5).freeze(), whole.freeze()
    assert [next(i.chunks()).hex() for i in image] == GOLDEN_HEADS


GOLDEN_HEADS = [
    "0a2a0802100218e807220a0880201001180a20b81730024a010552070a01031801280252070a010418022802",
    "0a3d0802100218e807220a0880201001180a20b81730023a120a0c080710011a06080822020102100a1803400652070a01031801280252070a010418022802",
]
GOLDEN_SNAPSHOT: list[str] = [
    "0a130802100218e807220a0880201001180a20b817",
    "122e0a016b0a016e12120101000000000000001a04000000000000761212010200000000000000000000000000000035",
    (
        "1a3b0a390a1073737373737373737373737373737373100118cc08220c08011512d9e29018cc0820012212080215892c"
        "87fc18cc0820022a0408021805"
    ),
    (
        "223a0a1b080112016b180122120101000000000000001a04000000000000760a1b080112016e18022212010200000000"
        "000000000000000000000035"
    ),
    "2a2d080210840118012002280232200ff446b7089476413922621a2ada79290e96e4a6ee32bdc6eb937dd999785ea9",
]


def test_every_stored_field_has_its_number() -> None:
    """Names, numbers and types of stored fields are what the first release fixed."""
    stored = [
        message
        for module in (command_pb2, snapshot_pb2)
        for message in module.DESCRIPTOR.message_types_by_name.values()
    ]
    found = {
        f"{message.name}.{field.name}": (field.number, field.type)
        for message in [*stored, types_pb2.Units.DESCRIPTOR]
        for field in message.fields
    }
    assert found == GOLDEN_FIELDS


GOLDEN_FIELDS: dict[str, tuple[int, int]] = {
    "Batch.runs": (1, 11),
    "Batch.units": (2, 11),
    "Units.parts": (1, 13),
    "Units.separator": (2, 12),
    "Run.session": (1, 12),
    "Run.answered_below": (2, 4),
    "Run.operations": (3, 12),
    "ReadableBatch.runs": (1, 11),
    "ReadableRun.operations": (3, 11),
    "TouchSamples.keys": (1, 12),
    "Expire.keys_max": (1, 13),
    "Evict.keys_max": (1, 13),
    "Policy.budget_bytes": (1, 4),
    "Policy.eviction": (2, 14),
    "Policy.history_events": (3, 4),
    "Policy.history_bytes": (4, 4),
    "Chunk.head": (1, 11),
    "Chunk.records": (2, 11),
    "Chunk.sessions": (3, 11),
    "Chunk.events": (4, 11),
    "Chunk.tail": (5, 11),
    "Head.format": (1, 13),
    "Head.revision": (2, 4),
    "Head.stamp_ms": (3, 4),
    "Head.policy": (4, 11),
    "Head.hand": (5, 12),
    "Head.oldest_revision": (6, 4),
    "Records.keys": (1, 12),
    "Records.records": (2, 12),
    "Sessions.sessions": (1, 11),
    "Session.id": (1, 12),
    "Session.answered_below": (2, 4),
    "Session.until_ms": (3, 4),
    "Session.applied": (4, 11),
    "Applied.sequence": (1, 4),
    "Applied.check": (2, 7),
    "Applied.not_after_ms": (3, 4),
    "Applied.revision": (4, 4),
    "Applied.outcome": (5, 11),
    "Outcome.revision": (1, 4),
    "Outcome.value": (2, 12),
    "Outcome.number": (3, 3),
    "Outcome.ttl_ms": (4, 4),
    "Outcome.deleted": (5, 4),
    "Outcome.more": (6, 8),
    "Outcome.not_kept": (7, 8),
    "Outcome.succeeded": (8, 8),
    "Outcome.steps": (9, 11),
    "Events.events": (1, 11),
    "Event.kind": (1, 13),
    "Event.key": (2, 12),
    "Event.revision": (3, 4),
    "Event.record": (4, 12),
    "Event.previous": (5, 12),
    "Tail.keys": (1, 4),
    "Tail.bytes": (2, 4),
    "Tail.sessions": (3, 4),
    "Tail.applied": (4, 4),
    "Tail.events": (5, 4),
    "Tail.sha256": (6, 12),
    "Seal.plan": (1, 4),
    "Seal.decides": (2, 8),
    "Seal.targets": (3, 11),
    "Seal.others": (4, 11),
    "Target.group": (1, 4),
    "Target.start": (2, 12),
    "Target.end": (3, 12),
    "Target.replicas": (4, 4),
    "OtherSource.group": (1, 4),
    "OtherSource.index": (2, 4),
    "OtherSource.term": (3, 4),
    "Abort.plan": (1, 4),
    "Unseal.plan": (1, 4),
    "Head.sealed": (7, 11),
    "Head.floor": (8, 4),
    "Head.ancestors": (9, 4),
    "Head.closed": (10, 11),
    "Head.sift_entries": (11, 13),
    "Sealed.seal": (1, 11),
    "Sealed.index": (2, 4),
    "Sealed.term": (3, 4),
    "ClosedLine.groups": (1, 4),
    "ClosedLine.oldest_revision": (2, 4),
    "ClosedLine.revision": (3, 4),
    "ClosedLine.next": (4, 13),
    "ClosedLine.at": (5, 4),
    "Events.line": (2, 13),
}
