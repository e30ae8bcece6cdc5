"""Bad input: each gets a typed error that names the field or the file and the limit, and nothing dies."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from holdfast.v1 import cache_pb2 as pb
from holdfast.v1 import types_pb2
from holdfast_node import limits
from holdfast_raft.wal_records import HEAD, HEADER_BYTES

from tests.integration.command_line import Holdfast
from tests.integration.direct import ASK_HERE, Node, RawStream, error_of, text_key
from tests.integration.process_cluster import (
    FIRST_GROUP,
    NodeProcess,
    ProcessCluster,
    eventually,
    free_ports,
    running,
)

R = types_pb2
SPLIT = "m"
TEN_MINUTES_MS = 600_000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    with running(tmp_path_factory.mktemp("bad"), splits=(SPLIT,)) as found:
        yield found


@pytest.fixture
def node(cluster: ProcessCluster) -> Iterator[Node]:
    """The leader of the first shard, where keys before SPLIT lie."""
    with Node(cluster.leader().address) as found:
        yield found


@pytest.fixture
def stream(node: Node) -> Iterator[RawStream]:
    with node.stream() as found:
        yield found


def still_works(stream: RawStream) -> None:
    """The same stream, after whatever it was told, writes and reads."""
    not_after = stream.stamp_of(FIRST_GROUP) + 60_000
    put = stream.operation(b"alive", not_after, put=pb.Put(value=b"yes"))
    get = stream.operation(b"alive", get=pb.Get())
    answers = stream.ask([put, get])
    for sequence in (put.sequence, get.sequence):
        assert not answers[sequence][1].HasField("error"), answers[sequence]
    assert answers[get.sequence][1].value == b"yes"


def is_refused(result: pb.Result, reason: int, field: str, *words: str) -> None:
    problem = result.error
    assert (problem.reason, problem.outcome) == (reason, R.OUTCOME_REFUSED), problem
    assert problem.field == field, problem
    assert all(word in problem.message for word in words), problem


# ---- frames ---------------------------------------------------------------------------


def test_bytes_that_are_no_frame(stream: RawStream) -> None:
    """A frame that is no protobuf is answered INVALID under sequence 0, and the stream lives."""
    for garbage in (b"\xff\xff\xff", b"\x1a\x7f", b"not a frame at all"):
        stream.send(garbage)
        answer = stream.receive()[1]
        assert answer.sequence == 0
        is_refused(answer, R.REASON_INVALID, "", "StreamRequest")
    still_works(stream)


def test_an_operation_that_is_none(stream: RawStream) -> None:
    """A good frame with one broken operation refuses that one and does the other."""
    good = stream.operation(b"good", get=pb.Get()).SerializeToString()
    frame = b"".join(b"\x1a" + bytes([len(part)]) + part for part in (b"\xff\xff\xff", good))
    stream.send(frame)
    results = [stream.receive()[1] for _ in range(2)]
    broken = next(result for result in results if result.HasField("error"))
    is_refused(broken, R.REASON_INVALID, "", "Operation")
    assert {result.sequence for result in results} == {0, 1}
    still_works(stream)


def test_a_frame_above_its_limits(stream: RawStream) -> None:
    """A frame of too many operations or bytes is refused as a whole and says the limit."""
    many = [stream.operation(b"k", get=pb.Get()) for _ in range(limits.FRAME_OPERATIONS_MAX + 1)]
    stream.send(pb.StreamRequest(operations=many).SerializeToString())
    answers = [stream.receive()[1] for _ in many]
    assert {answer.error.field for answer in answers} == {"operations"}
    is_refused(answers[0], R.REASON_INVALID, "operations", str(limits.FRAME_OPERATIONS_MAX))
    big = pb.Put(value=b"v" * limits.VALUE_BYTES_MAX)
    heavy = [stream.operation(b"k%d" % n, 1, put=big) for n in range(5)]
    stream.send(pb.StreamRequest(operations=heavy).SerializeToString())
    for operation in heavy:
        answer = stream.receive()[1]
        assert answer.sequence == operation.sequence
        is_refused(answer, R.REASON_INVALID, "", str(limits.FRAME_BYTES_MAX))
    still_works(stream)


def test_a_message_above_what_grpc_takes(node: Node) -> None:
    """A message that gRPC itself refuses ends that call with RESOURCE_EXHAUSTED; the connection lives."""
    with node.stream() as stream:
        stream.send(bytes(32 << 20))
        with pytest.raises(grpc.RpcError) as refusal:
            stream.receive()
        assert refusal.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    with node.stream() as stream:
        still_works(stream)


def test_a_stream_that_does_not_say_hello(node: Node) -> None:
    """The first frame must carry a session of 16 bytes; until it does, frames are refused and it may."""
    with node.stream(greets=False) as stream:
        operation = stream.operation(b"k", get=pb.Get())
        stream.send(pb.StreamRequest(operations=[operation]).SerializeToString())
        is_refused(stream.receive()[1], R.REASON_INVALID, "hello")
        stream.send(pb.StreamRequest(hello=pb.Hello(session=b"short")).SerializeToString())
        is_refused(stream.receive()[1], R.REASON_INVALID, "hello.session", "16")
        hello = pb.Hello(session=bytes(16))
        stream.send(pb.StreamRequest(hello=hello, operations=[operation]).SerializeToString())
        assert not stream.receive()[1].HasField("error")


# ---- operations -----------------------------------------------------------------------


def _put(**fields: Any) -> Callable[[RawStream, int], pb.Operation]:
    return lambda stream, now: stream.operation(b"k", now + 60_000, put=pb.Put(**fields))


BAD_OPERATIONS: dict[str, tuple[Callable[[RawStream, int], pb.Operation], str, str]] = {
    "empty key": (lambda s, _: s.operation(get=pb.Get()), "key", "required"),
    "long key": (lambda s, _: s.operation(b"k" * 1025, get=pb.Get()), "key", "1024"),
    "long value": (_put(value=b"v" * (limits.VALUE_BYTES_MAX + 1)), "put.value", "1048576"),
    "short ttl": (_put(ttl_ms=9), "put.ttl_ms", "10"),
    "absurd ttl": (_put(ttl_ms=limits.TTL_MS_MAX + 1), "put.ttl_ms", str(limits.TTL_MS_MAX)),
    "two conditions": (_put(if_revision=1, if_absent=True), "put.if_revision", "excludes"),
    "no kind": (lambda s, _: s.operation(b"k"), "kind", "required"),
    "no not_after": (lambda s, _: s.operation(b"k", put=pb.Put()), "not_after_ms", "required"),
    "far not_after": (
        lambda s, now: s.operation(b"k", now + 2 * TEN_MINUTES_MS, put=pb.Put()),
        "not_after_ms",
        str(TEN_MINUTES_MS),
    ),
    "bounded without bound": (
        lambda s, _: s.operation(b"k", get=pb.Get(level=R.LEVEL_BOUNDED)),
        "get.bound_ms",
        "3600000",
    ),
    "unknown level": (lambda s, _: s.operation(b"k", get=pb.Get(level=77)), "get.level", ""),
    "long page": (lambda s, _: s.operation(scan=pb.Scan(limit=1001)), "scan.limit", "1000"),
    "range backwards": (
        lambda s, _: s.operation(scan=pb.Scan(range=pb.KeyRange(start=b"b", end=b"a"))),
        "scan.range.end",
        "before",
    ),
    "empty txn": (lambda s, now: s.operation(b"", now + 60_000, txn=pb.Txn()), "txn", "empty"),
    "impossible bounds": (
        lambda s, now: s.operation(b"k", now + 60_000, increment=pb.Increment(by=1, minimum=9, maximum=1)),
        "increment.minimum",
        "maximum",
    ),
}


@pytest.mark.parametrize("name", BAD_OPERATIONS)
def test_an_operation_out_of_bounds(stream: RawStream, name: str) -> None:
    """An operation outside its documented bounds is refused with its field and its limit."""
    make, field, words = BAD_OPERATIONS[name]
    operation = make(stream, stream.stamp_of(FIRST_GROUP))
    result = stream.ask([operation])[operation.sequence][1]
    is_refused(result, R.REASON_INVALID, field, words)
    still_works(stream)


def test_a_write_past_its_time(stream: RawStream) -> None:
    """A write whose not_after_ms has passed is refused TOO_LATE and has no effect."""
    late = stream.operation(b"late", stream.stamp_of(FIRST_GROUP) - 1, put=pb.Put(value=b"x"))
    assert stream.ask([late])[late.sequence][1].error.reason == R.REASON_TOO_LATE
    get = stream.operation(b"late", get=pb.Get())
    assert stream.ask([get])[get.sequence][1].revision == 0


def test_an_unknown_field_is_refused(stream: RawStream) -> None:
    """An operation with a field this version does not know is refused: it may ask for what is not done."""
    operation = stream.operation(b"k", get=pb.Get())
    stream.send(_frame_of(operation.SerializeToString() + b"\xf8\x07\x01"))  # field 127, varint
    is_refused(stream.receive()[1], R.REASON_INVALID, "", "127")
    still_works(stream)


def _frame_of(operation: bytes) -> bytes:
    return b"\x1a" + bytes([len(operation)]) + operation


def test_an_unknown_namespace(node: Node, stream: RawStream) -> None:
    """A namespace the cluster does not have is refused by name, on the stream and unary."""
    operation = stream.operation(b"k", get=pb.Get())
    result = stream.ask([operation], namespace="nowhere")[operation.sequence][1]
    is_refused(result, R.REASON_UNKNOWN_NAMESPACE, "namespace", "nowhere")
    with pytest.raises(grpc.RpcError) as refusal:
        node.cache.Get(pb.GetRequest(key=text_key("k", namespace="nowhere")))
    assert refusal.value.code() is grpc.StatusCode.NOT_FOUND
    assert "nowhere" in error_of(refusal.value).message
    still_works(stream)


def test_a_txn_over_two_shards(stream: RawStream) -> None:
    """A transaction over two shards is refused CROSS_SHARD with both map entries, and does nothing."""
    steps = [pb.TxnOperation(key=key, put=pb.Put(value=b"x")) for key in (b"a/txn", b"z/txn")]
    txn = stream.operation(b"", stream.stamp_of(FIRST_GROUP) + 60_000, txn=pb.Txn(then=steps))
    problem = stream.ask([txn])[txn.sequence][1].error
    assert (problem.reason, problem.outcome) == (R.REASON_CROSS_SHARD, R.OUTCOME_REFUSED)
    assert [(shard.start, shard.end) for shard in problem.shards] == [(b"", b"m"), (b"m", b"")]
    get = stream.operation(b"a/txn", get=pb.Get())
    assert stream.ask([get])[get.sequence][1].revision == 0


def test_a_bad_token(node: Node, stream: RawStream) -> None:
    """A token of another cluster, or with entries that cannot be, is refused BAD_TOKEN."""
    level = pb.Get(level=R.LEVEL_SESSION)
    backwards = types_pb2.TokenEntry(start=b"b", end=b"a", group=2, index=1)
    for token in (
        types_pb2.Token(cluster_id="another"),
        types_pb2.Token(cluster_id="test", entries=[backwards]),
    ):
        operation = stream.operation(b"k", get=level)
        result = stream.ask([operation], token=token)[operation.sequence][1]
        is_refused(result, R.REASON_BAD_TOKEN, "token")
        with pytest.raises(grpc.RpcError) as refusal:
            node.cache.Get(pb.GetRequest(key=text_key("k"), get=level, token=token))
        assert error_of(refusal.value).reason == R.REASON_BAD_TOKEN
    operation = stream.operation(b"k", get=level)
    garbage = b"\x22\x03\xff\xff\xff"  # field 4, three bytes that are no token
    stream.send(_frame_of(operation.SerializeToString()) + garbage)
    is_refused(stream.receive()[1], R.REASON_BAD_TOKEN, "token")
    still_works(stream)


def test_a_unary_call_with_a_bad_field(node: Node) -> None:
    """A unary call is refused INVALID_ARGUMENT with the typed error, whether or not it would be sent on."""
    for metadata in ((), ASK_HERE):
        with pytest.raises(grpc.RpcError) as refusal:
            node.cache.Put(pb.PutRequest(key=text_key("k"), put=pb.Put(ttl_ms=1)), metadata=metadata)
        assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        problem = error_of(refusal.value)
        assert (problem.reason, problem.field) == (R.REASON_INVALID, "put.ttl_ms")
    with pytest.raises(grpc.RpcError) as refusal:
        node.cache.Get(pb.GetRequest())
    assert error_of(refusal.value).field == "key"


def test_bad_watch_requests(node: Node) -> None:
    """A watch that cannot be is cancelled with its reason, and the stream serves the next one."""
    everything = pb.WatchStart()
    here = pb.WatchStart(range=pb.KeyRange(prefix=b"w/"))
    requests = [
        pb.WatchRequest(watch=1, start=everything),  # two shards
        pb.WatchRequest(watch=2),
        pb.WatchRequest(watch=0, start=here),
        pb.WatchRequest(watch=3, start=here),
    ]
    answers = node.watch.Watch(iter(requests), timeout=30)
    try:
        reasons = [next(answers) for _ in requests]
    finally:
        answers.cancel()
    found = {answer.watch: (answer.cancelled.reason, answer.cancelled.field) for answer in reasons}
    assert found[1][0] == R.REASON_CROSS_SHARD
    assert found[2] == (R.REASON_INVALID, "act")
    assert found[0] == (R.REASON_INVALID, "watch")
    assert reasons[-1].started


# ---- starting a node ------------------------------------------------------------------


def start_refused(config: Path, *flags: str) -> str:
    """Starts a node that must not start; the one line it says."""
    command = [sys.executable, "-m", "holdfast_node", "--config", str(config), *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("holdfast: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def changed(node: NodeProcess, place: Path, *changes: tuple[str, str]) -> Path:
    """A node's configuration with some text replaced."""
    text = node.config.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    config = place / "changed.toml"
    config.write_text(text)
    return config


def test_a_configuration_with_a_typo(cluster: ProcessCluster, tmp_path: Path) -> None:
    """An unknown key is refused with the nearest known one, a value out of bounds with its bounds."""
    node = cluster.nodes[1]
    said = start_refused(changed(node, tmp_path, ("data_dir", "data_dirr")))
    assert "data_dirr" in said
    assert "did you mean 'data_dir'" in said
    said = start_refused(changed(node, tmp_path, ("cluster_id", "[raft]\nheartbeat_ms = 1\n[x]\ncluster_id")))
    assert "x" in said
    said = start_refused(changed(node, tmp_path, ("127.0.0.1:", "0.0.0.0:")))
    assert "nodes[0].address" in said
    assert "TLS" in said
    assert str(tmp_path / "absent.toml") in start_refused(tmp_path / "absent.toml")


def test_a_port_in_use(cluster: ProcessCluster, tmp_path: Path) -> None:
    """A node whose gRPC or HTTP port is taken does not start and names the address."""
    node = cluster.nodes[1]
    moved = (f'data_dir = "{node.config.parent / "data"}"', f'data_dir = "{tmp_path / "data"}"')
    assert node.address in start_refused(changed(node, tmp_path, moved), "--init")
    free = ("cluster_id", f'address = "127.0.0.1:{free_ports(1)[0]}"\ncluster_id')
    assert node.http in start_refused(changed(node, tmp_path, moved, free), "--init")


def test_a_data_directory_in_use(cluster: ProcessCluster) -> None:
    """A data directory that another process has open is refused, naming that process."""
    node = cluster.nodes[1]
    said = start_refused(node.config)
    assert f"pid {node.pid}" in said
    assert str(node.config.parent / "data") in said


def test_a_data_directory_of_another(cluster: ProcessCluster, tmp_path: Path) -> None:
    """A data directory of another cluster, of another node, of other shards, or empty without --init is
    refused with both names, and is left as it was.
    """
    node = cluster.nodes[3]
    node.stop()
    try:
        said = start_refused(changed(node, tmp_path, ('cluster_id = "test"', 'cluster_id = "prod"')))
        assert "'test'" in said
        assert "'prod'" in said
        said = start_refused(changed(node, tmp_path, ("node = 3", "node = 2")))
        assert "node 3" in said
        said = start_refused(changed(node, tmp_path, (f'splits = ["{SPLIT}"]', 'splits = ["x"]')))
        assert "shards" in said
        said = start_refused(changed(node, tmp_path, ("/data", "/nothing")))
        assert "--init" in said
    finally:
        node.start()
    eventually(node.is_ready, "node 3 back")


def test_a_damaged_wal(cluster: ProcessCluster, node: Node) -> None:
    """A byte flipped below the mark keeps the node from starting, with the segment, the place and the ways
    on; the others go on, and with the byte as it was the node comes back.
    """
    place = cluster.nodes[3]
    for number in range(50):
        node.put(f"wal/{number}", "x" * 100)
    place.kill()
    segment = min((place.config.parent / "data" / "wal").glob("*"))
    data = bytearray(segment.read_bytes())
    at = HEADER_BYTES + HEAD.size + 60  # inside what was written first and synced long ago
    original = bytes(data)
    data[at] ^= 0x40
    segment.write_bytes(data)
    try:
        said = start_refused(place.config)
        assert segment.name in said
        assert "offset" in said
        assert "restore" in said
        assert "holdfast node reset" in said
        verdict = Holdfast(cluster.endpoints)("wal", "verify", str(place.config.parent / "data"))
        assert (verdict.status, segment.name in verdict.out) == (1, True), verdict
        assert node.put("meanwhile", "1").revision
    finally:
        segment.write_bytes(original)
        place.start()
    eventually(place.is_ready, "node 3 back")
    eventually(cluster.digests_agree, "the same state everywhere")
