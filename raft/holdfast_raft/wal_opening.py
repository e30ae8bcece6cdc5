"""What a WAL takes over at open: the groups it hands to the engine, and which segments stay.

Pure; `Wal` writes the new segment that this decides on.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from holdfast_raft.wal_records import OVERHEAD_BYTES, Born, GroupFacts
from holdfast_raft.wal_replay import GroupReplay, Replay, SegmentFile, Stored


@dataclass(slots=True)
class RecoveredGroup:
    """What the WAL held of a group at open; all of it is durable.

    Attributes:
        base: (index, term) just before the first entry.
        entries: (data, index, term), without gaps from base + 1 on.
        retired: a tombstone; the id is never used again.
        copying: not born: a copy of this group's log was under way. It begins anew, so it has no entries.
    """

    group: int
    born: Born | None = None
    term: int = 0
    vote: int | None = None
    base: tuple[int, int] = (0, 0)
    entries: list[tuple[bytes, int, int]] = field(default_factory=list)
    retired: bool = False
    copying: int | None = None


def stays(stored: Stored, kept: set[int], marked: int) -> bool:
    return stored.segment in kept and stored.lsn <= marked


def keep(replay: Replay, budget: int) -> tuple[list[SegmentFile], int]:
    """The segments to keep, and up to which LSN they count.

    Newest segments with little in them are replaced, so that a node that restarts over and over does
    not add a segment each time.
    """
    live: dict[int, int] = {}
    copied = 0
    for log in replay.groups.values():
        for stored in log.entries.values():
            size = len(stored.data) + OVERHEAD_BYTES
            if stored.lsn > replay.marked:
                copied += size
            else:
                live[stored.segment] = live.get(stored.segment, 0) + size
    kept, counts_to = list(replay.chain), replay.marked
    while kept:
        last, header = kept[-1], kept[-1].header
        assert header is not None
        # Of a segment that begins above the mark, not even the header need be on disk.
        if header.first_lsn <= replay.marked and copied + live.get(last.id, 0) > budget:
            break
        copied += live.get(last.id, 0)
        counts_to = header.previous_end
        kept.pop()
    return kept, counts_to


def forget_copies(replay: Replay) -> None:
    """Empties the logs of copies that were not born: nobody goes on with one after a restart."""
    for log in replay.groups.values():
        if log.facts.copying is not None:
            log.facts = GroupFacts(None, log.facts.copying)
            log.prune()


def recovered(group: int, log: GroupReplay) -> RecoveredGroup:
    facts = log.facts
    entries = [(stored.data, index, stored.term) for index, stored in sorted(log.entries.items())]
    base = (facts.base_index, facts.base_term)
    return RecoveredGroup(
        group, facts.born, facts.term, facts.vote, base, entries, facts.retired, facts.copying
    )
