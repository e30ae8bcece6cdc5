"""holdfast.cli.bench_tally: counts of seconds and processes add up."""

from __future__ import annotations

import json

from holdfast.cli.bench_tally import Tally

from tests.unit.holdfast.cli.benches import BUSY, LOST, tally


def full() -> Tally:
    made = tally(put=[100, 200], get=[50])
    made.failed.update({BUSY: 3, LOST: 1})
    made.served[(2, 4)] += 1
    made.found, made.not_begun = 1, 7
    return made


def test_a_tally_reaches_the_bench_as_it_is() -> None:
    """Through JSON, everything."""
    received = Tally.from_wire(json.loads(json.dumps(full().wire())))

    assert json.dumps(received.wire()) == json.dumps(full().wire())
    assert received.failed == full().failed
    assert (received.served, received.found, received.not_begun) == ({(2, 4): 1}, 1, 7)


def test_counts_add_up() -> None:
    """Two of the same are twice as much, but not twice as long."""
    both = full()
    both.merge(full())

    assert both.seconds == 1.0
    assert {kind: seen.count for kind, seen in both.latencies.items()} == {"put": 4, "get": 2}
    assert both.failed == {BUSY: 6, LOST: 2}
    assert (both.served, both.found, both.not_begun) == ({(2, 4): 2}, 2, 14)
    assert (both.all_latencies().count, both.error_count()) == (6, 8)


def test_reasons_come_by_frequency() -> None:
    """Over all kinds of operations, the most frequent first."""
    made = full()
    made.failed[BUSY._replace(operation="get")] = 5

    assert list(made.by_reason().items()) == [("BUSY", 8), ("DEADLINE", 1)]
