"""The group clock: where stamps come from.

A stamp is the last stamp seen plus this replica's own monotonic time since, steered towards the median
of the voters' wall clocks by at most 1 %. Time in a group therefore goes on evenly over leader changes
and bad wall clocks.

Invariants:
- `next` never returns less than it or `seen` had before.
- Steering changes the rate by at most 1 %. The exception is a step forward, to what the clocks of a
  majority of all voters, agreeing within 1 s, have passed: of more than 1 s (after a long stop, say), or
  of any size while this process has stamped nothing yet. What it missed while it was down has really
  passed; corrected later, in one step, it would end keys early that were written in between.
  There is no step back; a stamp that is ahead waits by running 1 % slow.
- For SLEW_SECONDS after an entry a follower's clock is not ahead of its leader's, and no further behind than
  the quickest entry of the term was late, and that 1 %: an entry applied late (by a process that was
  stopped, say) does not set it back. Behind when it takes over, it would step forward later, and end keys
  early that were written in between.

It does not read clocks: `now` is monotonic seconds, walls are given. After TigerBeetle's clock.zig: only
the primary stamps, and consensus drives time.
"""

from __future__ import annotations

from collections.abc import Sequence

SLEW_MAX = 0.01
STEP_MS = 1000.0
# An error is steered away over this long, or as much of it as 1 % allows. Without another look at the
# walls the rate is even again after it.
SLEW_SECONDS = 10.0


def median(values: Sequence[int]) -> int:
    """The middle value; of an even number the lower middle, so that one fast clock cannot pull it."""
    return sorted(values)[(len(values) - 1) // 2]


def majority_agrees(walls: Sequence[int], voters: int) -> bool:
    """Whether a majority of all voters is among `walls` within one step of the median."""
    if not walls:
        return False
    middle = median(walls)
    return sum(abs(wall - middle) <= STEP_MS for wall in walls) > voters // 2


class GroupClock:
    """One replica's idea of its group's clock."""

    __slots__ = ("_base_at", "_base_ms", "_last_ms", "_rate", "_stamped", "_term")

    def __init__(self, now: float, stamp_ms: int = 0) -> None:
        """stamp_ms: the last stamp the state has seen; 0: none ever."""
        self._base_ms = float(stamp_ms)
        self._base_at = now
        self._last_ms = stamp_ms
        self._rate = 1.0
        self._stamped = False
        self._term = 0  # of the entry seen last

    def seen(self, stamp_ms: int, now: float, term: int = 0) -> None:
        """An entry of another leader with this stamp was applied: the clock goes on from there, or from where
        an earlier one of the same term has brought it, if that is later. term: 0 of a state's last stamp.
        """
        known_ms = self._reading(now) if term == self._term else 0.0
        self._term = term
        self._last_ms = max(self._last_ms, stamp_ms)
        self._base_ms = max(float(self._last_ms), known_ms)
        self._base_at = now
        self._rate = 1.0 - SLEW_MAX  # the leader's may be running slow

    def estimate(self, now: float) -> int:
        """The present stamp as far as this replica knows; what a follower tells clients. 0: never set."""
        return max(self._last_ms, int(self._reading(now)))

    def next(self, now: float) -> int:
        """The stamp for an entry proposed now. Leaders only."""
        self._last_ms = stamp = self.estimate(now)
        self._stamped = True
        return stamp

    def steer(self, now: float, walls: Sequence[int], voters: int) -> bool:
        """Takes the voters' wall clocks (ms, as of now, ours included, voters not in contact left out).

        False: too few voters are known to steer by; the clock runs on by itself.
        """
        reading = self._reading(now)
        self._base_ms, self._base_at, self._rate = reading, now, 1.0
        if len(walls) <= voters // 2:
            return False
        target = median(walls)
        error = target - reading
        if not self._last_ms:  # the first stamp of a group has nothing to jump from
            self._base_ms = float(target)
            return True
        passed = sorted(walls, reverse=True)[voters // 2]  # by a majority, so by a right clock among them
        if passed - reading > (STEP_MS if self._stamped else 0) and majority_agrees(walls, voters):
            self._base_ms = float(passed)
            return True
        self._rate = 1.0 + max(-SLEW_MAX, min(SLEW_MAX, error / 1000.0 / SLEW_SECONDS))
        return True

    def _reading(self, now: float) -> float:
        if not self._base_ms:
            return 0.0  # never set: a clock that began at 0 would only mislead
        elapsed = max(0.0, now - self._base_at)
        return self._base_ms + (elapsed + min(elapsed, SLEW_SECONDS) * (self._rate - 1.0)) * 1000.0

    def __repr__(self) -> str:
        return f"<GroupClock last {self._last_ms} ms, rate {self._rate:.4f}>"
