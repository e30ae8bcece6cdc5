"""Labels of a node: what the placement group has acknowledged stands, and whoever asks is told so.

One operator sets labels and reads them, one call after the other, so that a label may be what was
acknowledged or found last, or something of unknown outcome that was not found yet: that may come about at
any later time, once, and undo what was acknowledged since.

Rule:
- *lost label*: a label holds neither;
and what leaves a question open (UNKNOWN): nobody could be asked in the end (*not told*).

In the record: notes `label` `{"name": name, "value": text, "told": "ok" | "info"}` after each change, and
`labels` `{"found": {name: value}}` for each read that was answered from what the placement group keeps;
`{"found": null}`: nobody answered the last one. Several labels take turns, so that one that was lost is not
written over at once.
Source: contract.md, Placement; etcd's lists of members, linearizable since 3.5.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from holdfast_chaos.record import Event, Type
from holdfast_chaos.verdict import Finding, Judgement, judge

SET: Final = "label"
FOUND: Final = "labels"
NOTES: Final = (SET, FOUND)


def check(notes: Iterable[Event]) -> Judgement:
    """Judges what an operator was told."""
    stands: dict[str, str] = {}
    open_ones: dict[str, set[str]] = {}
    broken: dict[str, Finding] = {}
    unasked: list[Finding] = []
    acknowledged = reads = 0
    for note in notes:
        if note.f == SET:
            name, value, told = note.value["name"], note.value["value"], note.value["told"]
            if told == Type.OK:
                acknowledged += 1
                stands[name] = value
            else:
                open_ones.setdefault(name, set()).add(value)
        elif note.f == FOUND:
            reads += 1
            if note.value["found"] is None:
                unasked.append(Finding("not told", "nobody answered the last read"))
                continue
            for name in sorted({*stands, *open_ones}):
                found = note.value["found"].get(name)
                wanted = stands.get(name)
                if found in open_ones.get(name, ()):
                    open_ones[name].remove(found)
                    stands[name] = found
                elif found != wanted:
                    said = f"{name} is {found!r} at {note.time_ns / 1e9:.3f} s, {wanted!r} was acknowledged"
                    broken.setdefault(name, Finding("lost label", said))
    figures = {"acknowledged": acknowledged, "reads": reads}
    return judge("labels", broken=list(broken.values()), open_questions=unasked, figures=figures)
