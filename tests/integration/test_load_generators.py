"""The benches' own generators against a real cluster: nothing asked is lost or counted twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.bench.churn_curve import churn
from tests.bench.closed_loop import Tally
from tests.bench.gateway import Gateway
from tests.bench.load import Load
from tests.integration.process_cluster import ProcessCluster, running


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    with running(tmp_path_factory.mktemp("generators")) as found:
        yield found


def test_a_gateway_has_an_answer_for_every_request(cluster: ProcessCluster) -> None:
    """Puts, linearizable gets, session gets over all replicas; a second round begins with nothing owed."""
    load = Load("gateway", cluster.endpoints, keys=50, reads=0.5)

    async def asked() -> list[Tally]:
        gateway = Gateway(load)
        async with asyncio.TaskGroup() as tasks:
            working = await gateway.begin(tasks)
            tallies = [await gateway.ask(1_000.0, 0.5) for _ in range(2)]
            for task in working:
                task.cancel()
        await gateway.close()
        return tallies

    for tally in asyncio.run(asked()):
        assert (len(tally.samples), dict(tally.reasons), tally.dropped) == (500, {}, 0)
        assert min(tally.samples) > 0


def test_churn_counts_what_it_did_and_ends(cluster: ProcessCluster) -> None:
    """Whatever is refused meanwhile."""
    assert asyncio.run(churn(cluster.endpoints, 1.0, 1)) > 0
