"""The composition root: one node, from its data directory to its ports, and back down in order.

    identity -> WAL -> snapshots -> transport -> driver -> shards -> services -> ports

Everything runs on the calling asyncio loop; the WAL's syncs and snapshot files have a thread each
(asyncio_runner.py). A start that cannot be is a `StartRefusedError` with words for a person; nothing is
left behind by it. On the way down the node first stops taking work and hands its leaderships over, so
that a rolling restart costs the clients milliseconds.

Invariant: no message leaves before the Born record of every replica here is durable, and a data directory
that once had replicas never starts without them (protocols.md 6).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import signal
from collections.abc import Callable, Mapping
from importlib import metadata

import grpc
from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_reflection.v1alpha import reflection
from holdfast.shardmap import Shard as MapEntry
from holdfast_raft.asyncio_runner import AsyncioRunner
from holdfast_raft.clock import SystemClock
from holdfast_raft.disk import Disk
from holdfast_raft.driver import Driver
from holdfast_raft.election import Timing
from holdfast_raft.file_disk import FileDisk
from holdfast_raft.machine import CorruptImage
from holdfast_raft.snapshots import SnapshotDamaged, SnapshotStore
from holdfast_raft.tcp_transport import TcpTransport
from holdfast_raft.wal import Wal, WalOptions
from holdfast_raft.wal_records import WalDamaged

from holdfast_node import allocator, beginning, health, talk
from holdfast_node.cache.state import State
from holdfast_node.config import Config, ConfigError, first_map, peer_address, split_address
from holdfast_node.http import HttpServer, Page, PortInUseError
from holdfast_node.identity import DataDirectory, DirectoryRefusedError, shape_of
from holdfast_node.limits import KIB, MESSAGE_BYTES_MAX, PEER_PORT_ABOVE
from holdfast_node.load_figures import LoadFigures
from holdfast_node.metrics import Metrics, Traffic
from holdfast_node.node_core import NodeCore
from holdfast_node.node_facts import Node
from holdfast_node.rpc import cache_service, convert, joining, placement_service, watch_service
from holdfast_node.rpc.cache_service import CacheService
from holdfast_node.rpc.forward import Forwarder
from holdfast_node.rpc.interceptors import Guard
from holdfast_node.rpc.placement_service import PlacementService
from holdfast_node.rpc.served import Served
from holdfast_node.rpc.watch_service import WatchService
from holdfast_node.shard import Shard
from holdfast_node.watch_hub import WatchBudget

log = logging.getLogger(__name__)

# What a node that closes waits for followers to take over, and for calls under way.
HAND_OVER_S = 1.0
GRACE_S = 0.5
# sysexits EX_IOERR: what a service manager sees when the disk failed.
EXIT_DISK_FAILED = 74

_OPTIONS = (
    # Two processes on one port would each get some of the calls.
    ("grpc.so_reuseport", 0),
    # What a stream may have sent that is not read yet. gRPC would let it grow to MiBs: what waits there can
    # not be refused, so an overloaded node would answer nothing but what is too old (speed-log.md).
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 256 * KIB),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    # A client whose host has gone is noticed, and one that asks whether we live may.
    ("grpc.keepalive_time_ms", 5000),
    ("grpc.keepalive_timeout_ms", 5000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 1000),
)
_STATUSES = (health_pb2.HealthCheckResponse.NOT_SERVING, health_pb2.HealthCheckResponse.SERVING)
_REFUSALS = (
    ConfigError, DirectoryRefusedError, joining.JoinRefusedError, WalDamaged, SnapshotDamaged, CorruptImage,
    PortInUseError, talk.Unreadable,
)  # fmt: skip


class StartRefusedError(Exception):
    """The node cannot start; the message says why and what to do."""


async def run(
    config: Config,
    *,
    disk: Disk | None = None,
    ready: Callable[[], None] | None = None,
    stop: asyncio.Event | None = None,
    fatal: Callable[[BaseException], None] | None = None,
) -> None:
    """Runs one node until SIGTERM, SIGINT or `stop`.

    Args:
        config: checked.
        disk: instead of the data directory's files; tests hand in one that forgets or fails.
        ready: called once the ports are open.
        stop: set it to end the node; then no signal handlers are installed.
        fatal: instead of ending the process when the disk has failed.

    Raises:
        StartRefusedError: it cannot start.
    """
    if not __debug__:
        raise StartRefusedError("python -O removes checks this program relies on: run it without")
    stopping = stop or asyncio.Event()
    signals = () if stop is not None else (signal.SIGTERM, signal.SIGINT)
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        try:
            server = await _started(config, disk, fatal or _end_process, stack)
        except _REFUSALS as problem:
            raise StartRefusedError(str(problem)) from problem
        except OSError as problem:
            raise StartRefusedError(f"the node cannot start: {problem}") from problem
        for number in signals:
            loop.add_signal_handler(number, stopping.set)
            stack.callback(loop.remove_signal_handler, number)
        config = server.config
        log.info("node.ready node=%d address=%s http=%s", config.node, config.address, config.http_address)
        if ready is not None:
            ready()
        await stopping.wait()
        log.info("node.closing node=%d", config.node)
        await server.retire()
    log.info("node.closed node=%d", config.node)


async def _started(
    config: Config,
    disk: Disk | None,
    fatal: Callable[[BaseException], None],
    stack: contextlib.AsyncExitStack,
) -> Server:
    config, joined = await joining.settle(config)
    directory = stack.enter_context(
        DataDirectory.open(
            config.data_dir,
            cluster_id=config.cluster_id,
            node=config.node,
            shape=[] if config.join else shape_of(first_map(config)),
            init=config.init or joined is not None,
            incarnation=joined.incarnation if joined is not None else 0,
        )
    )
    if joined is not None:
        directory.remember(talk.write(joined.news))
    server = Server(config, directory, disk or FileDisk(config.data_dir), fatal, stack)
    await server.open_ports()
    return server


def _end_process(problem: BaseException) -> None:
    """Ends the process where it stands: what it would say now may rest on what is not on disk."""
    log.critical("node.disk_failed: %s", problem)
    logging.shutdown()
    os._exit(EXIT_DISK_FAILED)


def _version() -> str:
    try:
        return metadata.version("holdfast")
    except metadata.PackageNotFoundError:
        return "unknown"


class Server:
    """One node's parts. What it opens it hands to `stack`, which closes it in reverse."""

    def __init__(
        self,
        config: Config,
        directory: DataDirectory,
        disk: Disk,
        fatal: Callable[[BaseException], None],
        stack: contextlib.AsyncExitStack,
    ) -> None:
        """Reads what is on disk and makes the replicas; blocks, and no message leaves."""
        self.config = config
        self._stack = stack
        self._loop = asyncio.get_running_loop()
        self._clock = SystemClock()
        self._traffic = Traffic()
        options = WalOptions(
            segment_bytes=config.wal_segment_bytes, total_bytes_max=config.wal_total_bytes_max
        )
        wal = Wal.open(disk, options)
        stack.callback(wal.close)
        store = SnapshotStore(disk)
        runner = AsyncioRunner(self._loop)
        stack.callback(runner.close)
        self._transport = self._make_transport(directory)
        self._driver = Driver(
            config.node,
            clock=self._clock,
            wal=wal,
            store=store,
            transport=self._transport,
            runner=runner,
            rng=random.Random(os.urandom(16)),
            fatal=fatal,
            timing=Timing(
                config.election_min_ms / 1000, config.election_max_ms / 1000, config.heartbeat_ms / 1000
            ),
        )
        self._driver.on_sync = self._traffic.wal_sync_seconds.add
        self._driver.on_stall = self._traffic.loop_stall_seconds.add
        stack.callback(self._driver.close)
        self._figures = LoadFigures(self._clock.monotonic)
        self._budget = WatchBudget()
        self._core = NodeCore(
            config.node,
            directory.identity.incarnation,
            self._driver,
            self._clock,
            beginning.of_config(config),
            last_news=_last_news(directory),
            make_shard=self._make_shard,
            figures=self._figures,
            remember=lambda news: self._remember(directory, news),
            set_peers=self._set_peers,
        )
        self._set_peers(self._core.book.peers_of(config.node))
        self._make_replicas(directory, wal)
        self._node = Node(config, _version(), self._driver, self._transport, self._core)
        self._metrics = Metrics(self._traffic, self._node)
        self._served = Served(
            cluster_id=config.cluster_id,
            node=config.node,
            routing=self._core.routing,
            traffic=self._traffic,
            now=self._clock.monotonic,
            wall_ms=self._clock.wall_ms,
            address_of=self._core.book.address,
            is_connected=self._driver.is_connected,
        )
        self._forwarder = Forwarder()
        self._cache = CacheService(self._served, self._forwarder)

    def _make_transport(self, directory: DataDirectory) -> TcpTransport:
        config = self.config
        return TcpTransport(
            config.cluster_id,
            config.node,
            directory.identity.incarnation,
            {},
            http=config.http_address,
            version=_version(),
            pid=os.getpid(),
            zone=config.zone,
            admit=directory.admit,
            loop=self._loop,
            clock=self._clock,
        )

    def _set_peers(self, addresses: Mapping[int, str]) -> None:
        self._transport.set_peers({node: peer_address(address) for node, address in addresses.items()})

    def _make_replicas(self, directory: DataDirectory, wal: Wal) -> None:
        """Opens the replicas the WAL knows, or makes those of a first start, and makes that durable."""
        if directory.has_replicas:
            if directory.wal_id != wal.wal_id.hex():
                raise DirectoryRefusedError(
                    f"the WAL in {directory.path} is not the one this node's replicas were made with: it is"
                    " lost or another's; restore it, or reset the node"
                )
            self._core.open()
            return
        self._core.make_first()
        job = wal.begin_sync()
        if job is not None:
            job.run()
            wal.end_sync(job)
        directory.replicas_made(wal.wal_id.hex())

    def _make_shard(self, core: NodeCore, entry: MapEntry, state: State | None) -> Shard:
        space = core.namespaces.get(entry.namespace)
        return Shard(
            entry,
            node=self.config.node,
            policy=core.policy_of(entry.namespace),
            clock=self._clock,
            encode_event=convert.event_encoder(entry.units),
            strict_ttl=space.strict_ttl if space is not None else False,
            watch_budget=self._budget,
            state=state,
            sealing=core.hosting.sealing,
            replicas_of=core.book.replicas_of,
        )

    def _remember(self, directory: DataDirectory, news: talk.MapNews) -> None:
        try:
            directory.remember(talk.write(news))
        except OSError as problem:  # a hint: the next start asks
            log.warning("node.news_not_kept: %s", problem)

    # ---- ports ------------------------------------------------------------------------

    async def open_ports(self) -> None:
        """Opens all ports and begins to speak to the peers."""
        stack = self._stack
        server = grpc.aio.server(
            interceptors=(Guard(self._traffic),),
            options=_OPTIONS,
        )
        server.add_generic_rpc_handlers(
            (
                self._cache.handler(),
                WatchService(self._served).handler(),
                PlacementService(self._served, self._node, self._core, self._forwarder).handler(),
            )
        )
        health_servicer = HealthServicer()
        add_HealthServicer_to_server(health_servicer, server)
        names = (
            cache_service.SERVICE,
            watch_service.SERVICE,
            placement_service.SERVICE,
            health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
            reflection.SERVICE_NAME,
        )
        reflection.enable_server_reflection(names, server)
        try:
            server.add_insecure_port(self.config.address)
        except RuntimeError as problem:
            raise PortInUseError(f"cannot listen on {self.config.address} for gRPC: {problem}") from None
        stack.push_async_callback(self._forwarder.close)
        await server.start()
        stack.push_async_callback(server.stop, GRACE_S)
        await self._open_peer_port()
        await self._open_http()
        self._health = health.HealthReporter(health_servicer, self._node.health, _STATUSES)
        for work in (self._health.run(), allocator.give_back()):
            stack.push_async_callback(_cancelled, self._loop.create_task(work))
        self._transport.start()
        self._core.start()
        self._driver.wake_soon()

    async def _open_peer_port(self) -> None:
        address = peer_address(self.config.address)
        self._stack.push_async_callback(self._transport.close)
        try:
            await self._transport.listen(*split_address("address", address))
        except OSError as problem:
            raise PortInUseError(
                f"cannot listen on {address}, the gRPC port + {PEER_PORT_ABOVE}, for other nodes: {problem}"
            ) from None

    async def _open_http(self) -> None:
        http = HttpServer(
            {
                "/metrics": lambda: Page(200, self._metrics.content_type, self._metrics.exposition()),
                "/healthz": lambda: self._health_page(for_life=True),
                "/readyz": lambda: self._health_page(for_life=False),
            }
        )
        self._stack.push_async_callback(http.close)
        await http.start(*split_address("http_address", self.config.http_address))

    def _health_page(self, *, for_life: bool) -> Page:
        verdict = health.judge(self._node.health())
        return health.page(verdict, verdict.alive if for_life else verdict.ready)

    # ---- the way down -----------------------------------------------------------------

    async def retire(self) -> None:
        """Takes no more work, says goodbye, hands leaderships over and ends the groups."""
        self._served.closing = self._node.closing = True
        await self._health.report()
        self._cache.say_goodbye()
        await self._node.give_up_leaderships(HAND_OVER_S)
        # Whoever waits is told; the answers leave while the server stops.
        self._driver.close()


def _last_news(directory: DataDirectory) -> talk.MapNews | None:
    """What the last run knew of the cluster; a file that cannot be read is no news."""
    data = directory.last_news()
    if data is None:
        return None
    try:
        news = talk.read(data)
    except talk.Unreadable as problem:
        log.warning("node.news_unreadable: %s", problem)
        return None
    return news if isinstance(news, talk.MapNews) else None


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
