"""What a node does once a second for its WAL: keep it short, and live with a full disk.

Groups, and copies under way, whose entries keep the oldest segment alive are asked for snapshots, small
remainders are copied forward, freed segments are unlinked on the WAL's thread. On a full disk the node gives
its leaderships up: somebody with room should lead.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from holdfast_raft.clock import Clock
from holdfast_raft.copying import Copy
from holdfast_raft.group import Group
from holdfast_raft.wal import Wal

logger = logging.getLogger(__name__)

GIVE_UP_EVERY = 60.0
"""Seconds between hand-overs of one group: where all disks are full, nobody is a better leader."""
HAND_OVER_WITHIN = 1.0

WalThread = Callable[[Callable[[], object], Callable[[BaseException | None], None]], None]


class Housekeeping:
    """See the module docstring; `round` is called by the driver."""

    def __init__(
        self,
        wal: Wal,
        groups: Mapping[int, Group],
        copies: Mapping[int, Copy],
        clock: Clock,
        wal_thread: WalThread,
    ) -> None:
        self._wal = wal
        self._groups = groups
        self._copies = copies
        self._clock = clock
        self._wal_thread = wal_thread
        self._gave_up: dict[int, float] = {}

    def round(self) -> bool:
        """One round; whether the next should follow soon, to copy more."""
        if self._wal.over_budget:
            for number in self._wal.pins():
                log = self._groups.get(number) or self._copies.get(number)
                if log is not None:
                    log.want_snapshot()
        more = self._wal.compact(self._entry_at)
        for job in (self._wal.free_job(), self._wal.retry_space_job() if self._wal.disk_full else None):
            if job is not None:
                self._wal_thread(job, _logged)
        if self._wal.disk_full:
            self._give_up_leaderships()
        return more

    def _entry_at(self, group: int, index: int) -> tuple[bytes, int]:
        """(command, term) of an entry that the WAL copies forward."""
        log = self._groups.get(group) or self._copies.get(group)
        if log is None or log.journal is None:  # its owner has not opened it yet
            entries = self._wal.recovered[group].entries
            command, _, term = entries[index - entries[0][1]]
        else:
            command, _, term = log.journal[index - log.journal.base_index]
        return command, term

    def _give_up_leaderships(self) -> None:
        now = self._clock.monotonic()
        for group in self._groups.values():
            if group.is_leader and now >= self._gave_up.get(group.id, float("-inf")) + GIVE_UP_EVERY:
                self._gave_up[group.id] = now
                group.transfer(None, now + HAND_OVER_WITHIN, lambda _: None)


def _logged(error: BaseException | None) -> None:
    if error is not None:
        logger.error("old WAL segments could not be freed: %s", error)
