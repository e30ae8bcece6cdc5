"""One timer for everything that must end by its deadline."""

from __future__ import annotations

from holdfast_node.deadlines import Deadlines

from tests.unit.holdfast_node.scripted import Clock, Driver


class Item:
    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.told = 0

    def late(self) -> None:
        self.told += 1


def stage() -> tuple[Clock, Driver, Deadlines[Item]]:
    clock = Clock()
    driver = Driver(clock)
    return clock, driver, Deadlines(clock.monotonic, driver.call_at)


def test_each_item_is_told_at_its_deadline_once() -> None:
    """Items end in the order of their deadlines, whatever the order they came in."""
    clock, driver, deadlines = stage()
    late, early = Item(103.0), Item(101.0)
    deadlines.add(late)
    deadlines.add(early)
    seen = []
    for now in (100.9, 101.0, 102.0, 103.0, 200.0):
        clock.now = now
        driver.run_timers()
        seen.append((early.told, late.told))

    assert seen == [(0, 0), (1, 0), (1, 0), (1, 1), (1, 1)]


def test_an_item_that_ended_is_not_told() -> None:
    """Discarding is the end of it, also when the timer has rung for another."""
    clock, driver, deadlines = stage()
    items = [Item(101.0), Item(101.0)]
    for item in items:
        deadlines.add(item)
    deadlines.discard(items[0])
    deadlines.discard(items[0])
    clock.now = 101.0
    driver.run_timers()

    assert [item.told for item in items] == [0, 1]


def test_an_item_ended_by_the_one_before_it_is_not_told() -> None:
    """`late` of one may discard another that is as late."""
    clock, driver, deadlines = stage()
    second = Item(101.0)

    class First(Item):
        def late(self) -> None:
            deadlines.discard(second)

    deadlines.add(First(101.0))
    deadlines.add(second)
    clock.now = 101.0
    driver.run_timers()

    assert second.told == 0


def test_many_items_of_growing_deadlines_set_one_timer() -> None:
    """The timer stands at the earliest deadline; later ones set none."""
    _, driver, deadlines = stage()
    for i in range(100):
        deadlines.add(Item(105.0 + i))

    assert len(driver.timers) == 1
    assert len(deadlines) == 100


def test_take_all_leaves_nothing() -> None:
    """An owner that ends everything itself gets each item once."""
    clock, driver, deadlines = stage()
    item = Item(101.0)
    deadlines.add(item)
    assert deadlines.take_all() == [item]
    clock.now = 200.0
    driver.run_timers()

    assert item.told == 0
    assert len(deadlines) == 0
