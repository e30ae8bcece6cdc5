"""The simulator's event queue, its hooks, and the threads of a simulated process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from holdfast_raft.sim import MachineGone, SimRunner, World


def gone():
    raise MachineGone


def test_events_run_by_time_and_then_in_the_order_of_scheduling():
    """Neither the heap nor equal times mix events up."""
    world, ran = World(1), []
    for name, when in (("c", 1002.0), ("a", 1001.0), ("b", 1001.0), ("past", 3.0)):
        world.at(when, lambda name=name: ran.append(name))

    world.run_for(5)

    assert ran == ["past", "a", "b", "c"]
    assert world.now == 1005


def test_a_cancelled_event_never_runs_and_is_no_step():
    """Also when it is cancelled while its node is paused."""
    world, ran = World(1), []
    cancels = [world.at(1001.0, lambda: ran.append(1)), world.at(1001.0, lambda: ran.append(2), owner=7)]
    world.at(1002.0, lambda: ran.append(3))
    world.pause(7)
    cancels[0]()
    world.run_for(1.5)
    cancels[1]()
    world.resume(7)

    world.run_for(5)

    assert ran == [3]
    assert world.steps == 1


def test_no_event_behind_the_end_runs_when_those_before_it_do_not():
    """What is cancelled or paused does not let a later event through."""
    world, ran = World(1), []
    world.at(1001.0, lambda: ran.append("cancelled"))()
    world.at(1001.0, lambda: ran.append("paused"), owner=7)
    world.at(1004.0, lambda: ran.append("late"))
    world.pause(7)

    world.run_for(2)
    assert not world.run_until(lambda: bool(ran), within=1)

    assert ran == []
    assert world.now <= 1003


def test_what_a_paused_node_missed_runs_in_order_when_it_goes_on():
    """SIGCONT: its old events come before all later ones."""
    world, ran = World(1), []
    world.pause(7)
    for number in range(3):
        world.at(1001.0 + number, lambda number=number: ran.append(number), owner=7)
    world.run_for(2)
    world.at(1002.0, lambda: ran.append("world"))
    world.resume(7)

    world.run_for(5)

    assert ran == [0, 1, "world", 2]


def test_what_a_process_scheduled_dies_with_it():
    """An event of an earlier boot never runs."""
    world, ran = World(1), []
    world.at(1001.0, lambda: ran.append("old"), owner=7)
    world.boot(7)
    world.at(1001.0, lambda: ran.append("new"), owner=7)

    world.run_for(5)

    assert ran == ["new"]


def test_after_is_called_with_the_owner_of_every_executed_event():
    """Also after an event that ended in the middle; what it raises is not caught."""
    world, owners = World(1), []
    world.after = owners.append
    world.at(1001.0, lambda: None)
    world.at(1002.0, gone, owner=7)
    world.at(1003.0, lambda: None, owner=8)()
    world.at(1004.0, lambda: None, owner=9)

    world.run_for(5)
    assert owners == [0, 7, 9]
    assert world.steps == 3

    def judge(owner: int) -> None:
        raise AssertionError(f"after an event of {owner}")

    world.after = judge
    world.at(1006.0, gone, owner=7)
    with pytest.raises(AssertionError, match="of 7"):
        world.run_for(5)


def test_machine_gone_ends_its_event_and_nothing_else():
    """No `except Exception` survives it, and the world goes on."""
    world, ran = World(1), []

    def dies() -> None:
        try:
            gone()
        except Exception:  # noqa: BLE001 - what must not catch it
            ran.append("caught")
        ran.append("went on")

    world.at(1001.0, dies, owner=7)
    world.at(1002.0, lambda: ran.append("next"))

    world.run_for(5)

    assert ran == ["next"]


def test_a_job_whose_machine_goes_is_never_done():
    """A process that died inside a disk call has no loop to tell."""
    world, told = World(1), []
    runner = SimRunner(world, 7)
    runner.on_wal_thread(gone, told.append)
    runner.on_file_thread(gone, told.append)

    world.run_for(5)

    assert world.steps == 2
    assert told == []


def test_a_jobs_error_is_handed_to_done_but_an_assertion_ends_the_run():
    """A fault is the code's to live with; a failed assertion is a proof."""
    world, told = World(1), []
    runner = SimRunner(world, 7)

    def fails() -> None:
        raise OSError("disk")

    def disproves() -> None:
        raise AssertionError("two leaders")

    runner.on_wal_thread(lambda: None, told.append)
    runner.on_wal_thread(fails, told.append)
    world.run_for(5)
    assert [type(error) for error in told] == [type(None), OSError]

    runner.on_wal_thread(disproves, told.append)
    with pytest.raises(AssertionError, match="two leaders"):
        world.run_for(5)


def test_a_part_draws_without_shifting_the_others():
    """Jobs and parts have generators of their own: the schedule's does not move."""
    quiet, busy = World(5), World(5)
    runner = SimRunner(busy, 7)
    runner.on_wal_thread(lambda: None, lambda _: None)
    busy.rng_of("network").random()
    busy.run_for(5)

    assert busy.rng.random() == quiet.rng.random()
    assert busy.rng_of("disk 1").random() == quiet.rng_of("disk 1").random()
    assert busy.rng_of("disk 1").random() != busy.rng_of("disk 2").random()
    assert World(6).rng_of("disk 1").random() != busy.rng_of("disk 1").random()


def test_the_generators_do_not_depend_on_the_hash_seed():
    """The same seed gives the same run in every process."""
    code = "from holdfast_raft.sim import World; print(World(5).rng_of('network').random())"
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(found) == 1
