"""What replicas say of the same thing."""

from __future__ import annotations

from typing import Any

from holdfast_chaos import replicas
from holdfast_chaos.verdict import Verdict

from tests.unit.holdfast_chaos.records import Script, rules


def digest(script: Script, node: int, index: int, text: str, **more: Any) -> Script:
    return script.note("digest", {"digest": text, **more}, at=1, node=node, group=1, applied_index=index)


def test_replicas_at_one_index_have_one_state():
    """Digests are compared at equal group and index; others say nothing."""
    same = digest(digest(digest(Script(), 1, 5, "x"), 2, 5, "x"), 3, 6, "y")
    differing = digest(digest(Script(), 1, 5, "x"), 2, 5, "y")

    assert replicas.check(same.notes).verdict is Verdict.VALID
    assert rules(replicas.check(differing.notes)) == ["digest"]


def test_a_term_has_one_leader():
    """In each group."""
    script = digest(digest(Script(), 1, 5, "x"), 2, 5, "x")
    script.note("leader", {"term": 3}, at=1, node=1, group=1).note(
        "leader", {"term": 3}, at=2, node=1, group=1
    )
    assert rules(replicas.check(script.notes)) == []
    script.note("leader", {"term": 3}, at=3, node=2, group=2)
    assert rules(replicas.check(script.notes)) == []
    script.note("leader", {"term": 3}, at=4, node=2, group=1)
    assert rules(replicas.check(script.notes)) == ["leader"]


def test_an_index_is_one_entry():
    """Below the commit index logs are equal: term and contents."""
    script = Script()
    for node, crc in ((1, 7), (2, 7), (3, 8)):
        script.note("entry", {"index": 4, "term": 1, "crc": crc}, at=1, node=node, group=1)

    assert rules(replicas.check(script.notes)) == ["entry"]


def test_who_led_a_term_has_it_on_its_disk():
    """Or a later one; of a group that a node no longer holds nothing is known."""
    script = digest(digest(Script(), 1, 5, "x"), 2, 5, "x")
    script.note("leader", {"term": 3}, at=1, node=1, group=1).note(
        "leader", {"term": 4}, at=2, node=2, group=1
    )
    script.note("leader", {"term": 9}, at=3, node=2, group=7)
    script.note("durable", {"term": 5}, at=4, node=2, group=1)
    assert rules(replicas.check(script.notes)) == []
    script.note("durable", {"term": 2}, at=5, node=1, group=1)

    assert rules(replicas.check(script.notes)) == ["durable"]


FIRST: dict[str, Any] = {
    "term": 3,
    "last": 9,
    "terms": [[5, 1], [8, 3]],
    "born": [1, 4],
    "base": 4,
    "retired": False,
}


def frozen(*logs: dict[str, Any], term: int = 3, commit: int = 9, members: int = 3) -> list[str]:
    """The broken rules when nodes 1, 2, 3 held what differs so from FIRST."""
    script = digest(digest(Script(), 1, 5, "x"), 2, 5, "x")
    said = {"7": {"members": [*range(1, members + 1)], "term": term, "commit": commit}}
    script.note("frozen", {"number": 0, "groups": said}, at=1)
    script.note("frozen", {"number": 1, "groups": {"7": {**said["7"], "commit": 99}}}, at=1)  # not read
    held = {str(node): {"7": FIRST | log} for node, log in enumerate(logs, 1)}
    script.note("disks", {"number": 0, "disks": held}, at=2)
    return rules(replicas.check(script.notes))


def test_who_leads_was_elected_by_disks():
    """A vote that is not on its voter's disk may be given once more."""
    assert frozen({}, {}, {"term": 2}) == frozen({}, {"term": 4}, {"term": 2}) == []
    assert frozen({}, {"term": 2}, {"term": 2}) == ["elected"]
    assert frozen({}) == ["elected", "committed"]


def test_what_is_committed_is_on_the_disks_of_a_majority():
    """Whichever node knows of it."""
    assert frozen({"last": 8}, {}, {"last": 12}) == []
    assert frozen({}, {"last": 8}, {"last": 0}) == ["committed"]
    assert frozen({}, {}, members=4) == ["elected", "committed"]  # half of them


def test_an_entry_of_another_term_is_not_the_one_that_was_committed():
    """A tail that is to be replaced; what a snapshot stands for, and what is told no more, counts."""
    old = {"terms": [[5, 1]], "last": 12}
    assert (
        frozen({}, {}, old)
        == frozen({}, old, {"base": 9, "terms": []})
        == frozen({}, old, {"terms": []})
        == []
    )
    assert frozen({}, old, {"last": 8}) == frozen({}, old, {"terms": [[5, 2]]}) == ["committed"]
    assert frozen({}, old, {"last": 8}, commit=7) == []  # before the two part


def test_of_a_replicas_birth_and_end_no_disk_is_asked():
    """What it begins with, and in which term, was settled before; what has gone holds nothing."""
    unborn = {"term": 0, "last": 0, "born": [0, 0], "base": 0}
    assert frozen({"term": 1, "last": 4}, unborn, unborn, term=1, commit=4) == []
    assert frozen({"term": 1, "last": 5}, unborn, unborn, term=1, commit=5) == ["committed"]
    assert frozen({}, {"retired": True, "term": 0, "last": 0}, {"retired": True, "term": 0, "last": 0}) == []


def test_everybody_arrives():
    """After healing no replica stays behind."""
    script = digest(digest(Script(), 1, 5, "x", final=True), 2, 5, "x", final=True)
    assert rules(replicas.check(script.notes)) == []
    digest(script, 3, 4, "w", final=True)

    assert rules(replicas.check(script.notes)) == ["behind"]


def test_nothing_compared_is_no_pass():
    """One node alone agrees with itself."""
    assert replicas.check(digest(Script(), 1, 5, "x").notes).verdict is Verdict.VOID
