"""The course of a run: whether it came to its end, and whether the cluster came back from every fault.

Rules:
- *stuck*: a node that was healed did not become ready in time, or ended by itself: the cluster's failure;
- *unwell*: long after all was healed `holdfast cluster check` still complains, a plan has not ended, or a
  node holds what the map does not name;
- *lost plan*: a split, merge or move that was acknowledged is not known any more;
- *served damage*: a node whose disk was damaged served from it, instead of refusing or repairing;
and what makes a run mean nothing (VOID): a nemesis that broke (*nemesis*), a run that was cut off before its
final reads (*cut off*).

In the record: notes `fault` of phase `error`, `{"kind": "stuck" | "served" | "lost" | "nemesis", "text":
text}`, `unwell` and `broken-off` `{"text": text}`, and one `end` after the final reads, when the header's
settings say so.
"""

from __future__ import annotations

from collections.abc import Iterable

from holdfast_chaos.record import Event
from holdfast_chaos.verdict import Finding, Judgement, judge

_BROKEN = {"stuck": "stuck", "served": "served damage", "lost": "lost plan"}


def check(notes: Iterable[Event], *, has_end: bool) -> Judgement:
    """Judges the run. has_end: it was to note its end."""
    broken: list[Finding] = []
    missing: list[Finding] = []
    ended = not has_end
    faults = 0
    unwell: list[Finding] = []
    for note in notes:
        ended = ended or note.f == "end"
        if note.f == "unwell":
            unwell.append(Finding("unwell", note.value["text"]))
        if note.f == "broken-off":
            missing.append(Finding("cut off", note.value["text"]))
        if note.f != "fault":
            continue
        faults += note.value["phase"] == "begin"
        if note.value["phase"] == "error":
            kind, text = note.value.get("kind"), f"{note.value['name']}: {note.value['text']}"
            if kind in _BROKEN:
                broken.append(Finding(_BROKEN[kind], text))
            else:
                missing.append(Finding("nemesis", text))
    # What a nemesis that broke has left behind is its own doing.
    (missing or broken).extend(unwell)
    if not ended:
        missing.append(Finding("cut off", "the run ended before its final reads"))
    return judge("course", broken=broken, missing=missing, figures={"faults": faults})
