"""Random appends, syncs, crashes: what the WAL gives back against a model that remembers every step."""

from __future__ import annotations

import copy
import random
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from holdfast_chaos.node.unsynced_disk import Fault, UnsyncedDisk
from holdfast_raft.wal import Born, SyncJob, Wal, WalDamaged, WalOptions
from holdfast_raft.wal_inspect import verify
from hypothesis import given, settings
from hypothesis import strategies as st

SMALL = WalOptions(segment_bytes=4096, segments_max=3, total_bytes_max=1 << 20)
GROUPS = (1, 2, 3)


@dataclass
class ModelGroup:
    """What the WAL must hold of a group. copying: the group it is a copy of, until it is born."""

    term: int
    base: tuple[int, int]
    vote: int | None = None
    entries: list[tuple[bytes, int, int]] = field(default_factory=list)
    retired: bool = False
    copying: int | None = None
    about: bytes = b""

    @property
    def last(self) -> int:
        return self.entries[-1][1] if self.entries else self.base[0]

    def be_born(self) -> None:
        """On another's state the birth is a vote for the first member, in the term after the base's."""
        if self.last > 1:
            self.term, self.vote = 2, 0


State = dict[int, ModelGroup]


class Journey:
    """A WAL over power cuts and restarts, and every state it went through since the last of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.boots = 0
        self.disk = UnsyncedDisk(root, seed=self.boots)
        self.wal = Wal.open(self.disk, SMALL)
        self.state: State = {}
        self.steps: list[tuple[int, State]] = [(0, {})]  # (LSN after which it holds, state)
        self.running: SyncJob | None = None
        self.written_lsn = self.wal.durable_lsn

    # ---- what a replica does -------------------------------------------------------------------------

    def act(self, kind: int, group: int, size: int) -> None:
        """One change of one group; `kind` picks which, as far as it makes sense now."""
        log = self.state.get(group)
        if log is None or (log.copying is not None and kind in (6, 7)):
            lsn = self._begin(group, log, size)
        elif log.retired:
            return
        elif kind < 6:
            log.entries.append((bytes([size % 256]) * size, log.last + 1, log.term))
            lsn = self.wal.entry(group, log.last, log.term, log.entries[-1][0])
        elif kind == 6:
            log.term, log.vote = log.term + size % 2, log.vote if size % 2 == 0 else None
            log.vote = size % 3 if log.vote is None else log.vote
            lsn = self.wal.hard_state(group, log.term, log.vote)
        elif kind == 7 and log.entries:
            lsn = self._truncate(group, log, size)
        elif kind == 8:
            lsn = self._rebase(group, log, size)
        elif kind == 9 and size > 380:
            log.retired, log.entries, log.copying = True, [], None
            lsn = self.wal.retire(group)
        else:
            return
        if self.state != self.steps[-1][1]:
            self.steps.append((lsn, copy.deepcopy(self.state)))

    def _begin(self, group: int, log: ModelGroup | None, size: int) -> int:
        """A group is born, or a copy begins, begins anew, or is born."""
        about = bytes(size % 300)
        if log is None and size % 2:
            log = self.state[group] = ModelGroup(1, (group, 1), about=about)
            log.be_born()
            return self.wal.born(Born(group, (0, 1, 2), group, 1, 7, about))
        if log is None or not log.last or size % 3 == 0:
            self.state[group] = ModelGroup(0, (0, 0), copying=9)
            return self.wal.copying(group, 9)
        log.copying, log.about, log.term = None, about, 1
        log.be_born()
        return self.wal.born(Born(group, (0, 1, 2), log.last, 1, 7, about))

    def _truncate(self, group: int, log: ModelGroup, size: int) -> int:
        at = log.entries[size % len(log.entries)][1]
        log.entries = [entry for entry in log.entries if entry[1] < at]
        return self.wal.truncate(group, at)

    def _rebase(self, group: int, log: ModelGroup, size: int) -> int:
        if size % 4 == 0 or not log.entries:
            log.base, log.entries = (log.last + 1 + size % 5, log.term), []
            return self.wal.base(group, *log.base, keep_suffix=False)
        _, index, term = log.entries[(size // 4) % len(log.entries)]
        log.base, log.entries = (index, term), [entry for entry in log.entries if entry[1] > index]
        return self.wal.base(group, index, term, keep_suffix=True)

    def entry_at(self, group: int, index: int) -> tuple[bytes, int]:
        log = self.state[group]
        data, at, term = log.entries[index - log.base[0] - 1]
        assert at == index

        return data, term

    # ---- what the driver does ------------------------------------------------------------------------

    def begin(self) -> None:
        if self.running is None:
            if self.wal.needs_mark:
                self.wal.append_mark()
            self.running = self.wal.begin_sync()

    def end(self) -> None:
        job, self.running = self.running, None
        if job is not None:
            job.run()
            self.wal.end_sync(job)

    def tidy(self) -> None:
        self.wal.compact(self.entry_at)
        self.end()
        job = self.wal.free_job()
        if job is not None:
            job()

    # ---- what goes wrong -----------------------------------------------------------------------------

    def power_cut(self, torn: bool, midway: bool) -> None:
        durable = self.wal.durable_lsn
        if self.running is not None and midway:
            self.disk.fail(Fault("sync", after=0))
            self._run_into_fault()
        self.disk.power_off(torn=torn)
        self.boots += 1
        self.disk = UnsyncedDisk(self.root, seed=self.boots)
        self._reopen(durable)

    def failed_sync(self) -> None:
        """The sync fails, the process stops, and a new one finds the page cache as it was."""
        durable = self.wal.durable_lsn
        self.begin()
        if self.running is not None:
            self.disk.fail(Fault("sync"))
            self._run_into_fault()
        self._reopen(durable)

    def _run_into_fault(self) -> None:
        assert self.running is not None
        try:
            self.running.run()
        except OSError:
            return
        raise AssertionError("the failed sync went unnoticed")

    def _reopen(self, durable: int) -> None:
        self.running = None
        self.disk.faults.clear()
        verdict = verify(self.disk)
        assert verdict.ok, verdict.damage

        self.wal = Wal.open(self.disk, SMALL)
        found = recovered_state(self.wal)
        possible = [n for n, (_, state) in enumerate(self.steps) if reopened(state) == found]
        assert possible, "it is a state that was passed through"
        reached = max(n for n, (lsn, _) in enumerate(self.steps) if lsn <= durable)
        assert possible[-1] >= reached, "nothing durable is missing"

        self.state = found
        self.steps = [(self.wal.durable_lsn, copy.deepcopy(found))]


def recovered_state(wal: Wal) -> State:
    return {
        group: ModelGroup(
            found.term, found.base, found.vote, found.entries, found.retired, found.copying,
            found.born.about if found.born else b"",
        )
        for group, found in wal.recovered.items()
    }  # fmt: skip


def reopened(state: State) -> State:
    """What a restart makes of it: a copy that was not born begins anew."""
    return {
        group: ModelGroup(0, (0, 0), copying=log.copying) if log.copying is not None else log
        for group, log in state.items()
    }


change = st.tuples(st.just("act"), st.integers(0, 9), st.sampled_from(GROUPS), st.integers(0, 400))
step = st.one_of(
    change,
    change,
    change,
    st.tuples(st.just("begin")),
    st.tuples(st.just("end")),
    st.tuples(st.just("sync")),
    st.tuples(st.just("tidy")),
    st.tuples(st.just("cut"), st.booleans(), st.booleans()),
    st.tuples(st.just("failed")),
)


def travel(journey: Journey, steps: list[tuple]) -> None:
    for name, *rest in steps:
        if name == "act":
            journey.act(*rest)
        elif name == "begin":
            journey.begin()
        elif name == "end":
            journey.end()
        elif name == "sync":
            journey.end()
            journey.begin()
            journey.end()
        elif name == "tidy":
            journey.tidy()
        elif name == "cut":
            journey.power_cut(*rest)
        else:
            journey.failed_sync()


@settings(max_examples=60)
@given(st.integers(0, 2**32))
def test_long_journeys_lose_nothing(seed):
    """The same rule on journeys of 400 steps, with many segments, chosen by a seed."""
    rng = random.Random(seed)
    names = rng.choices(["act", "begin", "end", "tidy", "cut", "failed"], [70, 10, 9, 6, 3, 2], k=400)
    few_bases = rng.random() < 0.5
    with tempfile.TemporaryDirectory() as folder:
        journey = Journey(Path(folder))
        for name in names:
            if name == "act":
                kind = rng.choice([0, 1, 6, 7] if few_bases and rng.random() < 0.95 else range(10))
                journey.act(kind, rng.choice(GROUPS), rng.randrange(400))
            else:
                chances = (rng.random() < 0.5, rng.random() < 0.5) if name == "cut" else ()
                travel(journey, [(name, *chances)])

        journey.power_cut(torn=True, midway=True)


@settings(max_examples=100)
@given(st.lists(step, max_size=120))
def test_recovery_gives_a_prefix_of_what_was_appended_with_all_that_was_durable(steps):
    """After any crash the WAL holds a state it passed through, at or after the last finished sync."""
    with tempfile.TemporaryDirectory() as folder:
        journey = Journey(Path(folder))
        travel(journey, steps)

        journey.power_cut(torn=True, midway=True)


@settings(max_examples=100)
@given(
    st.lists(change, min_size=5, max_size=80), st.lists(st.booleans(), min_size=80, max_size=80), st.data()
)
def test_a_flipped_byte_is_refused_or_costs_nothing_that_was_marked(changes, syncs, data):
    """With one byte flipped anywhere, the start is refused or all up to the highest mark is there."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        journey = Journey(root)
        for (_, *rest), sync in zip(changes, syncs, strict=False):
            journey.act(*rest)
            if sync:
                travel(journey, [("sync",)])
        travel(journey, [("sync",)])
        marked = journey.wal.durable_lsn if data.draw(st.booleans(), label="marked") else 0
        if marked:
            journey.begin()
            journey.end()
        journey.disk.power_off()

        files = sorted(path for path in (root / "wal").iterdir() if path.stat().st_size)
        file = data.draw(st.sampled_from(files), label="file")
        used = len(file.read_bytes().rstrip(b"\0")) or 1
        at = data.draw(st.integers(0, used - 1), label="at")
        flip(file, at)

        try:
            wal = Wal.open(UnsyncedDisk(root), SMALL)
        except WalDamaged:
            return
        found = recovered_state(wal)
        possible = [n for n, (_, state) in enumerate(journey.steps) if reopened(state) == found]
        assert possible

        last_sync_but_one = max(n for n, (lsn, _) in enumerate(journey.steps) if lsn <= marked)
        # A flip in the mark that stands last takes that mark away, but none of what it spoke of.
        assert possible[-1] >= last_sync_but_one


def flip(file: Path, at: int) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 0x40
    file.write_bytes(content)
