"""Replicas: the same entries, the same state, one leader a term, and all of them there in the end.

Rules:
- *digest*: replicas that have applied the same index of a group have the same state;
- *entry*: below the commit index, an index of a group's log is the same entry on every node;
- *leader*: a term of a group has one leader;
- *durable*: who has led a term of a group has it, or a later one, on its disk;
- *elected*: who leads a term was elected by a majority of disks that hold the term, or a later one;
- *committed*: what is committed is on the disks of a majority;
- *behind*: after healing every replica of a group reaches the same index.

In the record, notes of the harness: `digest` `{"digest": text}` with node, group and applied_index, and
`final: true` once the cluster is healed, `placement: true` of the placement group; `entry`
`{"index", "term", "crc"}` and `durable` `{"term": t}` from a node's WAL, of groups that it holds in the end;
`leader` `{"term": t}` with node and group; `frozen` `{"number": n, "groups": {group: {"members": [node],
"term": t, "commit": index}}}`: all stood still at one moment, and what had been said until then; `disks`
`{"number": n, "disks": {node: {group: {"term", "last", "terms": [[index, term]], "born": [term, index],
"base", "retired"}}}}`: what their disks held then, in the words of `cluster/wal_dump.py`.
Source: design testing.md, CHECKERS 8.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from holdfast_chaos.record import Event
from holdfast_chaos.verdict import Finding, Judgement, judge

NOTES: Final = ("digest", "entry", "leader", "durable", "frozen", "disks")
"""Those that tell of replicas."""


def check(notes: Iterable[Event]) -> Judgement:
    """Judges what was noted of replicas. Nothing noted of states is VOID: nothing was compared."""
    every = [note for note in notes if note.f in NOTES]
    # It stands still, so that its replicas nearly always agree: by itself it makes no comparison.
    placement = {note.group or 0 for note in every if note.value.get("placement")}
    broken: list[Finding] = []
    compared = 0
    for rule, names in (("digest", _digests(every)), ("entry", _entries(every)), ("leader", _leaders(every))):
        first: dict[tuple[int, ...], tuple[Any, int]] = {}
        told: set[tuple[int, ...]] = set()
        for name, said, node in names:
            known, by = first.setdefault(name, (said, node))
            compared += by != node and name[0] not in placement
            if known != said and name not in told:
                told.add(name)
                message = f"{_where(rule, name)}: {known} on node {by}, {said} on node {node}"
                yielded = Finding(rule, message)
                broken.append(yielded)
    broken += _behind(every)
    broken += _forgotten(every)
    disks = {note.value["number"]: note.value["disks"] for note in every if note.f == "disks"}
    for note in every:
        if note.f == "frozen" and note.value["number"] in disks:
            broken += _unsound(note.value["groups"], disks[note.value["number"]])
    missing = [] if compared else [Finding("nothing compared", "no two nodes told of one index")]
    return judge("replicas", broken=broken, missing=missing, figures={"compared": compared})


_Named = Iterator[tuple[tuple[int, ...], Any, int]]
"""(what all nodes must say the same of, what this one says, the node)."""


def _digests(notes: Iterable[Event]) -> _Named:
    for note in notes:
        if note.f == "digest":
            yield (note.group or 0, note.applied_index or 0), note.value["digest"], note.node or 0


def _entries(notes: Iterable[Event]) -> _Named:
    for note in notes:
        if note.f == "entry":
            said = (note.value["term"], note.value["crc"])
            yield (note.group or 0, note.value["index"]), said, note.node or 0


def _leaders(notes: Iterable[Event]) -> _Named:
    for note in notes:
        if note.f == "leader":
            yield (note.group or 0, note.value["term"]), note.node or 0, note.node or 0


def _where(rule: str, name: tuple[int, ...]) -> str:
    group, at = name
    return f"group {group}, {'term' if rule == 'leader' else 'index'} {at}"


def _behind(notes: Iterable[Event]) -> Iterator[Finding]:
    final: dict[int, dict[int, int]] = {}
    for note in notes:
        if note.f == "digest" and note.value.get("final"):
            final.setdefault(note.group or 0, {})[note.node or 0] = note.applied_index or 0
    for group, indexes in sorted(final.items()):
        if len(set(indexes.values())) > 1:
            shown = ", ".join(f"node {node} at {index}" for node, index in sorted(indexes.items()))
            yield Finding("behind", f"group {group} after healing: {shown}")


def _forgotten(notes: Iterable[Event]) -> Iterator[Finding]:
    led: dict[tuple[int, int], int] = {}
    durable: dict[tuple[int, int], int] = {}
    for note in notes:
        if note.f in ("leader", "durable"):
            name, known = (note.group or 0, note.node or 0), led if note.f == "leader" else durable
            known[name] = max(known.get(name, 0), note.value["term"])
    for (group, node), term in sorted(durable.items()):
        if term < led.get((group, node), 0):
            message = (
                f"group {group}: node {node} led term {led[group, node]} and has term {term} on its disk"
            )
            yield Finding("durable", message)


def _unsound(groups: Mapping[str, Any], disks: Mapping[str, Any]) -> Iterator[Finding]:
    """What was said of a group before all stood still and is not on the disks of a majority.

    Of a replica's birth nothing is asked: its first term has no votes, and what it begins with was committed
    in the group that it goes on from.
    """
    for group, said in groups.items():
        logs = {node: on_disk[group] for node, on_disk in disks.items() if group in on_disk}
        own = [logs[str(node)] for node in said["members"] if str(node) in logs]
        if any(log["retired"] for log in own):
            continue
        term, commit = said["term"], said["commit"]
        begun = max((log["born"][0] for log in own), default=0)
        begun_at = max((max(log["born"][1], log["base"]) for log in own), default=0)
        if term > begun and len(said["members"]) > 1:  # one alone asks nobody
            electing = sum(log["term"] >= term for log in own)
        else:
            electing = len(said["members"])
        if commit > begun_at:
            entries = Counter(_term_at(log, commit) for log in own if log["last"] >= commit)
            holding = entries.pop(None, 0) + max(entries.values(), default=0)
        else:
            holding = len(said["members"])
        for rule, told, count in (
            ("elected", f"term {term}", electing),
            ("committed", f"index {commit}", holding),
        ):
            if 2 * count <= len(said["members"]):
                shown = "; ".join(f"node {node}: {log}" for node, log in sorted(logs.items()))
                yield Finding(rule, f"group {group}: {told} was told of, and on disk is {shown}")


def _term_at(log: Mapping[str, Any], index: int) -> int | None:
    """The term of a log's entry; None: a snapshot stands for it, or it is told no more."""
    terms = [term for first, term in log["terms"] if first <= index]
    return terms[-1] if terms and index > log["base"] else None
