"""The side that answers copies: whom it answers, with what, and what it keeps for them."""

from __future__ import annotations

from holdfast_raft.copy_serving import ASKERS_MAX, HOLD_SECONDS, SILENT_AFTER
from holdfast_raft.messages import (
    Addressed,
    CopyChunk,
    CopyEntries,
    CopyPull,
    CopyRefused,
    GroupMessage,
    NodeMessage,
)
from holdfast_raft.replication import LogLimits

from tests.sim.cluster import Cluster, SimNode

ALL = LogLimits(snapshot_after_bytes=1 << 30, trailing_bytes=1 << 20)
NONE_BEHIND = LogLimits(snapshot_after_bytes=1 << 30, trailing_bytes=0)


class Asking:
    """A source of three replicas; questions are put to node 1 as if node 2 asked them."""

    def __init__(self, seed: int, limits: LogLimits = ALL, writes: int = 10) -> None:
        self.cluster = Cluster(seed, log_limits=limits)
        self.answers: list[GroupMessage] = []
        for n in range(writes):
            self.cluster.write(b"value%03d" % n)
        self.cluster.settle()
        self.node: SimNode = self.cluster.nodes[1]
        promises = self.cluster.promises.observe

        def observe(source: int, target: int, message: NodeMessage) -> None:
            promises(source, target, message)
            kinds = CopyChunk | CopyEntries | CopyRefused
            if isinstance(message, Addressed) and isinstance(message.body, kinds):
                self.answers.append(message.body)

        self.cluster.network.observe = observe

    def ask(self, pull: CopyPull, within: float = 1.0, group: int = 2) -> GroupMessage:
        """The answer."""
        self.answers.clear()
        self.node.driver.received(2, Addressed(group, 0, pull))
        assert self.cluster.world.run_until(lambda: bool(self.answers), within), "no answer came"
        return self.answers[0]

    def after(self, index: int, bytes_max: int = 1 << 20) -> CopyPull:
        """Asks for what follows that entry."""
        term = self.node.group().journal.term_at(index)
        return CopyPull(9, index, 0 if term is None else term, 0, 0, bytes_max)


def test_what_follows_a_place_comes_as_entries_up_to_the_bytes_asked_for() -> None:
    """One entry at least, else none could ever pass."""
    asking = Asking(1)
    first = asking.ask(asking.after(3, bytes_max=25))
    assert (first.prev_index, len(first.entries)) == (3, 2)

    assert len(asking.ask(asking.after(3, bytes_max=1)).entries) == 1
    rest = asking.ask(asking.after(3))
    assert rest.prev_index + len(rest.entries) == rest.commit_index
    assert rest.has_leader


def test_only_committed_entries_leave() -> None:
    """A tail that a later leader may cut is no one's state."""
    asking = Asking(2)
    group = asking.node.group()
    commit = group.commit_index
    for peer in (2, 3):
        asking.cluster.network.stall(peer, 1)
    group.journal.add(b"\0tail", commit + 1, group.term)
    answer = asking.ask(asking.after(commit - 1))

    assert len(answer.entries) == 1


def test_an_answer_without_news_waits_a_while_for_some() -> None:
    """So a copy hears of them at once, and asks twenty times a second when there are none."""
    asking = Asking(3)
    commit = asking.node.group().commit_index
    began = asking.cluster.world.now
    answer = asking.ask(asking.after(commit))
    assert (answer.entries, answer.prev_index) == ((), commit)
    assert HOLD_SECONDS <= asking.cluster.world.now - began < HOLD_SECONDS + 0.02

    began = asking.cluster.world.now
    asking.cluster.world.at(began + 0.01, lambda: asking.cluster.propose(asking.cluster.leader(), b"news"))
    answer = asking.ask(asking.after(commit))
    assert [data for _, data in answer.entries] == [b"\0news"]
    assert asking.cluster.world.now - began < 0.03


def test_who_is_ahead_of_this_replica_is_told_that_it_has_nothing() -> None:
    """It lags: its commit index says so."""
    asking = Asking(4)
    commit = asking.node.group().commit_index
    answer = asking.ask(CopyPull(9, commit + 5, 99, 0, 0, 100))

    assert (answer.entries, answer.prev_index, answer.commit_index) == ((), commit + 5, commit)


def test_a_place_that_this_log_contradicts_is_refused() -> None:
    """Committed entries are the same everywhere: whoever asks so has copied something else."""
    asking = Asking(5)
    answer = asking.ask(asking.after(5)._replace(term=77))

    assert "another term" in answer.why


def test_a_group_that_is_not_here_or_has_stopped_is_refused() -> None:
    """At once: the asker goes elsewhere."""
    asking = Asking(6)
    assert "not here" in asking.ask(asking.after(5), within=0.01, group=77).why
    asking.node.group().stop("the test says so")

    assert "not here" in asking.ask(asking.after(5), within=0.01).why


def test_a_snapshot_comes_chunk_by_chunk_and_only_to_who_has_its_first_pieces() -> None:
    """Another's bytes under the same numbers would make a state of two halves."""
    asking = Asking(7, NONE_BEHIND)
    asking.node.group().want_snapshot()
    asking.cluster.world.run_for(0.2)
    first = asking.ask(CopyPull(9, 0, 0, 0, 0, 100))
    assert (first.number, first.last) == (0, False)

    more = CopyPull(9, first.index, first.snapshot_term, 1, first.crc, 0)
    assert asking.ask(more).number == 1
    assert asking.ask(more._replace(crc=first.crc ^ 1)).number == 0
    assert asking.ask(more._replace(number=99)).number == 0


def test_a_snapshot_that_is_being_sent_stays_readable_when_a_newer_one_stands() -> None:
    """Its log is kept, so that it can be finished."""
    asking = Asking(8, NONE_BEHIND)
    group = asking.node.group()
    group.want_snapshot()
    asking.cluster.world.run_for(0.2)
    first = asking.ask(CopyPull(9, 0, 0, 0, 0, 100))
    for n in range(10):
        asking.cluster.write(b"newer%d" % n)
    group.want_snapshot()
    asking.cluster.world.run_for(0.5)
    assert asking.node.driver.store.latest(2).index > first.index

    second = asking.ask(CopyPull(9, first.index, first.snapshot_term, 1, first.crc, 0))
    assert (second.number, second.index) == (1, first.index)
    assert group.journal.base_index <= first.index


def test_what_is_kept_for_an_asker_is_let_go_when_it_is_silent_or_gone() -> None:
    """Its file is closed and the log is cut again."""
    asking = Asking(9, NONE_BEHIND)
    serving = asking.node.driver._copies._serving
    replication = asking.node.group()._replication
    for end in ("silence", "disconnect"):
        asking.ask(CopyPull(9, 0, 0, 0, 0, 100))
        asking.ask(asking.after(asking.node.group().journal.base_index))
        assert len(serving._askers) == 1
        assert replication._keep_after < 1 << 60
        if end == "silence":
            asking.cluster.world.run_for(SILENT_AFTER + 1.5)
        else:
            asking.cluster.network.reset(1, 2)
            asking.cluster.world.run_for(0.1)

        assert len(serving._askers) == 0
        assert replication._keep_after == float("inf")


def test_no_more_copies_are_fed_at_once_than_there_is_room_for() -> None:
    """Each may hold a file open."""
    asking = Asking(10)
    for copy in range(ASKERS_MAX):
        assert isinstance(asking.ask(asking.after(5)._replace(copy=100 + copy)), CopyEntries)

    assert "too many" in asking.ask(asking.after(5)).why
    assert isinstance(asking.ask(asking.after(5)._replace(copy=100)), CopyEntries)


def test_a_full_lane_makes_answers_wait() -> None:
    """What the followers of other groups need is queued there too."""
    asking = Asking(11)
    transport = asking.node.transport
    queued = transport.queued_bytes
    transport.queued_bytes = lambda peer: 1 << 30  # type: ignore[method-assign]
    asking.node.driver.received(2, Addressed(2, 0, asking.after(5)))
    asking.cluster.world.run_for(0.5)
    assert asking.answers == []
    transport.queued_bytes = queued  # type: ignore[method-assign]

    assert asking.cluster.world.run_until(lambda: bool(asking.answers), 0.1)
    assert asking.answers[0].entries


def test_a_copy_that_turns_to_another_group_is_a_new_one() -> None:
    """Nothing of what was kept for the first counts for the second."""
    asking = Asking(12)
    asking.ask(asking.after(5))
    assert "not here" in asking.ask(asking.after(5), group=3).why
    assert isinstance(asking.ask(asking.after(5)), CopyEntries)
