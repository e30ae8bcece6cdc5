"""The page: whole by itself, honest about the verdict, with what a person needs to see why."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from holdfast_chaos.judging import judgements
from holdfast_chaos.report import page

from tests.unit.holdfast_chaos.records import Script

DEMANDS = {"settings": {"demands": {"operations_min": 1}}, "nemeses": ("kill-one",)}


class Tags(HTMLParser):
    """Every tag, and whether they are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "img", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def faulty() -> Script:
    script = Script().put("a", at=(0, 1), revision=1).put("b", at=(2, 3), revision=2)
    for at, phase in ((4, "begin"), (5, "proof"), (8, "healed")):
        script.note("fault", {"id": 1, "name": "kill-one", "phase": phase, "minority": True}, at=at)
    script.put("b2", at=(5, 6), revision=3)
    for node in (1, 2):
        script.note("digest", {"digest": "d"}, at=8.5, node=node, group=7, applied_index=3)
    return script.note("leader", {"term": 1}, at=1, node=2, group=7)


def drawn(script: Script, **header: Any) -> str:
    record = script.record(**{**DEMANDS, **header})
    return page(record, judgements(record))


def test_a_page_needs_nothing_but_itself():
    """No script, no address but names of namespaces, every tag closed, every drawing well-formed."""
    text = drawn(faulty().get("a", at=(9, 10), revision=1))
    tags = Tags()
    tags.feed(text)

    assert not tags.open
    assert {tag for tag, _ in tags.seen}.isdisjoint({"script", "link", "img", "iframe"})
    assert "http" not in text
    for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ET.fromstring(svg)


def test_a_violation_is_drawn_operation_by_operation():
    """With the story in words below it, as its checker made it small."""
    text = drawn(faulty().get("a", at=(9, 10), revision=1))

    assert 'class="verdict invalid"' in text
    assert "linearizability, linearizable" in text
    assert "put b2 → ok @3" in text
    assert "get → a @1" in text
    assert "get k LINEARIZABLE -&gt; ok a @1" in text


def test_a_valid_page_shows_faults_leaders_and_costs():
    """And no findings."""
    text = drawn(faulty().get("b2", at=(9, 10), revision=3))

    assert "Findings" not in text
    assert "kill-one, 0.00 to 0.01 s, 1 proofs" in text
    assert "node 2 led group 7 in term 1" in text
    assert "What each fault cost" in text


def test_the_command_stands_on_the_page():
    """As it was typed, whatever it holds."""
    assert "run --x &lt;1&gt;" in drawn(faulty(), command="run --x <1>")


@pytest.mark.parametrize("value", ["<script>alert(1)</script>", '"><img src=x>', "]]>&amp;"])
def test_what_clients_wrote_cannot_change_the_page(value):
    """Values are text."""
    script = faulty().put(value, at=(11, 12), revision=4).get("b", at=(13, 14), revision=2)
    tags = Tags()
    tags.feed(drawn(script))

    assert {tag for tag, _ in tags.seen}.isdisjoint({"script", "img"})


def test_answers_are_counted_by_what_they_said():
    """A reason that nobody expected is seen at once."""
    text = drawn(faulty().refused("put", "z", at=(20, 21), error="KeyError"))

    assert "<td>put</td><td>fail</td><td>KeyError</td>" in text


def test_an_empty_record_has_a_page():
    """Void, and it says so."""
    assert 'class="verdict void"' in drawn(Script())
