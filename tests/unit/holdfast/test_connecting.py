"""From endpoints to a client."""

import asyncio
import socket

import holdfast
import pytest
from holdfast import InvalidError, Reason, RefusedError
from holdfast.connecting import parse_endpoints

from tests.unit.holdfast.scripted_node import ScriptedCluster


def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


def test_endpoints_are_a_list_or_text():
    """Commas or a list, blanks ignored."""
    assert parse_endpoints("a:1, b:2,") == ("a:1", "b:2")
    assert parse_endpoints(["[::1]:7400"]) == ("[::1]:7400",)


@pytest.mark.parametrize("text", ["", "host", ":7400", "host:", "host:x", "host:70000", "a:1,b"])
def test_what_is_no_endpoint_is_named(text):
    """A bad endpoint is an InvalidError that shows it."""
    with pytest.raises(InvalidError) as caught:
        parse_endpoints(text)
    assert caught.value.field == "endpoints"


def test_one_living_endpoint_is_enough():
    """Dead endpoints are passed over; the rest of the cluster is learned from the map."""

    async def run():
        async with (
            ScriptedCluster(2) as cluster,
            holdfast.connect([closed_port(), cluster.endpoints[1]]) as client,
        ):
            await client.put("k", "v")  # led by node 1, which no endpoint names
            return cluster.nodes[0].operations

    assert len(asyncio.run(run())) == 1


def test_no_living_endpoint_is_a_refusal_that_names_them():
    """Connecting ends by its timeout, says where it tried and why it failed."""
    where = closed_port()

    async def run():
        await holdfast.connect(where, timeout_s=0.4)

    with pytest.raises(RefusedError) as caught:
        asyncio.run(run())
    assert caught.value.reason is Reason.DEADLINE
    assert where in str(caught.value)


def test_failing_to_connect_leaves_nothing_running():
    """An endpoint that accepts and says nothing is left behind with no task on the loop."""

    async def run(where):
        with pytest.raises(RefusedError):
            await holdfast.connect(where, timeout_s=0.3)
        # gRPC's own task of a cancelled call ends a little later.
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:
            _, left = await asyncio.wait(left, timeout=10)
        assert left == set()

    with socket.create_server(("127.0.0.1", 0)) as silent:
        asyncio.run(run(f"127.0.0.1:{silent.getsockname()[1]}"))


def test_a_token_of_another_cluster_is_refused_on_connecting():
    """BAD_TOKEN, before any operation could go back behind what was seen."""
    token = b"\x0a\x09elsewhere"

    async def run():
        async with ScriptedCluster() as cluster:
            await holdfast.connect(cluster.endpoints, session=token)

    with pytest.raises(RefusedError) as caught:
        asyncio.run(run())
    assert caught.value.reason is Reason.BAD_TOKEN


def test_connect_can_be_awaited_or_entered():
    """`await connect()` gives the client, `async with connect()` also closes it."""

    async def run():
        async with ScriptedCluster() as cluster:
            client = await holdfast.connect(cluster.endpoints)
            await client.put("k", "v")
            await client.aclose()
            async with holdfast.connect(cluster.endpoints) as client:
                return (await client.get("k")).value

    assert asyncio.run(run()) == b"v"
