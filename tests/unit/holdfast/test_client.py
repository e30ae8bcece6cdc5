"""The client over the wire, against peers that speak the real protocol."""

import asyncio

import holdfast
import pytest
from holdfast import InvalidError, Level, Reason, RefusedError

from tests.unit.holdfast.scenarios import SCENARIOS
from tests.unit.holdfast.scripted_node import ScriptedCluster


@pytest.mark.parametrize("cuts", [(), (b"s/0100", b"s/0200")], ids=["one-shard", "three-shards"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.__name__)
def test_a_client_over_the_wire(scenario, cuts):
    """Every scenario of a client holds over the wire, on one shard and on several."""

    async def run():
        async with (
            asyncio.timeout(30),
            ScriptedCluster(2, cuts) as cluster,
            holdfast.connect(cluster.endpoints) as client,
        ):
            await scenario(client)

    asyncio.run(run())


def test_calls_of_one_turn_share_a_frame():
    """What is asked together leaves as one frame."""

    async def run():
        async with ScriptedCluster() as cluster, holdfast.connect(cluster.endpoints) as client:
            await asyncio.gather(*(client.put(f"k{n}", "v") for n in range(100)))
            return [len(frame.operations) for frame in cluster.nodes[0].frames]

    assert asyncio.run(run()) == [100]


@pytest.mark.parametrize("level", [Level.SESSION, Level.ANY])
def test_reads_of_a_weaker_level_are_spread_over_the_replicas(level):
    """SESSION and ANY reads do not all load the leader."""

    async def run():
        async with ScriptedCluster(3) as cluster, holdfast.connect(cluster.endpoints) as client:
            while len(client._backend.router.ready) < 3:
                await client.get("k", level=level)
            found: set[int] = set()
            while found != {1, 2, 3}:
                found.add((await client.get("k", level=level)).served.node)

    asyncio.run(run())


@pytest.mark.parametrize("level", [None, *Level])
@pytest.mark.parametrize("wrong", [{"or_linearizable": True}, {"bound_ms": 0}])
def test_a_bound_is_refused_where_it_means_nothing(level, wrong):
    """What goes with BOUNDED only is not ignored at other levels, nor at the client's own."""

    async def run():
        async with ScriptedCluster(1) as cluster, holdfast.connect(cluster.endpoints) as client:
            await client.get("k", level=level, **wrong)

    missing = "bound_ms" if level is Level.BOUNDED else next(iter(wrong))
    with pytest.raises(holdfast.InvalidError, match=missing):
        asyncio.run(run())


@pytest.mark.parametrize("level", [0, 7, "session", None])
def test_what_is_no_level_is_refused(level):
    """By each read (None: the client's own) and by the client itself; a level's number stands for it."""

    async def run():
        async with ScriptedCluster(1) as cluster, holdfast.connect(cluster.endpoints) as client:
            assert (await client.get("k", level=3, bound_ms=5)).served.level is Level.BOUNDED
            if level is not None:
                with pytest.raises(holdfast.InvalidError, match="level"):
                    await client.get("k", level=level)
            with pytest.raises(holdfast.InvalidError, match="level"):
                await holdfast.connect(cluster.endpoints, level=level)

    asyncio.run(run())


def test_a_session_read_carries_what_the_session_has_seen():
    """The frame of a SESSION read holds the token raised by the write before it; others hold none."""

    async def run():
        async with ScriptedCluster() as cluster, holdfast.connect(cluster.endpoints) as client:
            await client.put("k", "v")
            await client.get("k", level=Level.SESSION)
            return cluster.nodes[0].frames

    write, read = asyncio.run(run())
    assert not write.HasField("token")
    assert [(e.group, e.index) for e in read.token.entries] == [(2, 1)]


def test_a_token_goes_on_in_another_session():
    """A second client given the first one's token asks for what the first has seen."""

    async def run():
        async with ScriptedCluster() as cluster:
            async with holdfast.connect(cluster.endpoints) as first:
                await first.put("k", "v")
                token = first.token
            async with holdfast.connect(cluster.endpoints, session=token) as second:
                await second.get("k", level=Level.SESSION)
            return cluster.nodes[0].frames[-1]

    assert [e.index for e in asyncio.run(run()).token.entries] == [1]


def test_a_client_checks_what_it_is_made_with():
    """A bad namespace, level or timeout is refused before anything is sent."""
    for arguments in ({"namespace": "No!"}, {"level": Level.BOUNDED}, {"timeout_s": 0}):

        async def run(arguments=arguments):
            async with ScriptedCluster() as cluster:
                await holdfast.connect(cluster.endpoints, **arguments)

        with pytest.raises(InvalidError):
            asyncio.run(run())


def test_a_closed_client_refuses():
    """After aclose an operation is refused, not hung."""

    async def run():
        async with ScriptedCluster() as cluster:
            client = await holdfast.connect(cluster.endpoints)
            await client.aclose()
            await client.get("k")

    with pytest.raises(RefusedError) as caught:
        asyncio.run(run())
    assert caught.value.reason is Reason.STOPPED


def test_an_unknown_namespace_is_refused():
    """A namespace the map does not name, also not after asking again, is refused with the reason."""

    async def run():
        async with (
            ScriptedCluster() as cluster,
            holdfast.connect(cluster.endpoints, namespace="other") as client,
        ):
            await client.get("k")

    with pytest.raises(RefusedError) as caught:
        asyncio.run(run())
    assert caught.value.reason is Reason.UNKNOWN_NAMESPACE
