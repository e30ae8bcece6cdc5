"""The services as a program without the SDK sees them: generated stubs, HTTP, reflection."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from holdfast.v1 import cache_pb2 as pb
from holdfast.v1 import placement_pb2, types_pb2

from tests.integration.direct import Node, error_of, text_key
from tests.integration.process_cluster import FIRST_GROUP, NodeProcess, ProcessCluster, eventually, running

SERVING = health_pb2.HealthCheckResponse.SERVING
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    with running(tmp_path_factory.mktemp("api")) as found:
        yield found


@pytest.fixture
def leader(cluster: ProcessCluster) -> Iterator[Node]:
    with Node(cluster.leader().address) as node:
        yield node


@pytest.fixture
def follower(cluster: ProcessCluster) -> Iterator[Node]:
    with Node(follower_of(cluster).address) as node:
        yield node


def follower_of(cluster: ProcessCluster) -> NodeProcess:
    leader = cluster.leader()
    return next(node for node in cluster.nodes.values() if node is not leader)


def test_a_put_on_one_node_is_read_on_every_other(cluster: ProcessCluster) -> None:
    """Any node takes a unary put, and a linearizable get on any other sees it."""
    for number, place in enumerate(cluster.nodes.values()):
        with Node(place.address) as node:
            revision = node.put("shared", str(number)).revision
        for other in cluster.nodes.values():
            with Node(other.address) as node:
                found = node.get("shared")
                assert (found.item.value, found.item.revision) == (str(number).encode(), revision)
                assert found.header.level == types_pb2.LEVEL_LINEARIZABLE


def test_compare_and_set_by_revision(follower: Node) -> None:
    """CompareAndSet writes at exactly the revision it names, and is refused at another."""
    first = follower.cache.CompareAndSet(
        pb.CompareAndSetRequest(key=text_key("cas"), compare_and_set=pb.CompareAndSet(revision=0, value=b"1"))
    )
    again = pb.CompareAndSetRequest(
        key=text_key("cas"), compare_and_set=pb.CompareAndSet(revision=first.revision), value_text="2"
    )
    second = follower.cache.CompareAndSet(again)
    assert second.revision > first.revision
    with pytest.raises(grpc.RpcError) as refusal:
        follower.cache.CompareAndSet(again)
    assert refusal.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    problem = error_of(refusal.value)
    assert problem.reason == types_pb2.REASON_CONDITION_FAILED
    assert problem.outcome == types_pb2.OUTCOME_REFUSED
    assert follower.get("cas").item.value == b"2"


def test_increment_keeps_its_bounds(follower: Node) -> None:
    """Increment adds to a number and refuses a sum outside its bounds without effect."""
    add = pb.IncrementRequest(key=text_key("sum"), increment=pb.Increment(by=3, initial=4, maximum=9))
    assert follower.cache.Increment(add).number == 7
    with pytest.raises(grpc.RpcError) as refusal:
        follower.cache.Increment(add)
    assert error_of(refusal.value).reason == types_pb2.REASON_CONDITION_FAILED
    assert follower.get("sum").item.value == b"7"


def test_delete_of_a_key_and_of_a_range(follower: Node) -> None:
    """Delete takes one key with its previous value, or all keys of a prefix."""
    for name in ("gone/1", "gone/2", "gone/3", "stays"):
        follower.put(name, name)
    one = follower.cache.Delete(
        pb.DeleteRequest(key=text_key("gone/1"), delete=pb.Delete(return_previous=True))
    )
    assert (one.deleted, one.previous) == (1, b"gone/1")
    rest = follower.cache.Delete(pb.DeleteRequest(delete=pb.Delete(range=pb.KeyRange(prefix=b"gone/"))))
    assert (rest.deleted, rest.more) == (2, False)
    assert not follower.get("gone/2").found
    assert follower.get("stays").found


def test_scan_goes_on_page_by_page(follower: Node) -> None:
    """Scan gives keys in order, and `next` of a page is where the following page begins."""
    names = [f"scan/{n:02}" for n in range(25)]
    for name in names:
        follower.put(name, "x")
    seen: list[str] = []
    cursor = b""
    while True:
        scan = pb.Scan(range=pb.KeyRange(prefix=b"scan/"), limit=10, **{"from": cursor})
        page = follower.cache.Scan(pb.ScanRequest(scan=scan)).page
        seen += [item.key.decode() for item in page.items]
        cursor = page.next
        if not cursor:
            break
    assert seen == names


def test_a_transaction_is_all_or_nothing(follower: Node) -> None:
    """Txn does `then` when all compares hold, else `otherwise`, and one of the two lists only."""
    follower.put("txn/a", "1")
    swap = pb.TxnRequest(
        txn=pb.Txn(
            compares=[pb.Compare(key=b"txn/b", exists=False)],
            then=[
                pb.TxnOperation(key=b"txn/a", delete=pb.Delete()),
                pb.TxnOperation(key=b"txn/b", put=pb.Put(value=b"moved")),
            ],
            otherwise=[pb.TxnOperation(key=b"txn/b", get=pb.Get())],
        )
    )
    first = follower.cache.Txn(swap).result
    assert first.succeeded
    assert not follower.get("txn/a").found
    second = follower.cache.Txn(swap).result
    assert not second.succeeded
    assert [result.value for result in second.results] == [b"moved"]


def test_a_key_with_a_ttl_goes_after_its_time_and_not_before(leader: Node) -> None:
    """Over the stream: a key is never gone before its time by the group's clock, then is, as EXPIRED."""
    with leader.stream() as stream:
        began = stream.stamp_of(FIRST_GROUP)
        put = pb.Put(value=b"x", ttl_ms=300)
        answer, wrote = stream.ask([stream.operation(b"ttl", began + 60_000, put=put)])[1]
        assert not wrote.HasField("error"), wrote.error
        gone_at: list[int] = []

        def gone() -> bool:
            ask = stream.operation(b"ttl", get=pb.Get())
            answer, found = stream.ask([ask])[ask.sequence]
            if found.revision:
                assert found.ttl_ms <= 300
                return False
            gone_at.append(answer.stamp_ms)
            return True

        eventually(gone, "the key expired", within=20)
        assert gone_at[0] >= began + 300
    assert answer.node


def test_a_session_read_is_served_by_a_follower_that_has_caught_up(leader: Node, follower: Node) -> None:
    """A SESSION read with the token of a write sees that write on any replica, without the leader."""
    for number in range(20):
        token = leader.put("session", str(number)).header.token
        found = follower.get("session", ask_here=True, level=types_pb2.LEVEL_SESSION, token=token)
        assert found.item.value == str(number).encode()
        assert found.header.level == types_pb2.LEVEL_SESSION
        assert found.header.applied_index >= token.entries[0].index


def test_a_bounded_read_says_how_old_it_is(leader: Node, follower: Node) -> None:
    """A BOUNDED read on a follower is at most that old; one no replica can prove is refused or led back."""
    leader.put("bounded", "1")
    reasons: set[int] = set()
    followers_id = follower.placement.ListReplicas(placement_pb2.ListReplicasRequest()).node

    def served() -> bool:
        try:
            found = follower.get("bounded", ask_here=True, level=types_pb2.LEVEL_BOUNDED, bound_ms=2000)
        except grpc.RpcError as failure:
            reasons.add(error_of(failure).reason)
            return False
        assert found.header.node == followers_id
        assert found.header.age_ms <= 2000
        return found.item.value == b"1"

    eventually(served, "a bounded read on a follower", within=20)
    assert reasons <= {types_pb2.REASON_LAGGING}
    strict = follower.get("bounded", level=types_pb2.LEVEL_BOUNDED, bound_ms=1, or_linearizable=True)
    assert strict.header.level == types_pb2.LEVEL_LINEARIZABLE or strict.header.age_ms <= 1


def test_any_read_is_served_where_it_is_asked(cluster: ProcessCluster) -> None:
    """An ANY read is answered by the node that was asked, whoever leads."""
    for number, place in cluster.nodes.items():
        with Node(place.address) as node:
            found = node.get("whatever", level=types_pb2.LEVEL_ANY)
            assert (found.header.node, found.header.level) == (number, types_pb2.LEVEL_ANY)


def health_of(address: str, service: str) -> int:
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5).status


def test_health_is_told_per_shard(cluster: ProcessCluster) -> None:
    """The standard health service knows the node as a whole and each shard by name, and no other name."""
    for node in cluster.nodes.values():
        for service in ("", f"shard/{FIRST_GROUP}"):
            eventually(lambda a=node.address, s=service: health_of(a, s) == SERVING, f"{service!r} serves")
        with pytest.raises(grpc.RpcError) as refusal:
            health_of(node.address, "shard/99")
        assert refusal.value.code() is grpc.StatusCode.NOT_FOUND


def test_reflection_lists_the_services_with_their_descriptors(cluster: ProcessCluster) -> None:
    """Server reflection gives a client all public services, down to the fields of their messages."""
    with grpc.insecure_channel(cluster.nodes[2].address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        services = set(database.get_services())
        assert {
            "holdfast.v1.Cache",
            "holdfast.v1.Watch",
            "holdfast.v1.Placement",
            "grpc.health.v1.Health",
        } <= services
        pool = DescriptorPool(database)
        for name in services:
            assert pool.FindServiceByName(name).methods
        put = pool.FindMessageTypeByName("holdfast.v1.Put")
        assert "ttl_ms" in put.fields_by_name


def test_buf_curl_talks_to_a_node_by_reflection(cluster: ProcessCluster) -> None:
    """A real generic client puts and gets by reflection alone: `buf curl`, with keys as text."""

    def curl(method: str, request: object) -> str:
        command = [str(ROOT / ".ci/buf"), "curl", "--protocol", "grpc", "--http2-prior-knowledge"]
        url = f"http://{cluster.nodes[3].address}/holdfast.v1.Cache/{method}"
        done = subprocess.run(
            [*command, "-d", json.dumps(request), url],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if "SKIPPED" in done.stderr:
            pytest.skip(done.stderr.strip())
        assert done.returncode == 0, done.stderr
        return done.stdout

    curl("Put", {"key": {"keyText": "curl"}, "valueText": "hello"})
    found = json.loads(curl("Get", {"key": {"keyText": "curl"}}))
    assert found["found"] is True
    assert found["item"]["value"] == "aGVsbG8="


def test_http_pages(cluster: ProcessCluster) -> None:
    """/healthz and /readyz say 200 on a node that serves, /metrics speaks Prometheus, other paths are 404."""
    node = cluster.nodes[1]
    assert json.loads(node.ask("/healthz")[1])["alive"] is True
    assert node.ask("/readyz")[0] == 200
    status, metrics = node.ask("/metrics")
    assert status == 200
    assert "# TYPE holdfast_" in metrics
    assert f'group="{FIRST_GROUP}"' in metrics or f'shard="{FIRST_GROUP}"' in metrics
    assert node.ask("/nothing")[0] == 404
    request = urllib.request.Request(f"http://{node.http}/metrics", method="HEAD")
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert answer.status == 200


def refused_for_want_of_a_quorum(call: Callable[[], object]) -> bool:
    """False: refused for another reason, as long as an election could still help."""
    with pytest.raises(grpc.RpcError) as refusal:
        call()
    problem = error_of(refusal.value)
    assert problem.outcome == types_pb2.OUTCOME_REFUSED, problem
    assert problem.reason in {types_pb2.REASON_NO_QUORUM, types_pb2.REASON_NOT_LEADER}, problem
    return problem.reason == types_pb2.REASON_NO_QUORUM


def test_without_a_quorum_only_what_needs_none_is_served(cluster: ProcessCluster) -> None:
    """With two of three nodes gone, writes and linearizable reads are refused as NO_QUORUM and nothing
    happened, ANY reads go on, and the node says that it is alive and not ready.
    """
    with Node(cluster.nodes[1].address) as node:
        node.put("alone", "before")
        eventually(
            lambda: node.get("alone", level=types_pb2.LEVEL_ANY).item.value == b"before", "applied on node 1"
        )
        for other in (2, 3):
            cluster.nodes[other].signal(signal.SIGKILL)
            cluster.nodes[other].reap()
        eventually(lambda: cluster.nodes[1].ask("/readyz")[0] == 503, "not ready without a quorum", within=20)
        assert cluster.nodes[1].ask("/healthz")[0] == 200
        eventually(
            lambda: health_of(cluster.nodes[1].address, f"shard/{FIRST_GROUP}") != SERVING, "not serving"
        )
        # The read first: a leader that has not stepped down yet may take a write and lose it as unknown.
        for call in (lambda: node.get("alone"), lambda: node.put("alone", "after")):
            eventually(lambda c=call: refused_for_want_of_a_quorum(c), "refused as NO_QUORUM", within=20)
        any_read = node.get("alone", level=types_pb2.LEVEL_ANY)
        assert any_read.item.value == b"before"
        cluster.start()
        assert node.get("alone").item.value == b"before"
