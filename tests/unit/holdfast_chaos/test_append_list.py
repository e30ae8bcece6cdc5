"""Lists: each rule broken by hand, and good runs beside them."""

from __future__ import annotations

from holdfast_chaos import append_list
from holdfast_chaos.verdict import Verdict

from tests.unit.holdfast_chaos.records import Script, rules


def appended(*elements: str) -> Script:
    script = Script()
    for n, element in enumerate(elements):
        script.op("append", element, at=(10 * n, 10 * n + 5))
    return script


def read(
    script: Script, elements: list[str], at: tuple[float, float], level: str = "LINEARIZABLE", **more: object
) -> Script:
    return script.op("read", at=at, result=elements, level=level, **more)


def broken(script: Script) -> list[str]:
    return rules(append_list.check(script.operations))


def test_a_good_list():
    """Appends in order, read at several lengths; one of unknown outcome may stand there or not."""
    script = appended("a", "b", "c").op("append", "x", at=(1, None)).op("append", "y", at=(1, None))
    read(script, ["a"], at=(6, 7))
    read(script, ["a", "x", "b", "c"], at=(40, 41))

    assert broken(script) == []


def test_a_lost_element():
    """An acknowledged append stands in what is read after it."""
    assert broken(read(appended("a", "b", "c"), ["a", "b"], at=(40, 41))) == ["lost"]
    assert broken(read(appended("a", "b", "c"), ["a", "c"], at=(40, 41))) == ["lost"]
    assert broken(read(appended("a"), [], at=(40, 41))) == ["lost"]


def test_a_loss_shows_by_what_stands_after_it():
    """A read that began earlier shows an append that began after the lost one was acknowledged."""
    script = appended("a").op("append", "b", at=(10, None))

    assert broken(read(script, ["b"], at=(1, 20))) == ["lost"]


def test_an_element_twice():
    """A retry that ran again."""
    assert broken(read(appended("a", "b"), ["a", "b", "a"], at=(40, 41))) == ["duplicated"]


def test_a_forked_list():
    """Two reads that do not continue each other."""
    script = Script().op("append", "a", at=(0, 9)).op("append", "b", at=(0, 9))
    read(script, ["a", "b"], at=(1, 20), level="ANY")
    read(script, ["b", "a"], at=(1, 20), level="ANY")

    assert broken(script) == ["forked"]


def test_elements_nobody_appended():
    """Never asked for; refused; or read before it was asked for."""
    stranger = read(appended("a"), ["a", "z"], at=(40, 41))
    refused = read(appended("a").refused("append", "z", at=(10, 11)), ["a", "z"], at=(40, 41))
    early = read(appended("a"), ["a", "z"], at=(40, 41)).op("append", "z", at=(50, None))

    assert [broken(script) for script in (stranger, refused, early)] == [
        ["never appended"],
        ["refused"],
        ["from the future", "reordered"],
    ]


def test_an_early_element_is_found_in_a_short_read_too():
    """An element that shows before its append began, though longer lists hold it rightly."""
    script = (
        read(appended("a"), ["a", "z"], at=(20, 21))
        .op("append", "z", at=(50, 55))
        .op("append", "y", at=(60, 61))
    )

    assert broken(read(script, ["a", "z", "y"], at=(70, 71))) == ["from the future", "reordered"]


def test_reordered_elements():
    """Of two appends one after the other, the first stands first."""
    assert "reordered" in broken(read(appended("a", "b"), ["b", "a"], at=(40, 41)))


def test_a_stale_read():
    """A LINEARIZABLE read shows what was read or acknowledged before it began; weaker ones need not."""

    def script(level: str, **more: object) -> Script:
        made = read(appended("a", "b"), ["a", "b"], at=(40, 41), session="s")
        return read(made, ["a"], at=(42, 43), level=level, **more)

    assert broken(script("LINEARIZABLE")) == ["stale"]
    assert broken(script("SESSION", session="s")) == ["stale"]
    assert broken(script("SESSION", session="other")) == []
    assert broken(script("ANY")) == []


def test_a_workload_that_repeats_an_element_is_found_out():
    """Else a duplicate would mean nothing."""
    assert "not unique" in broken(appended("a", "a"))


def test_what_nobody_read_is_counted():
    """An append after the last read proves nothing, and the figures say so."""
    told = append_list.check(read(appended("a"), [], at=(0, 1)).operations)

    assert told.verdict is Verdict.VALID
    assert told.figures["never_read"] == 1


class Looked(str):
    """An element that counts how often elements are looked at, and ends what looks too often."""

    __slots__ = ()
    looks = 0
    looks_max = 0

    def __hash__(self) -> int:
        Looked.looked()
        return super().__hash__()

    def __eq__(self, other: object) -> bool:
        Looked.looked()
        return super().__eq__(other)

    @classmethod
    def looked(cls) -> None:
        cls.looks += 1
        assert cls.looks <= cls.looks_max, "judging is not linear in what was read"


def test_long_runs_are_judged_in_linear_time():
    """Twenty thousand operations on one list: an element is looked at about as often as it was told."""
    script = Script()
    elements: list[str] = []
    told = 0
    for n in range(10_000):
        elements.append(Looked(f"e{n}"))
        script.op("append", elements[n], at=(2 * n, 2 * n + 0.5))
        shown = elements[: n + 1] if n % 200 == 0 else []
        told += 1 + len(shown)
        read(script, shown, (2 * n + 1, 2 * n + 1.5), level="ANY")
    operations = script.operations
    Looked.looks, Looked.looks_max = 0, 3 * told

    assert append_list.check(operations).verdict is Verdict.VALID
    assert Looked.looks >= told  # they were counted
