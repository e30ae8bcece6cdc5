"""Where the live entries of each group stand: what decides which segments of the WAL may go.

Invariants:
- A group's spans are in the order of their indexes, without overlap, and together are its live log.
- Segment.spans counts the spans, of all groups, that stand in it.
- A segment without spans may go once everything up to its released_lsn is durable: the records that
  made its entries superfluous (bases, truncations, copies).

Span.bytes is exact while only the end grows; a trimmed span's is estimated by its share of entries,
since it serves thresholds only.
"""

from __future__ import annotations

from holdfast_raft.wal_records import GroupFacts


class Segment:
    """A segment file in use. opened_lsn: last record of its opening, which makes older ones superfluous."""

    __slots__ = ("id", "opened_lsn", "released_lsn", "size", "spans")

    def __init__(self, segment: int, size: int) -> None:
        self.id = segment
        self.size = size
        self.spans = 0
        self.released_lsn = 0
        self.opened_lsn = 0

    def __repr__(self) -> str:
        return f"<Segment {self.id}, {self.spans} spans, released by {self.released_lsn}>"


class Span:
    """Entries first..last of a group, all in one segment."""

    __slots__ = ("bytes", "first", "last", "segment")

    def __init__(self, segment: Segment, index: int) -> None:
        self.segment = segment
        self.first = index
        self.last = index - 1
        self.bytes = 0

    def __repr__(self) -> str:
        return f"<Span {self.first}..{self.last} in {self.segment.id}, {self.bytes} bytes>"

    def narrow(self, first: int, last: int, lsn: int) -> None:
        """Lets go of the entries outside first..last."""
        before, after = self.last - self.first + 1, last - first + 1
        if after < before:
            self.bytes = self.bytes * after // before
            self.first, self.last = first, last
            self.segment.released_lsn = lsn


class GroupLog:
    """A group as the appending side of the WAL sees it."""

    __slots__ = ("facts", "hard_lsn", "spans", "tail")

    def __init__(self, facts: GroupFacts) -> None:
        self.facts = facts
        self.hard_lsn = 0  # LSN of the record of the present hard state
        self.spans: list[Span] = []
        self.tail: Span | None = None  # the last of spans: what the hot path extends

    def open_span(self, segment: Segment, index: int) -> Span:
        """A new span at the end, still empty."""
        span = Span(segment, index)
        segment.spans += 1
        self.spans.append(span)
        self.tail = span
        return span

    def extend(self, segment: Segment, index: int, size: int) -> None:
        """The entry after the last one stands in `segment`."""
        span = self.tail
        if span is None or span.segment is not segment:
            span = self.open_span(segment, index)
        span.last = index
        span.bytes += size

    def drop_to(self, index: int, lsn: int) -> None:
        """Entries up to `index` are superfluous once `lsn` is durable."""
        for span in self.spans:
            span.narrow(max(span.first, min(index + 1, span.last + 1)), span.last, lsn)
        self._forget_empty()

    def drop_from(self, index: int, lsn: int) -> None:
        """Entries from `index` on are superfluous once `lsn` is durable."""
        for span in self.spans:
            span.narrow(span.first, min(span.last, max(index - 1, span.first - 1)), lsn)
        self._forget_empty()

    def bytes_in(self, segment: Segment) -> int:
        return sum(span.bytes for span in self.spans if span.segment is segment)

    def first_span_in(self, segment: Segment) -> Span | None:
        return next((span for span in self.spans if span.segment is segment), None)

    def copied_first(self, span: Span, segment: Segment, size: int, lsn: int) -> None:
        """The first entry of `span` now stands in `segment` too, by the record `lsn`."""
        at = self.spans.index(span)
        index = span.first
        target = self.spans[at - 1] if at else None
        if target is None or target.segment is not segment:
            target = Span(segment, index)
            segment.spans += 1
            self.spans.insert(at, target)
        target.last = index
        target.bytes += size
        span.narrow(index + 1, span.last, lsn)
        self._forget_empty()

    def _forget_empty(self) -> None:
        kept = [span for span in self.spans if span.last >= span.first]
        if len(kept) < len(self.spans):
            for span in self.spans:
                span.segment.spans -= span.last < span.first
            self.spans = kept
        self.tail = kept[-1] if kept else None
