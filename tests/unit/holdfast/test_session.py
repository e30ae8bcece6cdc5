"""Operations from first attempt to final outcome, against scripted peers."""

import asyncio

import holdfast
import pytest
from holdfast import Level, Outcome, Reason, RefusedError, UnknownOutcomeError
from holdfast.token import TokenEntry

from tests.unit.holdfast.scripted_node import STAMP_MS, Group, ScriptedCluster, refusal


def once(said):
    """A script that says this to the first operation only."""
    left = [said]
    return lambda _: left.pop() if left else None


def test_a_write_whose_answer_was_lost_runs_once():
    """The line breaks after the effect: the retry sends the same bytes and gets the first result."""

    async def run():
        async with ScriptedCluster() as cluster, holdfast.connect(cluster.endpoints) as client:
            node = cluster.nodes[0]
            node.script = once("lose")
            result = await client.increment("n", 5)
            return result, cluster.groups[0].applied, node.operations, node.hellos

    result, applied, operations, hellos = asyncio.run(run())
    assert (result.value, applied) == (5, 1)
    assert len(operations) == 2
    assert operations[0].SerializeToString() == operations[1].SerializeToString()
    assert hellos[0] == hellos[1]


def test_a_new_leader_is_found_by_its_hint():
    """NOT_LEADER moves the operation to the leader it names, and the next one goes there directly."""

    async def run():
        async with ScriptedCluster(2) as cluster, holdfast.connect(cluster.endpoints) as client:
            await client.put("k", "1")
            cluster.lead(2)
            await client.put("k", "2")
            await client.put("k", "3")
            return [len(node.operations) for node in cluster.nodes]

    assert asyncio.run(run()) == [2, 2]


def test_a_dead_leader_is_left_for_the_next_one():
    """Writes go on at the new leader after the old one's connection broke."""

    async def run():
        async with ScriptedCluster(3) as cluster, holdfast.connect(cluster.endpoints) as client:
            await client.put("k", "1")
            cluster.lead(3)
            await cluster.nodes[0].stop()
            return await client.put("k", "2"), len(cluster.nodes[2].operations)

    result, asked = asyncio.run(run())
    assert result.revision == 2
    assert asked == 1


@pytest.mark.parametrize(
    "reason", [Reason.NO_QUORUM, Reason.LEADERSHIP_LOST, Reason.STOPPED, Reason.DISK_FULL]
)
def test_a_leader_that_cannot_act_is_left_for_the_others(reason):
    """A leader without a quorum, leadership, life or disk is not asked for ever: another may lead by now."""

    async def run():
        async with ScriptedCluster(2) as cluster, holdfast.connect(cluster.endpoints) as client:
            await client.put("k", "1")
            cluster.lead(2)
            cluster.nodes[0].script = lambda _: refusal(reason)
            return await client.put("k", "2"), cluster.groups[0].applied

    result, applied = asyncio.run(run())
    assert (result.revision, applied) == (2, 2)


@pytest.mark.parametrize("answers_pings", [True, False], ids=["mute", "knows no pings"])
def test_a_hung_leader_is_left_by_itself(answers_pings):
    """A node that gives no sign of life is given up long before the deadline, and its connection too:
    a new stream by the same one would hang as well."""

    async def run():
        async with ScriptedCluster(2) as cluster:
            first = cluster.nodes[0]
            first.answers_pings = answers_pings
            async with holdfast.connect(cluster.endpoints) as client:
                await client.put("k", "1")
                first.script = lambda _: "silent"
                first.is_mute = True
                channels = client._backend.channels._channels
                before = channels[first.address]
                cluster.lead(2)
                result = await client.put("k", "2", timeout_s=30)
                return result, cluster.groups[0].applied, channels.get(first.address) is before

    result, applied, is_same_channel = asyncio.run(run())
    assert (result.revision, applied) == (2, 2)
    assert not is_same_channel


def test_a_node_that_was_silent_serves_again_once_it_welcomes_the_client(monkeypatch):
    """However long it stays suspect: that says where to ask first, not whom to give up."""
    monkeypatch.setattr("holdfast.router.SUSPECT_S_MAX", 300.0)

    async def run():
        async with ScriptedCluster(2) as cluster, holdfast.connect(cluster.endpoints) as client:
            first = cluster.nodes[0]
            await client.put("k", "1")
            first.script = lambda _: "silent"
            first.is_mute = True
            waiting = asyncio.ensure_future(client.put("k", "2", timeout_s=30))
            await first.until(lambda: first.pings > 0)
            first.script, first.is_mute = lambda _: None, False
            await waiting
            return len(first.hellos), cluster.groups[0].applied

    assert asyncio.run(run()) == (2, 2)


def test_a_node_that_lives_is_not_given_up_for_answers_that_take_long():
    """A shard without a leader says nothing for as long as an election takes; the stream stays."""

    async def run():
        async with ScriptedCluster(1) as cluster, holdfast.connect(cluster.endpoints) as client:
            node = cluster.nodes[0]
            await client.put("k", "1")
            node.script = lambda operation: "silent" if operation.key == b"slow" else None
            waiting = asyncio.ensure_future(client.put("slow", "1", timeout_s=30))
            await node.until(lambda: node.pings >= 4)
            result = await client.put("k", "2")
            waiting.cancel()
            return result.revision, len(node.hellos)

    assert asyncio.run(run()) == (2, 1)


def test_a_read_that_any_replica_may_serve_does_not_wait_for_a_silent_one():
    """It is asked of another one, and later ones go there at once; the silent node keeps its stream."""

    async def run():
        async with ScriptedCluster(2) as cluster, holdfast.connect(cluster.endpoints) as client:
            await client.put("k", "1")
            both = cluster.nodes
            while not all(node.frames for node in both):  # both streams stand
                await client.get("k", level=Level.ANY)
            client._backend.links.by_node[2].silence.can_ping = False  # what is held answers no pings
            held = both[1].held = asyncio.Event()
            before = len(both[1].frames)
            read = [await client.get("k", level=Level.ANY, timeout_s=30) for _ in range(20)]
            asked_while_silent = len(both[1].frames) - before
            held.set()
            both[1].held = None
            while len(both[1].frames) == before + asked_while_silent:  # it is asked again
                await client.get("k", level=Level.ANY, timeout_s=30)
            return [item.value for item in read], asked_while_silent, [len(node.hellos) for node in both]

    values, asked_while_silent, streams = asyncio.run(run())
    assert values == [b"1"] * 20
    assert asked_while_silent == 1
    assert streams == [1, 1]


def test_a_read_waits_for_a_silent_node_when_there_is_no_other():
    """And is asked once: what is under way is not sent again."""

    async def run():
        async with ScriptedCluster(1) as cluster, holdfast.connect(cluster.endpoints) as client:
            await client.put("k", "1")
            client._backend.links.by_node[1].silence.can_ping = False  # what is held answers no pings
            held = cluster.nodes[0].held = asyncio.Event()
            before = len(cluster.nodes[0].frames)
            reading = asyncio.ensure_future(client.get("k", level=Level.ANY, timeout_s=30))
            await asyncio.sleep(0.5)
            held.set()
            return (await reading).value, len(cluster.nodes[0].frames) - before

    assert asyncio.run(run()) == (b"1", 1)


def test_refused_by_every_attempt_is_refused():
    """Attempts that all say REFUSED end as a refusal with the last reason."""

    async def run():
        async with ScriptedCluster() as cluster, holdfast.connect(cluster.endpoints) as client:
            said = [refusal(Reason.BUSY, retry_after_ms=60_000), refusal(Reason.BUSY), refusal(Reason.BUSY)]
            cluster.nodes[0].script = lambda _: said.pop()
            await client.put("k", "v")

    with pytest.raises(RefusedError) as caught:
        asyncio.run(run())
    assert caught.value.reason is Reason.BUSY


def test_one_attempt_in_doubt_makes_the_outcome_unknown():
    """An unknown attempt followed by a final refusal is told as unknown, with the last reason."""

    async def run():
        async with ScriptedCluster() as cluster, holdfast.connect(cluster.endpoints) as client:
            said = [
                refusal(Reason.CONDITION_FAILED),
                refusal(Reason.LEADERSHIP_LOST, Outcome.UNKNOWN),
            ]
            cluster.nodes[0].script = lambda _: said.pop()
            await client.put("k", "v")

    with pytest.raises(UnknownOutcomeError) as caught:
        asyncio.run(run())
    assert caught.value.reason is Reason.CONDITION_FAILED


def test_a_broken_line_leaves_a_sent_write_in_doubt():
    """A write whose line broke, then refused by another attempt, is told as unknown."""

    async def run():
        async with ScriptedCluster() as cluster, holdfast.connect(cluster.endpoints) as client:
            said = [refusal(Reason.CONDITION_FAILED), "lose"]
            cluster.nodes[0].script = lambda _: said.pop()
            await client.put("k", "v")

    with pytest.raises(UnknownOutcomeError):
        asyncio.run(run())


def test_a_read_is_never_in_doubt():
    """A read has no effect: also a failure that a node calls unknown is told as refused."""

    async def run():
        async with ScriptedCluster() as cluster, holdfast.connect(cluster.endpoints) as client:
            cluster.nodes[0].script = lambda _: refusal(Reason.INTERNAL, Outcome.UNKNOWN)
            await client.get("k")

    with pytest.raises(RefusedError):
        asyncio.run(run())


@pytest.mark.parametrize("is_write", [True, False])
def test_at_the_deadline_only_a_sent_write_is_in_doubt(is_write):
    """No answer by the deadline: unknown for a write, refused for a read, which has no effect."""

    async def run():
        async with ScriptedCluster() as cluster, holdfast.connect(cluster.endpoints) as client:
            cluster.nodes[0].script = lambda _: "silent"
            await (client.put("k", "v", timeout_s=0.1) if is_write else client.get("k", timeout_s=0.1))

    with pytest.raises(UnknownOutcomeError if is_write else RefusedError) as caught:
        asyncio.run(run())
    assert caught.value.reason is Reason.DEADLINE


def test_a_write_that_never_left_is_refused():
    """With the only node gone nothing is sent: the deadline ends it as refused."""

    async def run():
        async with ScriptedCluster() as cluster, holdfast.connect(cluster.endpoints) as client:
            stream = client._backend.links.by_node[1]
            await cluster.nodes[0].stop()
            await stream.ended.wait()
            await client.put("k", "v", timeout_s=0.2)

    with pytest.raises(RefusedError):
        asyncio.run(run())


def test_closing_leaves_sent_writes_in_doubt():
    """aclose ends what is under way: a sent write as unknown, never as refused."""

    async def run():
        async with ScriptedCluster() as cluster:
            client = await holdfast.connect(cluster.endpoints)
            node = cluster.nodes[0]
            node.script = lambda _: "silent"
            writing = asyncio.ensure_future(client.put("k", "v"))
            await node.until(lambda: node.frames)
            await client.aclose()
            await writing

    with pytest.raises(UnknownOutcomeError):
        asyncio.run(run())


def test_every_write_carries_the_time_it_is_void_after():
    """not_after is the group's stamp plus the caller's time; reads carry none."""

    async def run():
        async with ScriptedCluster() as cluster, holdfast.connect(cluster.endpoints) as client:
            session, told = client._backend, []

            def tell_stamp() -> None:
                told.append(session._clocks.stamp_at(2, 1000 * session._loop.time()))

            tell_stamp()
            writing = asyncio.ensure_future(client.put("k", "v", timeout_s=60))
            await asyncio.sleep(0)  # it is asked for in its first step
            tell_stamp()
            await writing
            await client.get("k")
            return told, cluster.nodes[0].operations

    (before, after), (write, read) = asyncio.run(run())
    assert before >= STAMP_MS + 2
    assert int(before) + 60_000 <= write.not_after_ms <= after + 60_000
    assert read.not_after_ms == 0


def test_the_answered_mark_stays_below_an_open_write():
    """answered_below is the lowest write the caller has no outcome of, else the next sequence."""

    async def run():
        async with ScriptedCluster() as cluster, holdfast.connect(cluster.endpoints) as client:
            node = cluster.nodes[0]
            await client.put("a", "1")
            node.script = lambda op: "silent" if op.key == b"open" else None
            waiting = asyncio.ensure_future(client.put("open", "2", timeout_s=0.5))
            await node.until(lambda: len(node.frames) == 2)
            await client.put("b", "3")
            with pytest.raises(UnknownOutcomeError):
                await waiting
            await client.get("c")
            return [(f.operations[0].sequence, f.answered_below) for f in node.frames]

    (_, one), (open_write, two), (_, three), (_, four) = asyncio.run(run())
    assert (one, two, three) == (1, open_write, open_write)
    assert four > open_write


def test_sequences_are_unique_and_grow():
    """Reads and writes share one counter; no sequence is used twice."""

    async def run():
        async with ScriptedCluster() as cluster, holdfast.connect(cluster.endpoints) as client:
            await asyncio.gather(
                *(client.put("k", "v") for _ in range(5)), *(client.get("k") for _ in range(5))
            )
            return [op.sequence for op in cluster.nodes[0].operations]

    found = asyncio.run(run())
    assert found == sorted(set(found))


def test_a_cancelled_call_leaves_the_session_whole():
    """A caller that gives up does not disturb the others, nor hold the answered mark for ever."""

    async def run():
        async with ScriptedCluster() as cluster, holdfast.connect(cluster.endpoints) as client:
            node = cluster.nodes[0]
            node.held = asyncio.Event()
            writing = asyncio.ensure_future(client.put("k", "v"))
            await node.until(lambda: node.frames)
            writing.cancel()
            await asyncio.wait([writing])
            node.held.set()
            await client.put("k", "w")
            return (await client.get("k")).value, client._backend._writes

    assert asyncio.run(run()) == (b"w", {})


def test_a_split_shard_is_followed_by_the_answer():
    """WRONG_SHARD with the new entries moves the operation to the new group's node without asking anyone."""

    async def run():
        async with ScriptedCluster(2) as cluster, holdfast.connect(cluster.endpoints) as client:
            await client.put("a", "1")
            old = cluster.groups[0]
            left, right = Group(10, b"", b"m"), Group(11, b"m", b"")
            left.store = right.store = old.store
            left.leader = right.leader = 2
            cluster.groups, cluster.epoch = [left, right], 2
            cluster._told = {10: 1, 11: 1}
            said = refusal(Reason.WRONG_SHARD, shards=[cluster.shard_message(g) for g in (left, right)])
            cluster.nodes[0].script = lambda _: said
            return await client.put("a", "2"), [len(node.operations) for node in cluster.nodes]

    result, asked = asyncio.run(run())
    assert result.revision == 2
    assert asked == [2, 1]


def test_a_wrong_shard_without_entries_is_repaired_by_the_map():
    """When the answer brings no entries, the session asks for the map and goes on."""

    async def run():
        async with ScriptedCluster(2) as cluster, holdfast.connect(cluster.endpoints) as client:
            await client.put("a", "1")
            group = Group(10, b"", b"")
            group.store, group.leader = cluster.groups[0].store, 2
            cluster.groups, cluster.epoch, cluster._told = [group], 2, {10: 1}
            cluster.nodes[0].script = lambda _: refusal(Reason.WRONG_SHARD)
            return await client.put("a", "2")

    assert asyncio.run(run()).revision == 2


def test_a_lagging_replica_is_left_for_another():
    """A session read that a replica cannot serve yet is asked elsewhere at once."""

    async def run():
        async with ScriptedCluster(2) as cluster, holdfast.connect(cluster.endpoints) as client:
            while len(client._backend.router.ready) < 2:
                await client.get("k", level=Level.SESSION)
            lagging = cluster.nodes[1]
            lagging.script = lambda _: refusal(Reason.LAGGING, applied_index=1)
            lagging.frames.clear()
            served_by = set()
            while not lagging.operations:  # its turn comes
                reads = (client.get("k", level=Level.SESSION) for _ in range(10))
                served_by |= {reading.served.node for reading in await asyncio.gather(*reads)}
            return served_by, [op.sequence for op in lagging.operations]

    served_by, asked = asyncio.run(run())
    assert served_by == {1}
    assert len(asked) == len(set(asked))


def test_a_replica_that_refuses_is_not_asked_again_in_its_turn(monkeypatch):
    """However many reads go there together: only the first of them find out."""
    monkeypatch.setattr("holdfast.router.READER_TURN_S", 3600.0)

    async def run():
        async with ScriptedCluster(3) as cluster, holdfast.connect(cluster.endpoints) as client:
            while len(client._backend.router.ready) < 3:
                await client.get("k", level=Level.SESSION)
            lagging = cluster.nodes[(await client.get("k", level=Level.SESSION)).served.node - 1]
            lagging.script = lambda _: refusal(Reason.LAGGING, applied_index=1)
            lagging.frames.clear()
            for _ in range(4):
                await asyncio.gather(*(client.get("k", level=Level.SESSION) for _ in range(3)))
            return len(lagging.operations)

    assert asyncio.run(run()) == 3


def test_a_goodbye_moves_what_follows_elsewhere():
    """After a node said goodbye nothing more is sent there."""

    async def run():
        async with ScriptedCluster(2) as cluster, holdfast.connect(cluster.endpoints) as client:
            node = cluster.nodes[0]
            node.held = asyncio.Event()
            writing = asyncio.ensure_future(client.put("k", "1"))
            await node.until(lambda: node.frames)
            node.say_goodbye()
            node.held.set()
            await writing  # what was sent before is still answered, after the goodbye
            cluster.lead(2)
            await client.put("k", "2")
            return [len(node.operations) for node in cluster.nodes]

    assert asyncio.run(run()) == [1, 1]


def test_a_session_that_has_seen_too_much_reads_linearizable():
    """With the token full a SESSION read is asked LINEARIZABLE, and the token cannot be exported."""

    async def run():
        async with ScriptedCluster() as cluster, holdfast.connect(cluster.endpoints) as client:
            for n in range(1100):
                entry = TokenEntry(b"%08d" % (2 * n), b"%08d" % (2 * n + 1), 2, 1)
                client._backend.token.raise_to(entry)
            await client.put("k", "v")
            await client.get("k", level=Level.SESSION)
            with pytest.raises(RefusedError):
                _ = client.token
            return cluster.nodes[0].operations[-1]

    assert asyncio.run(run()).get.level in {0, 1}
