"""Planted bugs of what is on disk: the WAL's syncs and its opening, snapshot files."""

from __future__ import annotations

from tests.planted.planting import Bug, Edit

DISK_BUGS = (
    Bug(
        "no-fsync",
        "The WAL writes and never syncs, and says that it has.",
        "protocols.md 5, D11",
        "Nodes lose power (kill -9 leaves the page cache, and shows nothing).",
        (
            Edit(
                "holdfast_raft.wal_files",
                "                self._zero_ahead(end)\n            self._file.sync()\n",
                "                self._zero_ahead(end)\n            # the kernel writes it\n",
            ),
        ),
    ),
    Bug(
        "tail-acked-unsynced",
        "At open what stands above the highest mark counts as synced: it is neither copied nor synced again."
        " A last segment with little in it, which would be copied anyway, is kept too.",
        "protocols.md 5",
        # Two changes at one place: the copying of small last segments would hide the first.
        "A process ends between a write and its sync, starts again and confirms the tail; the machine fails.",
        (
            Edit(
                "holdfast_raft.wal",
                "        kept, previous_end = keep(replay, self._options.segment_bytes // 2)\n",
                "        replay.marked = replay.last_lsn\n        kept, previous_end = keep(replay, 0)\n",
            ),
        ),
    ),
    Bug(
        "base-before-snapshot-durable",
        "A snapshot's file is not synced before its Base record lets the log go.",
        "protocols.md 5",
        "A node loses power after a snapshot.",
        (
            Edit(
                "holdfast_raft.snapshots",
                "[_header(*self._place)])\n            self._file.sync()\n",
                "[_header(*self._place)])\n            # not synced\n",
            ),
        ),
    ),
    Bug(
        "snapshot-off-by-one",
        "A snapshot says one more than its image holds (it is taken while an entry is under way).",
        "protocols.md 5",
        "A node restarts from such a snapshot, or gets it: it lacks one entry.",
        (
            Edit(
                "holdfast_raft.replication",
                "        index = group.applied_index\n        term = group.journal.term_at(index)\n",
                "        index = group.applied_index + 1\n        term = group.journal.term_at(index)\n",
            ),
        ),
    ),
)
