"""A leader that is cut off in time: what it says when it wakes up, or while the others sleep."""

from __future__ import annotations

import asyncio
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import holdfast
import pytest
from holdfast.v1 import cache_pb2 as pb
from holdfast.v1 import placement_pb2, types_pb2

from tests.integration.direct import ASK_HERE, TIMEOUT_S, Node, error_of, text_key
from tests.integration.process_cluster import NodeProcess, eventually, running, verified, with_client

PAUSES = 2  # the moment in which it could lie is short: with local reads one pause in three shows it
PAUSE_S = 3.0  # the length of the fault, several election timeouts; no verdict waits on it
KEY = "monotonic"
READERS = 8
ROUNDS = 10
AT_ONCE = 20
# What a replica may say to a linearizable read that it cannot prove.
HONEST = {types_pb2.REASON_NOT_LEADER, types_pb2.REASON_NO_QUORUM, types_pb2.REASON_LAGGING}


class Counting:
    """One writer, one key, growing numbers: `acknowledged` is the least a linearizable read may see."""

    def __init__(self, client: holdfast.Client) -> None:
        self.acknowledged = 0
        self.served = 0  # reads that were answered
        self._client = client
        self._grew = asyncio.Condition()

    async def run(self) -> None:
        number = 0
        while True:
            number += 1
            await self._client.put(KEY, str(number), timeout_s=60)
            self.acknowledged = number
            async with self._grew:
                self._grew.notify_all()

    async def reach(self, number: int) -> None:
        async with asyncio.timeout(30), self._grew:
            await self._grew.wait_for(lambda: self.acknowledged >= number)


def _verdict(read: grpc.Future, least: int, counting: Counting) -> str:
    """What is wrong with the answer to a linearizable read, '' = nothing. least: acknowledged before it."""
    failure = read.exception()
    if failure is not None:
        if failure.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return ""
        reason = error_of(failure).reason
        return "" if reason in HONEST else f"refused with {types_pb2.Reason.Name(reason)}"
    counting.served += 1
    seen = int(read.result().item.value)
    return "" if seen >= least else f"{least} was acknowledged before the read, which saw {seen}"


def _reads(address: str, counting: Counting, *, ask_here: bool) -> list[str]:
    """Rounds of reads through stubs; those of a round are under way together."""
    request = pb.GetRequest(key=text_key(KEY), get=pb.Get(level=types_pb2.LEVEL_LINEARIZABLE))
    metadata = ASK_HERE if ask_here else ()
    found = []
    with Node(address) as node:
        for _ in range(ROUNDS):
            least = counting.acknowledged
            reads = [
                node.cache.Get.future(request, timeout=TIMEOUT_S, metadata=metadata) for _ in range(AT_ONCE)
            ]
            found += [_verdict(read, least, counting) for read in reads]
    return found


async def _pause(leader: NodeProcess, counting: Counting) -> list[str]:
    """Stops the leader; reads wait in its sockets when it wakes, and go on after. What was wrong."""
    before = counting.acknowledged
    leader.signal(signal.SIGSTOP)
    asleep = asyncio.create_task(asyncio.sleep(PAUSE_S))
    try:
        # Somebody else leads and acknowledges: what the sleeper holds is old.
        await counting.reach(before + 10)
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(READERS) as threads:
            reads = [
                loop.run_in_executor(
                    threads, lambda n=n: _reads(leader.address, counting, ask_here=n % 2 == 0)
                )
                for n in range(READERS)
            ]
            await asleep
            leader.signal(signal.SIGCONT)
            return [wrong for found in await asyncio.gather(*reads) for wrong in found if wrong]
    finally:
        asleep.cancel()
        leader.signal(signal.SIGCONT)


def test_a_leader_that_was_stopped_serves_no_stale_read(tmp_path: Path) -> None:
    """A leader that was stopped for 3 s under load answers linearizable reads with what was acknowledged
    meanwhile, or refuses them; also those that lay in its sockets when it woke up.
    """
    with running(tmp_path) as cluster:

        async def act(client: holdfast.Client) -> None:
            counting = Counting(client)
            writing = asyncio.create_task(counting.run())
            try:
                await counting.reach(50)
                for _ in range(PAUSES):
                    leader = await asyncio.to_thread(cluster.leader)
                    wrong = await _pause(leader, counting)
                    assert not wrong, wrong[:5]
                assert counting.served > AT_ONCE, f"only {counting.served} reads were answered"
            finally:
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)
            await asyncio.to_thread(verified, cluster)

        with_client(cluster, act)


def test_a_placement_leader_that_nobody_confirms_tells_nothing(tmp_path: Path) -> None:
    """Others may have been told otherwise since: it refuses, and names nodes as it sees them itself."""
    with running(tmp_path) as cluster:
        eventually(lambda: any(map(_leads_placement, cluster.nodes.values())), "the placement group is led")
        leader = next(filter(_leads_placement, cluster.nodes.values()))
        others = [node for node in cluster.nodes.values() if node is not leader]
        with Node(leader.address) as node:
            node.placement.GetPlanning(placement_pb2.GetPlanningRequest(), timeout=TIMEOUT_S)
            try:
                for other in others:
                    other.signal(signal.SIGSTOP)
                with pytest.raises(grpc.RpcError) as refused:
                    node.placement.GetPlanning(
                        placement_pb2.GetPlanningRequest(), timeout=TIMEOUT_S, metadata=ASK_HERE
                    )
                told = node.placement.ListNodes(placement_pb2.ListNodesRequest(), timeout=TIMEOUT_S)
            finally:
                for other in others:
                    other.signal(signal.SIGCONT)
        assert error_of(refused.value).reason in HONEST
        assert [(each.id, each.incarnation) for each in told.nodes] == [(1, 0), (2, 0), (3, 0)]
        verified(cluster)


def _leads_placement(node: NodeProcess) -> bool:
    return any(replica.role == placement_pb2.ReplicaStatus.ROLE_LEADER for replica in node.placement())
