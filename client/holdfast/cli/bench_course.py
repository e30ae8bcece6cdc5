"""The course of a bench: what its processes tell, second by second, brought together.

A second is complete when every process has told it or has ended; processes need not tell in step.
"""

from __future__ import annotations

from holdfast.cli.bench_tally import Tally


class Course:
    """Collects the tallies of so many processes.

    Attributes:
        whole: everything told so far; its time is that of the process that took longest.
        seconds: the complete seconds, in order.
    """

    def __init__(self, processes: int) -> None:
        self.whole = Tally()
        self.seconds: list[Tally] = []
        self._told = [0] * processes
        self._took = [0.0] * processes
        self._running = set(range(processes))
        self._open: dict[int, Tally] = {}

    def tell(self, process: int, tally: Tally) -> list[Tally]:
        """Takes the next second of a process; gives the seconds that are complete now."""
        second = self._told[process]
        self._told[process] += 1
        self._took[process] += tally.seconds
        merged = self._open.setdefault(second, Tally())
        merged.merge(tally)
        merged.seconds = max(merged.seconds, tally.seconds)
        self.whole.merge(tally)
        self.whole.seconds = max(self._took)
        return self._complete()

    def end(self, process: int) -> list[Tally]:
        """A process has told all it has; gives the seconds that are complete now."""
        self._running.discard(process)
        return self._complete()

    def _complete(self) -> list[Tally]:
        complete = []
        while (second := len(self.seconds)) in self._open:
            if any(self._told[process] <= second for process in self._running):
                break
            complete.append(self._open.pop(second))
            self.seconds.append(complete[-1])
        return complete

    def __repr__(self) -> str:
        return f"<Course of {len(self._told)} processes, {len(self.seconds)} seconds>"
