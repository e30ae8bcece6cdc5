"""What serves etcd best here: `python -m tests.bench.etcd_choices`. The rows should be asked that way.

Puts and linearizable gets of 256 callers over 1, 16 and 64 connections, to the leader or to all members in
turn; all on one cluster, several times over, as the machine changes its speed. Where another choice than
the one in rate_rows.py wins clearly, that one is to be taken: the peer is to be shown at its best.
"""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

from tests.bench import etcd_side, spread
from tests.bench.driving import ROOT
from tests.bench.etcd_side import Asked
from tests.bench.rate_rows import MANY, PAIRINGS

ROUNDS = 3
SECONDS, WARMUP = 2.0, 0.5
CHOICES = tuple(itertools.product(("put-256", "lget-256"), (1, 16, 64), (False, True)))


def main() -> None:
    rates: dict[tuple[str, int, bool], list[float]] = {choice: [] for choice in CHOICES}
    with (
        tempfile.TemporaryDirectory(dir=ROOT / ".cache", prefix="etcd-") as home,
        etcd_side.running(Path(home)) as etcd,
    ):
        for number in range(ROUNDS):
            for choice in CHOICES:
                row, conns, to_all = choice
                asked = Asked(PAIRINGS[row].asked.load, MANY, conns, to_all)
                first = not number and choice == CHOICES[0]
                rates[choice].append(etcd.run(asked, SECONDS, WARMUP, fill=first).rate)
    for (row, conns, to_all), found in rates.items():
        taken = PAIRINGS[row].asked
        mark = " <- taken" if (taken.conns, taken.to_all) == (conns, to_all) else ""
        print(
            f"{row}, {conns} connections, {'all members' if to_all else 'leader'}: {spread.of(found)}{mark}"
        )


if __name__ == "__main__":
    main()
