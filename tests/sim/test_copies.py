"""Copies on their way: under load, with snapshots and sources that go away meanwhile."""

from __future__ import annotations

import pytest
from holdfast_raft.messages import Addressed, CopyChunk, CopyEntries, NodeMessage
from holdfast_raft.proposals import Applied
from holdfast_raft.replication import LogLimits
from holdfast_raft.wal import WalOptions

from tests.sim.copying_acts import OFTEN, fails_at_first, items, pulls, write
from tests.sim.moves import COPIES, SOURCE, SOURCE_NODES, TARGET, TARGET_NODES, Moves, Source

# ---- the ordinary way -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("limits", [None, OFTEN])
def test_a_copy_under_load_catches_up_and_is_born_with_the_same_state(
    seed: int, limits: LogLimits | None
) -> None:
    """What was written before, during and after the copying is there; the target goes on from it."""
    cluster = Moves(seed, limits)
    write(cluster, 30)
    cluster.order()
    write(cluster, 40, first=30)
    cluster.run_until_caught_up()
    write(cluster, 5, first=70)

    assert cluster.finish() == [*items(75), b"moved"]
    write(cluster, 5, first=200, group=TARGET)
    assert cluster.agree() == [*items(75), b"moved", *items(5, 200)]
    assert cluster.elect(TARGET).number == TARGET_NODES[0]


def test_a_copy_knows_how_far_it_is_behind_and_how_much_of_it_is_durable() -> None:
    """That is what decides when a source may be sealed."""
    cluster = Moves(1)
    write(cluster, 30)
    cluster.order(4)
    copy = cluster.copies[4]
    assert (copy.index, copy.durable_index, copy.heard_at) == (0, 0, float("-inf"))

    cluster.run_until_caught_up(4)
    cluster.world.run_for(0.1)
    commit = cluster.elect(SOURCE).group(SOURCE).commit_index
    assert (copy.index, copy.durable_index, copy.commit_index) == (commit, commit, commit)
    assert copy.behind_bytes() == 0
    assert copy.heard_at > cluster.world.now - 0.2
    assert copy.bytes_copied > 30 * 8
    assert (copy.problem, copy.failed, copy.ended) == ("", False, False)

    for number in SOURCE_NODES:
        cluster.network.cut(4, number)
    write(cluster, 10, first=30)
    cluster.world.run_for(2.0)
    assert copy.heard_at < cluster.world.now - 1.0
    assert "none of the nodes" in copy.problem


def test_a_source_says_how_many_bytes_are_missing() -> None:
    """In the snapshot that is on its way, and in the entries behind it."""
    cluster = Moves(2, LogLimits(snapshot_after_bytes=1 << 30, trailing_bytes=0))
    write(cluster, 50)
    for number in SOURCE_NODES:
        cluster.nodes[number].group(SOURCE).want_snapshot()
    cluster.world.run_for(0.5)
    write(cluster, 20, first=50)
    told: list[int] = []

    def listen(source: int, target: int, message: NodeMessage) -> NodeMessage:
        if isinstance(message, Addressed) and isinstance(message.body, CopyChunk | CopyEntries):
            told.append(message.body.behind_bytes)
        return message

    cluster.network.tamper = listen
    cluster.order(4)
    cluster.run_until_caught_up(4)

    assert told[0] > 50 * 12 * 3 // 4 + 20 * 9
    assert sorted(told, reverse=True) == told
    assert told[-1] == 0
    assert 20 * 9 in told


def test_news_reach_a_copy_without_waiting_out_a_question() -> None:
    """An answer is held until there is something to say, so that a copy lags by a message, not by 50 ms."""
    cluster = Moves(3)
    write(cluster, 5)
    cluster.order()
    cluster.run_until_caught_up()
    for n in range(20):
        write(cluster, 1, first=100 + n)
        assert cluster.world.run_until(
            lambda: cluster.copies[4].commit_index == cluster.copies[4].index, 0.03
        )
        assert cluster.world.run_until(cluster.caught_up, 0.03)
        cluster.world.run_for(0.003 * n)


def test_an_idle_copy_asks_twenty_times_a_second() -> None:
    """Not more: each question waits for an answer of its own, and that is held."""
    cluster = Moves(4)
    write(cluster, 5)
    cluster.order(4)
    cluster.run_until_caught_up(4)
    asked = pulls(cluster)
    cluster.world.run_for(2.0)

    assert 20 <= len(asked) <= 45


@pytest.mark.parametrize("rate", [1000, 4000])
def test_a_copy_takes_no_more_bytes_a_second_than_it_may(rate: int) -> None:
    """Snapshot and entries alike; the source's clients come first."""
    cluster = Moves(5, bytes_per_s=rate)
    write(cluster, 100)
    began = cluster.world.now
    last: list[int] = []

    def listen(source: int, target: int, message: NodeMessage) -> NodeMessage:
        if isinstance(message, Addressed) and isinstance(message.body, CopyEntries) and message.body.entries:
            last.append(sum(len(data) for _, data in message.body.entries))
        return message

    cluster.network.tamper = listen
    cluster.order(4)
    write(cluster, 400, first=100)
    cluster.run_until_caught_up(4, within=60)

    seconds = cluster.world.now - began
    paid = cluster.copies[4].bytes_copied - last[-1]  # the last answer is paid for after it came
    assert paid / rate - 0.1 < seconds < paid / rate + 2.0


def test_two_copies_of_one_source_on_one_node_do_not_meet() -> None:
    """A copy is named by what it is to become; each has its own place and files."""
    cluster = Moves(6)
    write(cluster, 20)
    cluster.order(4)
    driver = cluster.nodes[4].driver
    second = driver.start_copy(10, SOURCE, Source(cluster.agreed[SOURCE]), SOURCE_NODES, 2000)
    write(cluster, 20, first=20)
    cluster.run_until_caught_up(4)
    assert cluster.world.run_until(lambda: second.index == cluster.copies[4].index, 5)

    assert second.machine.items == items(40)
    assert repr(second) == f"<Copy of group 2 as 10 at {second.index} of {second.index}: copying>"


# ---- sources that go away ---------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["killed", "stalled", "stopped", "retired"])
@pytest.mark.parametrize("seed", range(3))
def test_a_copy_goes_on_elsewhere_when_its_source_goes_away(how: str, seed: int) -> None:
    """Midway through the snapshot or behind it; nothing is lost or taken twice."""
    cluster = Moves(seed, bytes_per_s=4000)
    write(cluster, 60)
    cluster.order(4)
    asked = pulls(cluster)
    assert cluster.world.run_until(lambda: len(asked) > 2 + 5 * seed, 10)
    serving = cluster.nodes[asked[-1][1]]
    if how == "killed":
        serving.kill()
    elif how == "stalled":
        cluster.network.keepalive_seconds = (60.0, 60.0)  # it is the copy that notices
        cluster.network.stall(serving.number, 4)
    elif how == "stopped":
        serving.group(SOURCE).stop("the test says so")
    else:
        serving.driver.retire_group(SOURCE)
    others = [node for node in SOURCE_NODES if node != serving.number]

    assert cluster.world.run_until(lambda: asked[-1][1] in others, 2 if how == "stalled" else 0.6)
    write(cluster, 5, first=60)
    assert cluster.world.run_until(lambda: cluster.copies[4].machine.items == items(65), 30)


def test_a_copy_goes_on_with_the_same_snapshot_on_another_node() -> None:
    """Where it has the very same bytes; else from the first chunk of that node's own."""
    cluster = Moves(7, LogLimits(snapshot_after_bytes=1 << 30, trailing_bytes=0))
    write(cluster, 60)
    cluster.world.run_for(0.5)
    for number in SOURCE_NODES:
        cluster.nodes[number].group(SOURCE).want_snapshot()
    cluster.world.run_for(0.5)
    cluster.bytes_per_s = 2000
    cluster.order(4)
    asked = pulls(cluster)
    assert cluster.world.run_until(lambda: bool(asked) and asked[-1][2].number > 6, 10)
    cluster.nodes[asked[-1][1]].kill()
    cluster.run_until_caught_up(4)

    numbers = [pull.number for _, _, pull in asked if pull.number]
    assert numbers == sorted(numbers)
    assert len(numbers) == max(numbers) + 1  # one of them was asked of two nodes


def test_a_replica_that_is_cut_off_from_its_leader_is_not_listened_to_for_long() -> None:
    """It answers, and has nothing new: the copy would take itself for up to date."""
    cluster = Moves(8)
    write(cluster, 10)
    leader = cluster.elect(SOURCE)
    cluster.order(4)
    cluster.run_until_caught_up(4)
    asked = pulls(cluster)
    cluster.world.run_for(0.2)
    serving = cluster.nodes[asked[-1][1]]
    if serving is leader:
        for peer in SOURCE_NODES:
            if peer != serving.number:
                cluster.network.cut(serving.number, peer)
    else:
        cluster.network.cut(serving.number, leader.number)
        for peer in SOURCE_NODES:
            if peer not in (serving.number, leader.number):
                cluster.network.cut(serving.number, peer)
    cluster.world.run_for(2.0)
    write(cluster, 10, first=10)

    assert cluster.world.run_until(lambda: cluster.copies[4].machine.items == items(20), 5)


def test_a_copy_never_takes_what_is_not_committed() -> None:
    """A leader cut off with a tail of its own gives none of it away."""
    cluster = Moves(9)
    write(cluster, 10)
    leader = cluster.elect(SOURCE)
    for peer in SOURCE_NODES:
        if peer != leader.number:
            cluster.network.cut(leader.number, peer)
    cluster.propose(leader, b"never committed", SOURCE)
    for peer in SOURCE_NODES:
        if peer != leader.number:
            cluster.network.cut(4, peer)
    cluster.order(4)
    cluster.world.run_for(3.0)

    assert cluster.copies[4].machine.items == items(10)
    assert cluster.copies[4].index < leader.group(SOURCE).journal.last_index


def test_a_copy_waits_for_a_source_that_nobody_has_at_the_moment() -> None:
    """It never gives up by itself."""
    cluster = Moves(10)
    write(cluster, 10)
    for number in SOURCE_NODES:
        cluster.nodes[number].kill()
    cluster.order(4)
    cluster.world.run_for(20.0)
    assert not cluster.copies[4].failed
    for number in SOURCE_NODES:
        cluster.boot(cluster.nodes[number])

    cluster.elect(SOURCE)
    cluster.run_until_caught_up(4)


# ---- snapshots --------------------------------------------------------------------------------------------


def test_a_copy_that_falls_behind_the_log_takes_another_snapshot() -> None:
    """Its own log begins there; the older snapshot goes. A disk that fails meanwhile only delays it."""
    cluster = Moves(11, LogLimits(snapshot_after_bytes=1 << 30, trailing_bytes=0, copied_bytes=0))
    write(cluster, 20)
    cluster.order(4)
    cluster.run_until_caught_up(4)
    for number in SOURCE_NODES:
        cluster.network.cut(4, number)
    write(cluster, 30, first=20)
    for number in SOURCE_NODES:
        cluster.nodes[number].group(SOURCE).want_snapshot()
    cluster.world.run_for(0.5)
    write(cluster, 3, first=50)
    cluster.nodes[4].disk.fail = fails_at_first("rename", "snapshots/9")
    for number in SOURCE_NODES:
        cluster.network.heal(4, number)
    cluster.run_until_caught_up(4)

    assert cluster.copies[4].machine.items == items(53)
    cluster.world.run_for(0.1)
    assert len(cluster.nodes[4].disk.names("snapshots/9")) == 1
    assert cluster.copies[4].journal.base_index > 40
    cluster.order(5)
    assert cluster.finish() == [*items(53), b"moved"]


def test_a_state_whose_file_could_not_be_stored_is_not_gone_on_from() -> None:
    """The machine has it, the log stands where it stood: entries from there would be applied twice."""
    cluster = Moves(31, LogLimits(snapshot_after_bytes=1 << 30, trailing_bytes=0, copied_bytes=0))
    write(cluster, 20)
    cluster.order(4)
    cluster.run_until_caught_up(4)
    for number in SOURCE_NODES:
        cluster.network.cut(4, number)
    cluster.world.run_for(0.1)
    write(cluster, 30, first=20)
    cluster.nodes[1].group(SOURCE).want_snapshot()  # the other two have the entries still
    cluster.world.run_for(0.5)
    cluster.nodes[4].disk.fail = fails_at_first("rename", "snapshots/9")
    cluster.network.heal(4, 1)
    assert cluster.world.run_until(lambda: "could not be stored" in cluster.copies[4].problem, 5)
    cluster.network.cut(4, 1)
    for number in (2, 3):
        cluster.network.heal(4, number)
    cluster.run_until_caught_up(4)

    assert cluster.copies[4].machine.items == items(50)


def test_the_log_is_kept_in_memory_while_somebody_copies() -> None:
    """A snapshot that takes longer to send than the log to grow would be followed by another, for ever."""
    cluster = Moves(12, LogLimits(snapshot_after_bytes=100, trailing_bytes=0), bytes_per_s=2000)
    write(cluster, 60)
    cluster.world.run_for(1.0)
    cluster.order(4)
    asked = pulls(cluster)
    for n in range(60):
        write(cluster, 1, first=60 + n)
        cluster.world.run_for(0.02)
    cluster.run_until_caught_up(4)
    firsts = [pull for _, _, pull in asked if pull.number == 1]
    assert len(firsts) == 1
    serving = cluster.nodes[asked[-1][1]].group(SOURCE)

    cluster.nodes[4].driver.drop_copy(TARGET)
    cluster.world.run_for(12.0)
    write(cluster, 20, first=200)
    cluster.world.run_for(1.0)

    assert serving.journal.held_bytes < 400


def test_a_source_without_a_snapshot_takes_one_for_who_asks() -> None:
    """Also one that has applied nothing since its birth; nobody else needed it yet."""
    cluster = Moves(13)
    write(cluster, 10)
    assert all(cluster.nodes[n].driver.store.latest(SOURCE) is None for n in SOURCE_NODES)
    cluster.order(4)

    cluster.run_until_caught_up(4)


def test_a_damaged_snapshot_is_not_copied_and_is_taken_anew() -> None:
    """The asker goes elsewhere meanwhile."""
    cluster = Moves(14, LogLimits(snapshot_after_bytes=1 << 30, trailing_bytes=0))
    write(cluster, 40)
    cluster.world.run_for(0.5)
    for number in SOURCE_NODES:
        cluster.nodes[number].group(SOURCE).want_snapshot()
    cluster.world.run_for(0.5)
    for number in SOURCE_NODES:
        cluster.nodes[number].disk.damage(".snap", 200)
    cluster.order(4)

    cluster.run_until_caught_up(4)

    assert cluster.copies[4].machine.items == items(40)


def test_a_snapshot_that_does_not_add_up_is_not_taken() -> None:
    """The builder refuses it; the next node is asked."""
    cluster = Moves(15)
    write(cluster, 40)
    spoiled: list[int] = []

    def spoil(source: int, target: int, message: NodeMessage) -> NodeMessage:
        is_chunk = isinstance(message, Addressed) and isinstance(message.body, CopyChunk)
        if is_chunk and message.body.last and not spoiled:
            spoiled.append(source)
            return message._replace(body=message.body._replace(data=b"end7"))
        return message

    cluster.network.tamper = spoil
    cluster.order(4)
    assert cluster.world.run_until(lambda: "refused" in cluster.copies[4].problem, 5)

    cluster.run_until_caught_up(4)

    assert cluster.copies[4].machine.items == items(40)


def test_a_copy_with_no_room_for_its_snapshot_goes_on_once_there_is() -> None:
    """The state that was restored beside it counts for nothing until its file stands."""
    cluster = Moves(16)
    write(cluster, 40)
    cluster.nodes[4].disk.fail = fails_at_first("rename", "snapshots/9", times=3)
    cluster.order(4)
    assert cluster.world.run_until(lambda: "could not be stored" in cluster.copies[4].problem, 5)
    write(cluster, 10, first=40)

    cluster.run_until_caught_up(4)

    assert cluster.copies[4].machine.items == items(50)


def test_a_copy_keeps_its_own_log_short() -> None:
    """By snapshots of what it has followed, when enough was, or when the WAL asks; births go on from them."""
    options = WalOptions(segment_bytes=8 << 10, segments_max=3)
    cluster = Moves(17, LogLimits(10_000, 1000), options)
    write(cluster, 3)
    cluster.order()
    cluster.run_until_caught_up()
    for n in range(150):
        assert isinstance(cluster.write(b"value%03d" % n + b"." * 500, SOURCE), Applied)
        cluster.world.run_for(0.05)
    cluster.world.run_for(5)

    for number in COPIES:
        assert len(cluster.nodes[number].disk.names("wal")) <= 8
        assert cluster.copies[number].journal.base_index > 100
        assert cluster.copies[number].journal.held_bytes < 20_000
        assert len(cluster.nodes[number].disk.names("snapshots/9")) == 1
    tape = cluster.finish()
    assert len(tape) == 154
    for node in cluster.nodes.values():
        node.lose_power()
    for node in cluster.nodes.values():
        cluster.boot(node)
    assert cluster.agree() == tape


def test_a_copy_snapshots_by_itself_when_it_has_followed_enough() -> None:
    """As a group does: its log in memory and at the next start stays short."""
    cluster = Moves(28, LogLimits(snapshot_after_bytes=500, trailing_bytes=0))
    write(cluster, 3)
    cluster.order(4)
    cluster.run_until_caught_up(4)
    for n in range(300):
        write(cluster, 1, first=n)
    cluster.world.run_for(1.0)

    assert cluster.copies[4].journal.held_bytes < 1500


def test_a_copy_that_begins_anew_begins_without_what_the_last_one_left() -> None:
    """Its files go before the first question: none of them is ever taken for a newer one."""
    cluster = Moves(29)
    write(cluster, 10)
    cluster.order(4)
    cluster.run_until_caught_up(4)
    node = cluster.nodes[4]
    node.lose_power()
    asked = pulls(cluster)
    cluster.boot(node)
    assert node.disk.names("snapshots/9") != []
    assert cluster.world.run_until(lambda: bool(asked), 1)

    assert node.disk.names("snapshots/9") == []
