"""The blocking facade does what the asyncio client does."""

import asyncio
import inspect
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import holdfast
import pytest
from holdfast import BlockingClient, Client, Level, RefusedError

from tests.unit.holdfast.scripted_node import ScriptedCluster


@contextmanager
def served(nodes: int = 1) -> Iterator[ScriptedCluster]:
    """A cluster on a loop of its own, since the test's thread will block."""
    loop, up, done = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    cluster = ScriptedCluster(nodes)

    async def serve():
        async with cluster:
            up.set()
            await done.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    up.wait()
    try:
        yield cluster
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()


def test_every_method_of_the_client_is_there():
    """The facade offers the client's public names; closing is spelled without the a."""
    wanted = {name for name, _ in inspect.getmembers(Client) if not name.startswith("_")} - {"aclose"}

    assert wanted - set(dir(BlockingClient)) == set()


def test_the_arguments_are_the_clients():
    """Signatures are those of the asyncio client, for people and type checkers."""
    for name in ("get", "put", "delete_range", "scan", "watch", "txn"):
        assert inspect.signature(getattr(BlockingClient, name)) == inspect.signature(getattr(Client, name))


def test_one_program_without_an_event_loop():
    """Put, get, scan and watch from an ordinary thread."""
    with served() as cluster, holdfast.connect_blocking(cluster.endpoints) as client:
        client.put("a", "1")
        client.increment("n", 2)
        with client.watch(or_snapshot=True) as watch:
            assert [watch.next() for _ in range(4)]
            client.put("b", "2")
            assert next(iter(watch)).value == b"2"
            with pytest.raises(TimeoutError):
                watch.next(timeout_s=0.01)
            assert watch.points
        assert client.get("a", level=Level.SESSION).value == b"1"
        assert [item.key for item in client.scan()] == [b"a", b"b", b"n"]
        client.merge_token(client.token)


def test_many_threads_share_a_client():
    """Calls from several threads are carried out, and packed, by the one loop."""
    with served() as cluster, holdfast.connect_blocking(cluster.endpoints) as client:
        threads = [
            threading.Thread(target=lambda: [client.increment("n") for _ in range(20)]) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert client.get("n").value == b"160"


def test_errors_arrive_as_they_are():
    """A refusal raises in the calling thread."""
    with served() as cluster, holdfast.connect_blocking(cluster.endpoints) as client:
        client.put("k", "v")
        with pytest.raises(RefusedError):
            client.put("k", "v", if_absent=True)


def test_an_interrupted_call_is_cancelled():
    """Ctrl-C while waiting cancels the operation on the loop; nothing of it is left there."""
    with served() as cluster, holdfast.connect_blocking(cluster.endpoints) as client:
        ended = threading.Event()

        class Interrupted(BaseException):
            pass

        async def endless(_):
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                ended.set()

        def interrupt(*_):
            raise Interrupted

        before = signal.signal(signal.SIGALRM, interrupt)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(Interrupted):
                client.run(endless)
        finally:
            signal.signal(signal.SIGALRM, before)
        assert ended.wait(10)


def test_closing_twice_is_fine_and_ends_the_thread():
    """close is idempotent; afterwards calls raise instead of hanging."""
    with served() as cluster:
        client = holdfast.connect_blocking(cluster.endpoints)
        client.close()
        client.close()
        with pytest.raises(RuntimeError):
            client.get("k")
    assert not [thread for thread in threading.enumerate() if thread.name == "holdfast"]


def test_failing_to_connect_leaves_no_thread():
    """The background thread ends when connecting fails."""
    with pytest.raises(RefusedError):
        holdfast.connect_blocking("127.0.0.1:1", timeout_s=0.3)

    assert not [thread for thread in threading.enumerate() if thread.name == "holdfast"]
