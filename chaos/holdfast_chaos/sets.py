"""Sets that only grow: what was acknowledged stays, and nothing is in them that nobody put there.

Rules:
- *lost*: an element that was acknowledged is in every LINEARIZABLE read that begins afterwards;
- *gone*: and so is one that such a read has shown;
- *never added*, *refused*, *from the future*: an element was asked for, not refused, and begun by then;
- *twice*: no element is in a read twice (a retry that ran again).

In the record: `add` of an element, `read` of the list of all.
Source: design testing.md, CHECKERS 3; Jepsen's set-full.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from holdfast_chaos.operation import Operation, text_of
from holdfast_chaos.record import Type
from holdfast_chaos.verdict import Finding, Judgement, judge


def check(operations: Iterable[Operation]) -> Judgement:
    """Judges every set."""
    sets: dict[str, list[Operation]] = {}
    for operation in operations:
        if operation.f in ("add", "read"):
            sets.setdefault(operation.key or "", []).append(operation)
    broken: list[Finding] = []
    reads = missing = 0
    for key, own in sets.items():
        done = [o for o in own if o.f == "read" and o.is_ok]
        reads += len(done)
        last = max((o.start_ns for o in done if o.level == "LINEARIZABLE"), default=-1)
        missing += sum(o.f == "add" and o.is_ok and o.end_ns >= last for o in own)
        broken += _strangers(key, own, done)
        broken += _losses(key, own, done)
    # What no read could have missed proves nothing.
    unread = [Finding("no final read", f"{missing} acknowledged elements were never looked for")] * (
        missing > 0
    )
    figures = {"sets": len(sets), "reads": reads}
    return judge("set", broken=broken, missing=unread, figures=figures)


def _strangers(key: str, own: list[Operation], reads: list[Operation]) -> Iterator[Finding]:
    adds: dict[Any, list[Operation]] = {}
    for operation in own:
        if operation.f == "add":
            adds.setdefault(operation.argument, []).append(operation)
    fine: set[Any] = set()  # seen, and rightly so: then it is right in every later read
    told: set[tuple[str, Any]] = set()
    for read in sorted(reads, key=lambda read: read.end_ns):
        fresh = set(read.result) - fine
        odd = [(element, *_origin(read, adds.get(element, []))) for element in sorted(fresh, key=str)]
        if len(read.result) != len(set(read.result)):
            counts = Counter(read.result).items()
            odd += [
                (element, "twice", f"it is there {times} times") for element, times in counts if times > 1
            ]
        fine |= fresh - {element for element, rule, _ in odd if rule not in ("", "twice")}
        for element, rule, why in odd:
            if rule and (rule, element) not in told:
                told.add((rule, element))
                story = tuple(text_of(operation) for operation in (*adds.get(element, [])[:3], read))
                yield Finding(rule, f"{element!r} was read, and {why}", key, story)


def _origin(read: Operation, adds: list[Operation]) -> tuple[str, str]:
    """The rule that an element of a read breaks, and why; empty: none."""
    begun = [add for add in adds if add.outcome is not Type.FAIL]
    if not adds:
        return "never added", "nobody added it"
    if not begun:
        return "refused", "its add was refused"
    if all(add.start_ns > read.end_ns for add in begun):
        return "from the future", "its add had not begun"
    return "", ""


def _losses(key: str, own: list[Operation], reads: list[Operation]) -> Iterator[Finding]:
    """One sweep: what must be there grows with what is acknowledged and read."""
    strong = [read for read in reads if read.level == "LINEARIZABLE"]
    acts = [(o.start_ns, 0, i) for i, o in enumerate(strong)]
    sources = [o for o in own if (o.f == "add" and o.is_ok)] + strong
    acts += [(o.end_ns, 1, i) for i, o in enumerate(sources)]
    known: dict[Any, Operation] = {}
    for _, is_end, i in sorted(acts):
        if is_end:
            source = sources[i]
            shown = (source.argument,) if source.f == "add" else set(source.result).difference(known)
            for element in shown:
                known.setdefault(element, source)
            continue
        gone = known.keys() - set(strong[i].result)
        for element in sorted(gone, key=str):
            source = known.pop(element)  # told once
            rule = "lost" if source.f == "add" else "gone"
            story = (text_of(source), text_of(strong[i]))
            yield Finding(rule, f"{element!r} is not there any more", key, story)
