"""Load figures: how busy a node is, and where a shard's load lies."""

from __future__ import annotations

import gc
from collections.abc import Iterable

from holdfast_node.load_figures import LOOK_EVERY, SAMPLES_MIN, LoadFigures
from holdfast_node.shard import SAMPLES

from tests.unit.holdfast_node.scripted import Replica1


class Cpu:
    """What the process has used."""

    def __init__(self) -> None:
        self.seconds = 5.0


def figures(replica: Replica1, cpu: Cpu | None = None) -> LoadFigures:
    spent = cpu or Cpu()
    return LoadFigures(replica.clock.monotonic, lambda: spent.seconds)


def asked(replica: Replica1, keys: Iterable[bytes]) -> Replica1:
    for key in keys:
        replica.shard.operations += 1
        replica.shard.sampled.append(key)
    return replica


def test_busy_is_the_part_of_a_core_since_the_last_look() -> None:
    """Of the second that passed; asked again within it, the same."""
    replica, cpu = Replica1(), Cpu()
    load = figures(replica, cpu)
    assert load.busy_percent() == 0

    replica.clock.now += 2.0
    cpu.seconds += 0.5
    assert load.busy_percent() == 25
    cpu.seconds += 0.5
    assert load.busy_percent() == 25
    replica.clock.now += 1.0
    cpu.seconds += 3.0

    assert load.busy_percent() == 100, "threads beside the loop count, but never above one core"


def test_the_rate_is_what_was_asked_between_two_looks() -> None:
    """The first look has nothing to compare with."""
    replica = Replica1()
    load = figures(replica)
    asked(replica, [b"a"] * 10)
    assert load.shard_load(replica.shard)["operations_per_s"] == 0
    asked(replica, [b"a"] * 50)
    assert load.shard_load(replica.shard)["operations_per_s"] == 0, "no new look within two seconds"

    replica.clock.now += LOOK_EVERY

    assert load.shard_load(replica.shard)["operations_per_s"] == 25


def test_a_cut_by_load_halves_the_samples() -> None:
    """By what is asked for, not by what is stored."""
    replica = asked(Replica1(), [b"k%02d" % (i % 10) for i in range(SAMPLES_MIN)])

    told = figures(replica).shard_load(replica.shard)

    assert (told["middle_by_load"], told["hot_key"]) == (b"k05", b"")


def test_a_key_that_takes_most_of_the_load_is_hot() -> None:
    """No cut spreads it, so there is none by load."""
    replica = asked(Replica1(), [b"hot"] * 60 + [b"a", b"z"] * 20)

    told = figures(replica).shard_load(replica.shard)

    assert (told["middle_by_load"], told["hot_key"]) == (b"", b"hot")


def test_few_samples_say_nothing() -> None:
    """Chance would cut."""
    replica = asked(Replica1(), [b"a", b"b"] * 20)

    told = figures(replica).shard_load(replica.shard)

    assert (told["middle_by_load"], told["hot_key"]) == (b"", b"")


def test_the_first_key_halves_nothing() -> None:
    """A shard that began there would leave an empty one behind."""
    replica = asked(Replica1(), [b"a"] * 50 + [b"b"] * 50)
    assert figures(replica).shard_load(replica.shard)["middle_by_load"] == b"b"
    replica = asked(Replica1(), [b"a"] * 50 + [b"b"] * 25 + [b"c"] * 24)
    asked(replica, [b"a"])

    assert figures(replica).shard_load(replica.shard)["middle_by_load"] == b""


def test_samples_are_bounded_and_figures_end_with_the_replica() -> None:
    """Nothing is kept of shards that were retired."""
    replica = asked(Replica1(), (b"%d" % i for i in range(10 * SAMPLES)))
    load = figures(replica)
    load.shard_load(replica.shard)
    assert len(replica.shard.sampled) == SAMPLES
    assert len(load._seen) == 1

    del replica
    gc.collect()

    assert len(load._seen) == len(load._told) == 0
