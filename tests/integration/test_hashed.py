"""Hashed namespaces on real nodes: serial numbers spread evenly, and everything that names keys still works.

A device's keys are `SN-00042/...`, one unit each, put in the order of their serial numbers.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import grpc
import holdfast
import pytest
from holdfast.errors import HoldfastError, Reason
from holdfast.operations import Compare, Step
from holdfast.types import EventKind, Level, MarkKind
from holdfast.units import Units
from holdfast.v1 import cache_pb2 as pb
from holdfast.v1 import placement_pb2, types_pb2

from tests.integration.command_line import Holdfast
from tests.integration.direct import TIMEOUT_S, Node, error_of, text_key
from tests.integration.placement_calls import Placement
from tests.integration.process_cluster import ProcessCluster, eventually, running, verified

DEVICES = 1500
SHARDS = 4
SPACE = "devices"
UNITS = Units(1, b"/", hashed=True)


def serial(number: int) -> str:
    return f"SN-{number:05}"


def keys_of(number: int) -> list[bytes]:
    return [f"{serial(number)}/{name}".encode() for name in ("interval", "mode")]


ALL = sorted(key for number in range(DEVICES) for key in keys_of(number))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    with running(tmp_path_factory.mktemp("hashed")) as found:
        yield found


@pytest.fixture(scope="module")
def command(cluster: ProcessCluster) -> Holdfast:
    return Holdfast(cluster.endpoints)


@pytest.fixture(scope="module")
def placement(cluster: ProcessCluster) -> Iterator[Placement]:
    found = Placement(cluster)
    found.pause()
    yield found
    found.close()


@pytest.fixture(scope="module", autouse=True)
def _filled(cluster: ProcessCluster, command: Holdfast, placement: Placement) -> None:
    """The namespace is made while a client is connected that has never heard of it, and used by that."""

    async def fill() -> None:
        async with holdfast.connect(cluster.endpoints, namespace=SPACE) as client:
            made = await asyncio.to_thread(
                command, "namespace", "create", SPACE, "--unit", "1", "--hashed", "--shards", str(SHARDS)
            )
            assert made.status == 0, made
            await known(client)
            await asyncio.gather(*(client.put(key, key[::-1], timeout_s=30) for key in ALL))

    asyncio.run(fill())


async def known(client: holdfast.Client) -> None:
    """Returns once the node that the client happens to ask has heard of the namespace."""
    async with asyncio.timeout(20):
        while True:
            try:
                await client.get("any")
            except HoldfastError as refused:
                if refused.reason is not Reason.UNKNOWN_NAMESPACE:
                    raise
            else:
                return


def of_the_namespace(placement: Placement) -> list[types_pb2.Shard]:
    return [shard for shard in placement.shards() if shard.namespace == SPACE]


def run(cluster: ProcessCluster, act: Callable[[holdfast.Client], Awaitable[None]]) -> None:
    async def connected() -> None:
        async with holdfast.connect(cluster.endpoints, namespace=SPACE) as client:
            await act(client)

    asyncio.run(connected())


def test_serial_numbers_spread_over_all_shards_evenly(cluster: ProcessCluster) -> None:
    """Each shard has its share of keys that were put in order, within what chance allows."""
    held: Counter[int] = Counter()

    def counted() -> bool:
        for node in cluster.nodes.values():
            for replica in node.replicas():
                if replica.shard.namespace == SPACE:
                    held[replica.shard.group] = max(replica.keys, held[replica.shard.group])
        return sum(held.values()) == len(ALL)

    eventually(counted, "all keys are where the figures are taken")
    share = len(ALL) / SHARDS
    assert len(held) == SHARDS
    assert all(0.7 * share < count < 1.3 * share for count in held.values()), held


@pytest.mark.parametrize("level", list(Level))
def test_every_key_is_read_back_at_every_level(cluster: ProcessCluster, level: Level) -> None:
    """Whoever reads places a key as whoever wrote did."""

    async def act(client: holdfast.Client) -> None:
        how = {"bound_ms": 60_000, "or_linearizable": True} if level is Level.BOUNDED else {"level": level}
        found = await asyncio.gather(*(client.get(key, **how) for key in ALL))
        assert [reading.value for reading in found] == [key[::-1] for key in ALL]

    run(cluster, act)


def test_every_client_operation_speaks_of_plain_keys(cluster: ProcessCluster) -> None:
    """Conditions, counters, times to live and transactions of one unit work as anywhere."""

    async def act(client: holdfast.Client) -> None:
        revision = (await client.put("one/a", "1", ttl=600)).revision
        assert (await client.compare_and_set("one/a", revision, "2")).revision > revision
        assert (await client.increment("one/b", 5)).value == 5
        assert await client.touch("one/b", ttl=600)
        done = await client.txn(
            [Compare.exists("one/a")], [Step.get("one/a"), Step.put("one/c", "3")], [Step.delete("one/a")]
        )
        assert (done.succeeded, done.results[0].value) == (True, b"2")
        assert [item.key async for item in client.scan(prefix="one/")] == [b"one/a", b"one/b", b"one/c"]
        assert (await client.delete("one/a")).deleted == 1
        assert await client.delete_range(prefix="one/", atomic=True) == 2
        longest = b"SN/" + bytes(1021)  # its place is longer than a key may be
        await client.put(longest, "long")
        assert [item.key async for item in client.scan(prefix="SN/")] == [longest]
        assert [item.key async for item in client.scan(prefix="SN/", keys_only=True, limit=1)] == [longest]
        assert await client.delete_range(prefix="SN/") == 1

    run(cluster, act)


def test_a_transaction_over_units_of_two_shards_is_refused(
    cluster: ProcessCluster, placement: Placement
) -> None:
    """Only the keys of one unit are sure to lie in one shard."""
    cut = of_the_namespace(placement)[1].start
    low = next(key for key in ALL if UNITS.placed(key) < cut)
    high = next(key for key in ALL if UNITS.placed(key) >= cut)

    async def act(client: holdfast.Client) -> None:
        with pytest.raises(HoldfastError) as refused:
            await client.txn(then=[Step.get(low), Step.get(high)])
        assert refused.value.reason is Reason.CROSS_SHARD

    run(cluster, act)


def test_a_scan_of_one_unit_is_in_key_order(cluster: ProcessCluster) -> None:
    """A device's keys are one range: in order, in pages, by prefix or from key to key."""

    async def act(client: holdfast.Client) -> None:
        wanted = keys_of(42)
        assert [item.key async for item in client.scan(prefix="SN-00042/")] == wanted
        page = await client.scan_page(prefix="SN-00042/", limit=1)
        assert ([item.key for item in page.items], bool(page.next)) == (wanted[:1], True)
        page = await client.scan_page(prefix="SN-00042/", limit=1, from_=page.next)
        assert ([item.key for item in page.items], page.next) == (wanted[1:], b"")
        ranged = client.scan(start="SN-00042/j", end="SN-00042/z")
        assert [item.key async for item in ranged] == wanted[1:]

    run(cluster, act)


@pytest.mark.parametrize(
    ("bounds", "meant"),
    [
        ({}, ALL),
        ({"prefix": "SN-0001"}, [key for key in ALL if key.startswith(b"SN-0001")]),
        ({"start": "SN-00100", "end": "SN-00200/j"}, [k for k in ALL if b"SN-00100" <= k < b"SN-00200/j"]),
        ({"prefix": "none"}, []),
    ],
)
def test_a_scan_over_units_finds_each_key_once_in_the_order_of_their_hash(
    cluster: ProcessCluster, bounds: dict[str, str], meant: list[bytes]
) -> None:
    """Every shard is asked, page by page; what is found is what begins so, in the order of places."""

    async def act(client: holdfast.Client) -> None:
        found = [item.key async for item in client.scan(**bounds, keys_only=True)]
        assert found == sorted(meant, key=UNITS.placed)
        cursor, paged = b"", []
        while True:
            page = await client.scan_page(**bounds, limit=37, from_=cursor)
            paged += [item.key for item in page.items]
            assert len(page.items) <= 37
            cursor = page.next
            if not cursor:
                break
        assert paged == found

    run(cluster, act)


def test_a_delete_over_units_takes_exactly_what_begins_so(cluster: ProcessCluster) -> None:
    """Paged over all shards; the keys beside stay."""

    async def act(client: holdfast.Client) -> None:
        gone = [f"gone-{number}/x" for number in range(60)]
        await asyncio.gather(*(client.put(key, "") for key in [*gone, "gon", "gonf/x"]))
        assert await client.delete_range(prefix="gone-") == len(gone)
        assert sorted([item.key async for item in client.scan(prefix="gon")]) == [b"gon", b"gonf/x"]
        assert await client.delete_range(prefix="gon") == 2
        assert sorted([item.key async for item in client.scan()]) == ALL

    run(cluster, act)


def test_an_atomic_delete_over_shards_is_refused(cluster: ProcessCluster) -> None:
    """What lies in several shards cannot go at once; nothing of it goes."""

    async def act(client: holdfast.Client) -> None:
        with pytest.raises(HoldfastError) as refused:
            await client.delete_range(prefix="SN-", atomic=True)
        assert refused.value.reason is Reason.CROSS_SHARD

    run(cluster, act)


@asynccontextmanager
async def watching(client: holdfast.Client, **how: object) -> AsyncIterator[holdfast.Watch]:
    async with client.watch(**how) as watch, asyncio.timeout(20):
        yield watch


def test_a_watch_by_unit_and_by_short_prefix_sees_plain_keys(cluster: ProcessCluster) -> None:
    """A snapshot first, then what changes, of the device or of all that begin so; a point resumes it."""

    async def act(client: holdfast.Client) -> None:
        async with watching(client, prefix="SN-00007/", or_snapshot=True) as watch:
            seen = [await anext(watch) for _ in range(4)]
            assert [type(item).__name__ for item in seen] == ["Mark", "Event", "Event", "Mark"]
            assert [item.key for item in seen[1:3]] == keys_of(7)
            assert (seen[0].holds(keys_of(7)[0]), seen[0].holds(keys_of(8)[0])) == (True, False)
            await client.put("SN-00008/mode", "beside")
            await client.put("SN-00007/mode", "changed")
            assert (await anext(watch))[:3] == (EventKind.PUT, b"SN-00007/mode", b"changed")
        snapshot, caught_up = [], 0
        async with watching(client, prefix="SN-0000", or_snapshot=True) as watch:
            while caught_up < len(watch.parts) or not watch.parts:
                item = await anext(watch)
                if isinstance(item, holdfast.Mark):
                    caught_up += item.kind is MarkKind.CAUGHT_UP
                elif item.kind is EventKind.SNAPSHOT:  # a replica that is behind tells late what came before
                    snapshot.append(item.key)
            assert sorted(snapshot) == [key for key in ALL if key.startswith(b"SN-0000")]
            assert len(watch.parts) == SHARDS
            points = watch.points
        changed = {f"SN-0000{number}/mode".encode() for number in range(10)}
        await asyncio.gather(*(client.put(key, "later") for key in [*changed, b"SN-00010/mode"]))
        await client.delete("SN-00003/interval")
        async with watching(client, prefix="SN-0000", from_=points) as watch:
            later: Counter[bytes] = Counter()
            while set(later) != changed or (EventKind.DELETED, b"SN-00003/interval") not in seen:
                event = await anext(watch)
                seen.append(event[:2])
                later.update([event.key] if event.value == b"later" else [])
        assert set(later.values()) == {1}
        await asyncio.gather(*(client.put(key, key[::-1]) for key in ALL if key.startswith(b"SN-000")))

    run(cluster, act)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_unary_calls_through_any_node_speak_of_plain_keys(cluster: ProcessCluster, number: int) -> None:
    """Stubs and grpcurl need no map: the node places, forwards and answers in plain keys."""
    with Node(cluster.address(number)) as node:
        for key in ALL[:: len(ALL) // 10]:
            got = node.cache.Get(pb.GetRequest(key=text_key(key.decode(), SPACE)), timeout=TIMEOUT_S)
            assert (got.item.key, got.item.value) == (key, key[::-1])
        put = pb.PutRequest(key=text_key("unary/x", SPACE), put=pb.Put(value=b"1"))
        assert node.cache.Put(put, timeout=TIMEOUT_S).revision
        scan = pb.ScanRequest(namespace=SPACE, prefix_text="SN-0001")
        found = []
        while True:
            page = node.cache.Scan(scan, timeout=TIMEOUT_S).page
            found += [item.key for item in page.items]
            if not page.next:
                break
            further = pb.Scan(**{"from": page.next})
            scan = pb.ScanRequest(namespace=SPACE, prefix_text="SN-0001", scan=further)
        assert found == sorted((k for k in ALL if k.startswith(b"SN-0001")), key=UNITS.placed)
        unit = pb.DeleteRequest(
            key=pb.Key(namespace=SPACE), delete=pb.Delete(range=pb.KeyRange(prefix=b"unary/"))
        )
        assert node.cache.Delete(unit, timeout=TIMEOUT_S).deleted == 1
        wide = pb.DeleteRequest(
            key=pb.Key(namespace=SPACE), delete=pb.Delete(range=pb.KeyRange(prefix=b"SN-"), paged=True)
        )
        with pytest.raises(grpc.RpcError) as refused:
            node.cache.Delete(wide, timeout=TIMEOUT_S)
        assert len(error_of(refused.value).shards) >= SHARDS


def test_a_stream_that_names_no_places_is_told_to_ask_for_the_map(cluster: ProcessCluster) -> None:
    """An SDK that takes the namespace for an ordered one gets no half of an answer."""
    with Node(cluster.address(1)) as node, node.stream() as stream:
        scan = stream.operation(scan=pb.Scan(range=pb.KeyRange(prefix=b"SN-")))
        _, result = stream.ask([scan], namespace=SPACE)[scan.sequence]
        assert result.error.reason == types_pb2.REASON_CROSS_SHARD
        assert "places" in result.error.field


def test_the_command_line_shows_keys_plain_and_bounds_in_hex(command: Holdfast, placement: Placement) -> None:
    """scan, locate, list: keys as they were put, hash bounds as hex digits."""
    lines = command("scan", "SN-00042/", "-n", SPACE, "--keys-only", "-o", "json").lines()
    assert [line["key"].encode() for line in lines] == keys_of(42)
    assert command.json("scan", "SN-", "-n", SPACE, "--count") == {"count": len(ALL)}
    shards = command.json("shard", "list", "-n", SPACE)
    assert [row["start"] for row in shards][:2] == ["", of_the_namespace(placement)[1].start.hex()]
    for key in ALL[::700]:
        row = command.json("shard", "locate", key.decode(), "-n", SPACE)
        place = UNITS.placed(key).hex()
        assert row["start"] <= place < (row["end"] or "g")
    table = command("shard", "list", "-n", SPACE)
    assert f"hash [, {shards[0]['end']})" in table.out


def test_reshapes_under_it_lose_nothing(
    cluster: ProcessCluster, command: Holdfast, placement: Placement
) -> None:
    """Cut by hash and in the middle, merged, with a watch of all and a client that knows the old map."""
    groups = [shard.group for shard in of_the_namespace(placement)]
    key_refused = command("shard", "split", str(groups[0]), "--at", "SN-00042")
    assert (key_refused.status, "--at-hash" in key_refused.err) == (3, True)

    async def scanning(client: holdfast.Client, scans: list[int]) -> None:
        while True:
            found = [item.key async for item in client.scan(prefix="SN-", keys_only=True)]
            assert sorted(found) == ALL, "each key once, whatever is cut or joined under the scan"
            scans.append(len(found))

    async def act(client: holdfast.Client) -> None:
        scans: list[int] = []
        scanner = asyncio.create_task(scanning(client, scans))
        async with watching(client, prefix="SN-") as watch:
            await client.put("SN-00000/mode", "before")
            assert (await anext(watch)).value == b"before"
            cut = await asyncio.to_thread(command, "shard", "split", str(groups[0]), "--at-hash", "1")
            assert cut.status == 0, cut
            halved = await asyncio.to_thread(command, "shard", "split", str(groups[-1]), "--middle")
            assert halved.status == 0, halved
            starts = [shard.start for shard in of_the_namespace(placement)]
            assert len(starts) == SHARDS + 2
            assert b"\x10" in starts
            assert all(len(start) <= 8 for start in starts)
            await asyncio.gather(*(client.put(key, b"again") for key in ALL))
            again = [await anext(watch) for _ in ALL]
            assert sorted(event.key for event in again) == ALL
        assert sorted([item.key async for item in client.scan(prefix="SN-")]) == ALL
        left, right = (shard.group for shard in of_the_namespace(placement)[:2])
        merged = await asyncio.to_thread(command, "shard", "merge", str(left), str(right))
        assert merged.status == 0, merged
        scanner.cancel()
        with pytest.raises(asyncio.CancelledError):
            await scanner
        assert scans
        assert await client.delete_range(prefix="SN-001") == 200
        assert sorted([item.key async for item in client.scan()]) == [
            key for key in ALL if not key.startswith(b"SN-001")
        ]
        await asyncio.gather(*(client.put(key, key[::-1]) for key in ALL))

    run(cluster, act)
    verified(cluster)
    eventually(placement.everywhere_the_same, "every node goes by the map, and holds what it says")


def test_nodes_that_start_again_and_one_that_joins_know_how_keys_are_placed(
    cluster: ProcessCluster, placement: Placement
) -> None:
    """From birth records and orders: also when nobody has told them the map yet."""
    for node in cluster.nodes.values():
        node.kill()
    cluster.start()
    joined = cluster.join()
    placement.hear_of(joined.number)
    group = of_the_namespace(placement)[0]
    request = placement_pb2.MoveShardRequest(
        group=group.group, from_node=group.replicas[0].node, to_node=joined.number
    )
    placement.finish(placement.patiently("MoveShard", request).plan.id)

    async def act(client: holdfast.Client) -> None:
        found = {item.key: item.value async for item in client.scan()}
        assert found == {key: key[::-1] for key in ALL}
        await asyncio.gather(*(client.put(key, b"after") for key in ALL))
        assert {item.value async for item in client.scan()} == {b"after"}
        assert sorted([item.key async for item in client.scan()]) == ALL

    run(cluster, act)
    verified(cluster)


def test_a_name_that_is_given_anew_with_other_units_confuses_no_client(
    cluster: ProcessCluster, command: Holdfast
) -> None:
    """Dropped and made again, hashed, then in order: a client that knows the earlier one follows."""

    def make(*how: str) -> None:
        made = command("namespace", "create", "reborn", *how)
        assert made.status == 0, made

    async def use(client: holdfast.Client, value: str) -> None:
        await asyncio.gather(*(client.put(f"{n}/k", value) for n in range(50)))
        assert {item.value async for item in client.scan()} == {value.encode()}
        assert len([item async for item in client.scan(prefix="1")]) == 11
        assert await client.delete_range(prefix="2") == 11
        assert len([item async for item in client.scan()]) == 39

    async def act() -> None:
        async with holdfast.connect(cluster.endpoints, namespace="reborn", timeout_s=20) as client:
            for value, how in (
                ("ordered", ()), ("hashed", ("--hashed", "--shards", "3", "--unit", "1")), ("again", ()),
            ):  # fmt: skip
                await asyncio.to_thread(make, *how)
                await known(client)
                await use(client, value)
                gone = await asyncio.to_thread(
                    command, "namespace", "delete", "reborn", "--confirm", "reborn"
                )
                assert gone.status == 0, gone

    asyncio.run(act())
