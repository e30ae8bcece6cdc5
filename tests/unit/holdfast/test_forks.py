"""A client serves the process it was made in alone; a fork costs the parent nothing."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import holdfast
import pytest
from holdfast import Reason, RefusedError, forks

from tests.unit.holdfast.scripted_node import ScriptedCluster
from tests.unit.holdfast.test_blocking import served


def test_in_a_forked_process_every_call_is_refused_and_nothing_of_the_parents_ends(monkeypatch):
    """Not sent under the parent's name, not hung; closing there leaves the parent's streams alone."""

    async def run():
        async with ScriptedCluster() as cluster:
            client = await holdfast.connect(cluster.endpoints)
            await client.put("k", "1")
            watch = client.watch(prefix="k")
            with monkeypatch.context() as child:
                child.setattr(forks, "count", forks.count + 1)
                told = [await _refused(client.put("k", "2")), await _refused(client.get("k"))]
                with pytest.raises(RefusedError):
                    async with client.watch(prefix="k"):
                        pass
                told += [await _refused(anext(watch)), await _refused(_connected(cluster.endpoints))]
                await watch.aclose()
                await client.aclose()
            client._backend.closed = False  # the child's alone
            await client.put("k", "3")
            hellos, operations = list(cluster.nodes[0].hellos), len(cluster.nodes[0].operations)
            await client.aclose()
            return told, hellos, operations

    told, hellos, operations = asyncio.run(run())
    assert all("or start processes by spawn" in text for text in told)
    assert (len(hellos), operations) == (1, 2)


async def _connected(endpoints: str) -> None:
    await holdfast.connect(endpoints)


async def _refused(call) -> str:
    with pytest.raises(RefusedError) as caught:
        await call
    assert caught.value.reason is Reason.STOPPED
    return str(caught.value)


def test_a_blocking_client_in_a_forked_process_does_not_wait_for_its_parents_thread(monkeypatch):
    """The thread that would do the work is not there."""
    with served() as cluster, holdfast.connect_blocking(cluster.endpoints) as client:
        client.put("k", "1")
        with monkeypatch.context() as child:
            child.setattr(forks, "count", forks.count + 1)
            with pytest.raises(RefusedError, match="by spawn"):
                client.put("k", "2")
            client.close()
        client.put("k", "3")
        assert len(cluster.nodes[0].operations) == 2


def test_a_fork_is_noticed():
    """By the child alone."""
    program = (
        "import multiprocessing; from holdfast import forks; fork = multiprocessing.get_context('fork');"
        "there, here = fork.Pipe(); child = fork.Process(target=lambda: there.send(forks.count));"
        "child.start(); print(here.recv(), forks.count); child.join()"
    )
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert said.stdout.split() == ["1", "0"]


def test_a_new_client_serves_in_a_child_that_was_forked_before_the_first():
    """And is refused where one was made before, closed or not, since gRPC may hang there."""
    program = """
import multiprocessing, sys, holdfast
from holdfast import forks
def child(told):
    try:
        with holdfast.connect_blocking(sys.argv[1]) as own:
            own.put('k', '2')
            told.send('serves')
    except holdfast.RefusedError as refused:
        assert refused.reason is holdfast.Reason.STOPPED, refused
        told.send('refused')
for _ in range(2):
    fork = multiprocessing.get_context('fork')
    there, here = fork.Pipe()
    process = fork.Process(target=child, args=(there,))
    process.start()
    print(here.recv(), flush=True)
    process.join()
    forks.use()  # as the first client does, without gRPC's own handlers of the next fork
"""
    with served() as cluster:
        command = [sys.executable, "-c", program, *cluster.endpoints]
        said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)

    assert said.stdout.split() == ["serves", "refused"]
