"""The composition root: ports, health, refusals to start, and what a restart keeps."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import shutil
import socket
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub
from holdfast.v1 import cache_pb2 as pb
from holdfast.v1.cache_pb2_grpc import CacheStub
from holdfast_node.config import Config
from holdfast_node.metrics import METRICS
from holdfast_node.server import StartRefusedError, run
from holdfast_raft.file_disk import FileDisk, RealFile
from prometheus_client.parser import text_string_to_metric_families

from tests.one_node import config_of, led, one_node


async def fetch(config: Config, path: str) -> tuple[int, str]:
    host, port = config.http_address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return int(head.split(" ")[1]), body


async def when_ready(config: Config) -> dict[str, Any]:
    """The readiness page once it says so."""
    while True:
        status, body = await fetch(config, "/readyz")
        if status == 200:
            found: dict[str, Any] = json.loads(body)
            return found


def refusal(config: Config) -> str:
    with pytest.raises(StartRefusedError) as caught:
        asyncio.run(run(config, stop=asyncio.Event()))
    return str(caught.value)


def test_pages_tell_health_and_every_metric(tmp_path: Path) -> None:
    """/healthz and /readyz answer, and /metrics has every listed name but those without a sample yet."""

    async def main() -> None:
        config = config_of(tmp_path)
        async with one_node(config) as channel:
            await led(channel, "k")
            ready = await when_ready(config)
            alive, _ = await fetch(config, "/healthz")
            status, page = await fetch(config, "/metrics")

            names = {family.name for family in text_string_to_metric_families(page)}
            assert ready["ready"]
            assert (alive, status) == (200, 200)
            assert names == {described.name for described in METRICS}

    asyncio.run(main())


def test_what_stops_the_loop_shows_in_the_metrics(tmp_path: Path) -> None:
    """A call that blocks the loop for longer than a heartbeat is told as a stall; syncs are told, too."""

    async def main() -> None:
        config = config_of(tmp_path)
        async with one_node(config) as channel:
            await led(channel, "k")

            async def sample(name: str) -> float:
                _, page = await fetch(config, "/metrics")
                families = text_string_to_metric_families(page)
                return next(s.value for family in families for s in family.samples if s.name == name)

            assert await sample("holdfast_wal_sync_seconds_count") > 0
            before = await sample("holdfast_loop_stall_seconds_count")
            hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000)  # half a second of work in the loop's thread
            await led(channel, "k")  # by a turn that comes after it
            assert await sample("holdfast_loop_stall_seconds_count") > before

    asyncio.run(main())


def test_the_health_service_answers_per_shard(tmp_path: Path) -> None:
    """A shard that is led is SERVING under its name; an unknown name is NOT_FOUND."""

    async def main() -> None:
        config = config_of(tmp_path)
        async with one_node(config) as channel:
            stub: Any = HealthStub(channel)
            watch = stub.Watch(health_pb2.HealthCheckRequest(service="shard/2"))
            async for response in watch:
                if response.status == health_pb2.HealthCheckResponse.SERVING:
                    break
            watch.cancel()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Check(health_pb2.HealthCheckRequest(service="shard/99"))

            assert caught.value.code() is grpc.StatusCode.NOT_FOUND

    asyncio.run(main())


def test_reflection_lists_the_public_services(tmp_path: Path) -> None:
    """A client without stubs finds Cache, Watch, Placement and Health, and can describe a message."""

    async def main() -> None:
        async with one_node(config_of(tmp_path)) as channel:
            stub: Any = ServerReflectionStub(channel)
            call = stub.ServerReflectionInfo()
            await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
            listed = {s.name for s in (await call.read()).list_services_response.service}
            await call.write(
                reflection_pb2.ServerReflectionRequest(file_containing_symbol="holdfast.v1.Cache")
            )
            described = (await call.read()).file_descriptor_response.file_descriptor_proto
            await call.done_writing()

            assert listed >= {
                "holdfast.v1.Cache", "holdfast.v1.Watch", "holdfast.v1.Placement", "grpc.health.v1.Health",
            }  # fmt: skip
            assert described

    asyncio.run(main())


def test_a_restart_keeps_what_was_written(tmp_path: Path) -> None:
    """The second process of a data directory serves what the first acknowledged."""

    async def main() -> bytes:
        async with one_node(config_of(tmp_path)) as channel:
            await led(channel, "k")
        async with one_node(config_of(tmp_path, init=False)) as channel:
            await led(channel, "other")
            stub: Any = CacheStub(channel)
            response = await stub.Get(pb.GetRequest(key=pb.Key(key_text="k")))
            return bytes(response.item.value)

    assert asyncio.run(main()) == b"k"


def test_a_directory_without_a_node_is_refused(tmp_path: Path) -> None:
    """Without init nothing is made, and the message says what to do."""
    assert "--init" in refusal(config_of(tmp_path, init=False))


def test_a_lost_wal_is_refused(tmp_path: Path) -> None:
    """A node that had replicas never starts as an empty one under its old name."""

    async def main() -> None:
        async with one_node(config_of(tmp_path)):
            pass

    asyncio.run(main())
    shutil.rmtree(tmp_path / "wal")

    assert "WAL" in refusal(config_of(tmp_path))


@pytest.mark.parametrize("which", ["address", "http_address"])
def test_a_port_in_use_is_named(tmp_path: Path, which: str) -> None:
    """The refusal names the address, and the data directory is free again."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        message = refusal(config_of(tmp_path, **{which: address}))

    assert address in message
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert address in refusal(config_of(tmp_path, **{which: address}))


class FailingFile:
    """A file whose syncs fail once told to."""

    def __init__(self, file: RealFile, disk: FailingDisk) -> None:
        self._file = file
        self._disk = disk

    def sync(self) -> None:
        if self._disk.fails:
            raise OSError(5, "Input/output error")
        self._file.sync()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class FailingDisk(FileDisk):
    """A real directory whose syncs fail once told to."""

    fails = False

    def create(self, path: str, size: int) -> Any:
        return FailingFile(super().create(path, size), self)

    def open(self, path: str) -> Any:
        return FailingFile(super().open(path), self)


def test_a_failed_sync_ends_the_node_without_another_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The write in flight is not acknowledged, and the process is told to end."""

    async def main() -> tuple[str, bool]:
        config = config_of(tmp_path)
        disk = FailingDisk(tmp_path)
        failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        ready, stop = asyncio.Event(), asyncio.Event()
        node = asyncio.create_task(
            run(config, disk=disk, ready=ready.set, stop=stop, fatal=lambda e: failed.set_result(str(e)))
        )
        await ready.wait()
        async with grpc.aio.insecure_channel(config.address) as channel:
            await led(channel, "k")
            disk.fails = True
            stub: Any = CacheStub(channel)
            write = asyncio.ensure_future(
                stub.Put(pb.PutRequest(key=pb.Key(key_text="x"), value_text="x"), timeout=30)
            )
            why = await failed
            acknowledged = write.done() and write.exception() is None
            write.cancel()
            await asyncio.gather(write, return_exceptions=True)
            stop.set()
            await node
        return why, acknowledged

    with caplog.at_level(logging.CRITICAL):
        why, acknowledged = asyncio.run(main())

    assert "Input/output error" in why
    assert not acknowledged
