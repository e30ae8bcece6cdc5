"""Health: what makes a node alive, ready and its shards SERVING."""

from __future__ import annotations

import asyncio
import json

from holdfast_node.health import HealthReporter, NodeFacts, ReplicaFacts, judge, page, serving

GOOD = NodeFacts((ReplicaFacts(2, True, ""), ReplicaFacts(3, True, "")), 0, False, False)


def test_a_node_whose_replicas_all_have_a_quorum_is_ready() -> None:
    """Alive and ready, nothing to say."""
    assert judge(GOOD) == (True, True, ())


def test_without_a_quorum_a_node_is_alive_but_not_ready() -> None:
    """Losing the majority must not make a supervisor restart the node."""
    verdict = judge(GOOD._replace(replicas=(ReplicaFacts(2, False, ""),)))

    assert (verdict.alive, verdict.ready) == (True, False)
    assert "shard/2" in verdict.problems[0]


def test_a_stopped_replica_makes_the_node_not_alive() -> None:
    """A replica that stopped for good is told with its reason and fails the liveness probe."""
    verdict = judge(GOOD._replace(replicas=(ReplicaFacts(2, True, "entry of kind 9"),)))

    assert not verdict.alive
    assert "entry of kind 9" in verdict.problems[0]


def test_a_full_disk_and_a_closing_node_are_not_ready() -> None:
    """Neither can take writes: a balancer should look elsewhere."""
    assert not judge(GOOD._replace(disk_full=True)).ready
    assert not judge(GOOD._replace(closing=True)).ready


def test_a_clock_far_off_is_told_but_serves() -> None:
    """More than 500 ms off the median is a problem in words, not in readiness."""
    verdict = judge(GOOD._replace(clock_offset_ms=-501))

    assert verdict.ready
    assert "-501 ms" in verdict.problems[0]
    assert not judge(GOOD._replace(clock_offset_ms=500)).problems


def test_a_shard_serves_only_with_a_proven_quorum() -> None:
    """Each shard answers for itself; the node as a whole only when all do."""
    facts = GOOD._replace(replicas=(ReplicaFacts(2, True, ""), ReplicaFacts(3, False, "")))

    assert serving(facts) == {"": False, "shard/2": True, "shard/3": False}
    assert serving(GOOD._replace(closing=True)) == {"": False, "shard/2": False, "shard/3": False}


def test_a_page_is_json_with_the_problems() -> None:
    """Probes get 200 or 503; people get the reasons."""
    bad = page(judge(GOOD._replace(disk_full=True)), False)

    assert (page(judge(GOOD), True).status, bad.status) == (200, 503)
    assert json.loads(bad.body)["problems"]


def test_only_changes_are_reported() -> None:
    """The gRPC servicer is told each name once, and again when it changes."""
    told: list[tuple[str, int]] = []
    facts = [GOOD]

    class Servicer:
        async def set(self, service: str, status: int) -> None:
            told.append((service, status))

    async def main() -> None:
        reporter = HealthReporter(Servicer(), lambda: facts[0], (2, 1))
        await reporter.report()
        await reporter.report()
        facts[0] = GOOD._replace(replicas=(ReplicaFacts(2, True, ""), ReplicaFacts(3, False, "")))
        await reporter.report()

    asyncio.run(main())

    assert told == [("", 1), ("shard/2", 1), ("shard/3", 1), ("", 2), ("shard/3", 2)]


def test_a_shard_that_has_gone_serves_no_more() -> None:
    """Split, merged or moved away: whoever still asks for it is not told that it serves."""
    told: list[tuple[str, int]] = []
    facts = [GOOD]

    class Servicer:
        async def set(self, service: str, status: int) -> None:
            told.append((service, status))

    async def main() -> None:
        reporter = HealthReporter(Servicer(), lambda: facts[0], (2, 1))
        await reporter.report()
        facts[0] = GOOD._replace(replicas=(ReplicaFacts(3, True, ""),))
        await reporter.report()
        await reporter.report()

    asyncio.run(main())

    assert told[3:] == [("shard/2", 2)]
