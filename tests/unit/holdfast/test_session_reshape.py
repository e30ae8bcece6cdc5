"""Shards split, merge and move under a session: its callers see nothing but a short wait."""

import asyncio

import holdfast
import pytest
from holdfast import Compare, Level, Reason, RefusedError, Step, retry, router, wire
from holdfast.session import Session
from holdfast.token import Token, TokenEntry

from tests.unit.holdfast import pauses
from tests.unit.holdfast.reshaped_cluster import PAUSE_MS, ReshapedCluster
from tests.unit.holdfast.scripted_node import refusal


def keys_of(node) -> list[bytes]:
    return [operation.key for operation in node.operations]


async def until(holds) -> None:
    """Waits for what the session does by itself."""
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.001)


@pytest.fixture
def always_young(monkeypatch):
    """However slow the machine: a group that was learned of in a test is young until the test ends."""
    monkeypatch.setattr(router, "YOUNG_S", 3600.0)


async def connected(client, nodes: int) -> None:
    """Waits for a stream to each node: a Welcome that comes later would bring the map."""
    await client.get("k", level=Level.ANY)
    await until(lambda: len(client._backend.router.ready) == nodes)


def test_a_frame_is_packed_anew_for_the_targets_of_its_operations():
    """One sealed source, two targets on two nodes: each operation goes to its own, all at once, in order."""

    async def run():
        async with ReshapedCluster(3) as cluster, holdfast.connect(cluster.endpoints) as client:
            await client.put("a", "0")
            cluster.split(b"m", aware=(2, 3), lead=(2, 3))
            keys = [b"a", b"z", b"b", b"y", b"a", b"z"]
            waited = pauses.of_session(client)
            await asyncio.gather(*(client.put(key, str(n)) for n, key in enumerate(keys)))
            frames = [[len(frame.operations) for frame in node.frames] for node in cluster.nodes]
            asked = [keys_of(node) for node in cluster.nodes]
            names = [[op.sequence for op in node.operations] for node in cluster.nodes]
            values = [(await client.get(key)).value for key in (b"a", b"z")]
            return frames, asked, names, values, waited, [node.maps_asked for node in cluster.nodes]

    frames, asked, names, values, waited, maps = asyncio.run(run())
    assert frames == [[1, 6], [3], [3]]
    assert asked[1:] == [[b"a", b"b", b"a"], [b"z", b"y", b"z"]]
    assert sorted(names[1] + names[2]) == names[0][1:]
    assert values == [b"4", b"5"]
    assert waited == [0.0] * 6
    assert maps == [0, 0, 0]


def test_operations_of_two_frames_follow_at_once_though_the_first_has_told():
    """Who is told what the session already knows is sent on without a wait and without asking for the map."""

    async def run():
        async with ReshapedCluster(2) as cluster, holdfast.connect(cluster.endpoints) as client:
            node = cluster.nodes[0]
            await client.put("a", "0")
            node.held = asyncio.Event()
            first = asyncio.ensure_future(client.put("a", "1"))
            await node.until(lambda: len(node.frames) == 2)
            second = asyncio.ensure_future(client.put("b", "2"))
            await until(lambda: all(call.frame for call in client._backend._writes.values()))
            cluster.split(b"m", aware=(2,))
            waited = pauses.of_session(client)
            node.held.set()
            await asyncio.gather(first, second)
            frames = [len(frame.operations) for frame in node.frames]
            return frames, waited, sum(n.maps_asked for n in cluster.nodes)

    assert asyncio.run(run()) == ([1, 1, 1], [0.0, 0.0], 0)


def test_half_of_a_split_is_adopted_and_the_rest_is_learned_when_it_is_met():
    """A source that names one of two targets: that half moves at once, the other is still asked there."""

    async def run():
        async with ReshapedCluster(2) as cluster, holdfast.connect(cluster.endpoints) as client:
            await client.put("z", "0")
            await connected(client, 2)
            cluster.told = 1
            cluster.split(b"m", aware=(2,))
            await client.put("a", "1")
            known = [client._backend.map.locate("default", key).group for key in (b"a", b"z")]
            cluster.told = 2
            await client.put("z", "2")
            return known, [client._backend.map.locate("default", key).group for key in (b"a", b"z")]

    assert asyncio.run(run()) == ([10, 2], [10, 11])


def test_a_map_that_does_not_know_the_split_does_not_undo_it():
    """The map of a node that lags names the source; its targets stay, as their ids are greater."""

    async def run():
        async with ReshapedCluster(2) as cluster, holdfast.connect(cluster.endpoints) as client:
            await client.put("a", "0")
            cluster.split(b"m", aware=(2,))
            await client.put("a", "1")
            session = client._backend
            session.refresh_map(cluster.nodes[0].address)
            await until(lambda: not session._refreshing)
            return cluster.nodes[0].maps_asked, session.map.locate("default", b"z").group

    assert asyncio.run(run()) == (1, 11)


def test_a_write_that_took_effect_before_the_seal_is_answered_by_the_target():
    """The answer is lost, then the shard splits: the repeat finds its record in the target and runs once."""

    async def run():
        async with ReshapedCluster(2) as cluster, holdfast.connect(cluster.endpoints) as client:
            node, source = cluster.nodes[0], cluster.groups[0]
            await client.get("n")

            def lose(_):
                node.script = lambda _: None
                asyncio.get_running_loop().call_soon(split)
                return "lose"

            def split():
                cluster.split(b"m", aware=(2,))

            node.script = lose
            result = await client.increment("n", 5)
            return result.value, source.applied, [group.applied for group in cluster.groups]

    assert asyncio.run(run()) == (5, 1, [0, 0])


def test_two_shards_become_one_under_running_writes():
    """Both sources name the one target; what was asked of either goes there."""

    async def run():
        async with ReshapedCluster(2, (b"m",)) as cluster, holdfast.connect(cluster.endpoints) as client:
            await asyncio.gather(client.put("a", "1"), client.put("z", "2"))
            cluster.merge(12, aware=(2,))
            await asyncio.gather(client.put("a", "3"), client.put("z", "4"))
            shards = {client._backend.map.locate("default", key) for key in (b"a", b"m", b"z")}
            return [len(node.operations) for node in cluster.nodes], {shard.group for shard in shards}

    assert asyncio.run(run()) == ([4, 2], {12})


def test_an_undecided_merge_costs_no_retry_budget():
    """A source that is sealed for a merge says BUSY and why: callers wait in short pauses, however many."""

    async def run():
        async with ReshapedCluster(2, (b"m",)) as cluster, holdfast.connect(cluster.endpoints) as client:
            session: Session = client._backend
            await client.put("a", "0")
            source = cluster.groups[0]
            cluster.merge(12, aware=(2,))
            source.merging = True
            session._budget._left = 0.0
            waited = pauses.of_session(client)
            writing = [asyncio.ensure_future(client.put(f"a{n}", "1", timeout_s=60)) for n in range(20)]
            await until(lambda: len(waited) >= 20 * 6 or any(task.done() for task in writing))
            undecided = list(waited)
            waiting = [task.done() for task in writing]
            known = session.map.locate("default", b"a").group
            source.merging = False
            await asyncio.gather(*writing)
            return any(waiting), known, undecided, waited[len(undecided) :]

    done, known, undecided, decided = asyncio.run(run())
    short_s = PAUSE_MS / 1000, 1.5 * PAUSE_MS / 1000
    assert not done
    assert known == 2
    assert short_s[0] <= min(undecided) <= max(undecided) <= short_s[1]
    assert max(decided) <= short_s[1]


def test_a_group_without_a_leader_yet_is_asked_again_soon(always_young):
    """A target elects within tens of ms: the first waits are short, whatever the call went through before."""

    async def run():
        async with ReshapedCluster(3) as cluster, holdfast.connect(cluster.endpoints) as client:
            await client.put("a", "0")
            left, _ = cluster.split(b"m", aware=(2, 3), lead=(0, 0))
            waited = pauses.of_session(client)
            writing = asyncio.ensure_future(client.put("a", "1", timeout_s=60))
            await until(lambda: len(waited) >= 24)
            left.leader = 3
            await writing
            return waited, [node.maps_asked for node in cluster.nodes]

    waited, maps = asyncio.run(run())
    assert 0 < max(waited) <= retry.YOUNG_WAIT_MS / 1000
    assert maps == [0, 0, 0]  # no map knows more than the Seal has told


def test_a_target_is_first_asked_where_it_should_be_led():
    """Nobody knows a leader yet: the replica that is named first is the one to ask."""

    async def run():
        async with ReshapedCluster(3) as cluster, holdfast.connect(cluster.endpoints) as client:
            await client.put("a", "0")
            cluster.move(10, (1, 2, 3), aware=(2, 3), lead=(3,))
            await client.put("a", "1")
            return [len(node.operations) for node in cluster.nodes]

    assert asyncio.run(run()) == [2, 0, 1]


def test_targets_on_new_nodes_are_dialled_at_once():
    """All nodes of the targets are connected to when they are learned of; operations just wait for theirs."""

    async def run():
        async with ReshapedCluster(4) as cluster:
            cluster.groups[0].nodes = (1, 2)
            async with holdfast.connect(cluster.endpoints[:1]) as client:
                await client.put("a", "0")
                cluster.move(10, (3, 4), aware=(3, 4), lead=(4,))
                result = await client.put("a", "1")
                await cluster.nodes[2].until(lambda: cluster.nodes[2].hellos)
                return result.revision, [len(node.hellos) for node in cluster.nodes[2:]]

    assert asyncio.run(run()) == (2, [1, 1])


def test_a_node_that_already_serves_the_target_teaches_the_map():
    """Routed by key, an operation is served by the later group without a refusal: the session learns it."""

    async def run():
        async with ReshapedCluster(2) as cluster, holdfast.connect(cluster.endpoints) as client:
            await client.put("z", "0")
            await connected(client, 2)
            cluster.split(b"m", aware=(1, 2), lead=(1, 2))
            await client.put("z", "1")
            await until(lambda: client._backend.map.locate("default", b"z").group == 11)
            for node in cluster.nodes:
                node.frames.clear()
            await asyncio.gather(*(client.put(key, "2") for key in ("a", "z", "b", "y")))
            return [keys_of(node) for node in cluster.nodes], sum(n.maps_asked for n in cluster.nodes)

    assert asyncio.run(run()) == ([[b"a", b"b"], [b"z", b"y"]], 1)


def test_every_wrong_answer_in_flight_asks_for_one_map():
    """However many operations are told WRONG_SHARD without entries, one GetMap is under way."""

    async def run():
        async with ReshapedCluster(2) as cluster, holdfast.connect(cluster.endpoints) as client:
            await client.put("a", "0")
            node = cluster.nodes[0]
            left = [100]

            def bare(_):
                left[0] -= 1
                return refusal(Reason.WRONG_SHARD) if left[0] >= 0 else None

            node.script = bare
            await asyncio.gather(*(client.put(f"a{n}", "1") for n in range(100)))
            return sum(n.maps_asked for n in cluster.nodes)

    assert asyncio.run(run()) == 1


def test_writes_of_a_key_keep_their_order_while_they_wait_for_a_leader():
    """A write that is asked while an earlier one of its key is being tried again does not overtake it."""

    async def run():
        async with ReshapedCluster(2) as cluster, holdfast.connect(cluster.endpoints) as client:
            await client.put("a", "0")
            cluster.split(b"m", aware=(2,), lead=(0, 0))
            writing = []
            for n in range(1, 12):
                writing.append(asyncio.ensure_future(client.put("a", str(n))))
                await asyncio.sleep(0.004)
            await until(lambda: client._backend._waiting._slots)
            cluster.groups[0].leader = 2  # in this very call: once it leads nobody may be waiting any more
            writing.append(asyncio.ensure_future(client.put("a", "12")))
            await asyncio.gather(*writing)
            return [event.value for event in cluster.groups[0].store.events]

    assert asyncio.run(run()) == [b"%d" % n for n in range(13)]


def test_what_was_told_where_to_go_leaves_within_the_same_call():
    """Nothing else runs between the answer and the new attempt: no later write can come first."""

    async def run():
        async with ReshapedCluster(2) as cluster, holdfast.connect(cluster.endpoints) as client:
            await connected(client, 2)
            session = client._backend
            stream, waiting = session.links.by_node[1], []
            settle = stream._settle

            def watched(response):
                settle(response)
                waiting.append(repr(session._waiting))

            stream._settle = watched
            cluster.split(b"m", aware=(2,))
            await asyncio.gather(client.put("a", "1"), client.put("z", "2"))
            return waiting

    assert set(asyncio.run(run())) == {"<WaitingRoom, 0 waiting>"}


def test_a_write_that_a_merge_made_too_late_is_stamped_anew():
    """The target goes on with the later clock: a write refused for that, and not in doubt, is not lost."""

    async def run():
        async with ReshapedCluster(2, (b"m",)) as cluster, holdfast.connect(cluster.endpoints) as client:
            cluster.groups[1].stamp_ms += 60_000
            client._backend._clocks.learn(3, 0, 0.0)
            await client.put("a", "0")
            cluster.merge(12, aware=(2,))
            return (await client.put("a", "1")).revision, cluster.groups[0].applied

    assert asyncio.run(run()) == (2, 1)


def test_a_session_read_that_a_later_group_has_served_refreshes_the_map_and_goes_on():
    """SUPERSEDED brings no entries: the map is asked for, the read is served, nobody is told."""

    async def run():
        async with ReshapedCluster(2) as cluster, holdfast.connect(cluster.endpoints) as client:
            await client.put("a", "1")
            cluster.move(10, (2,), aware=(2,))
            cluster.nodes[0].script = lambda _: refusal(Reason.WRONG_SHARD)
            cluster.epoch, cluster.nodes[0].groups = 2, None
            found = await client.get("a", level=Level.SESSION)
            return found.value, found.served.node

    assert asyncio.run(run()) == (b"1", 2)


def test_the_token_follows_the_shards():
    """A target's entries replace the source's for their keys; a merge leaves one entry."""

    async def run():
        async with ReshapedCluster(1) as cluster, holdfast.connect(cluster.endpoints) as client:
            await client.put("a", "1")
            cluster.split(b"m", aware=(1,))
            await client.put("a", "2")
            split = [(e.start[8:], e.group) for e in client._backend.token.entries]
            cluster.merge(12, aware=(1,))
            await client.put("z", "3")
            return split, [(e.start[8:], e.group) for e in client._backend.token.entries]

    assert asyncio.run(run()) == ([(b"", 10), (b"m", 2)], [(b"", 12)])


def test_a_full_token_shrinks_with_a_merge():
    """Entries that a target covers are dropped."""
    token = Token("c", [TokenEntry(b"%04d" % n, b"%04d" % (n + 1), 2 + n, 5) for n in range(1000)])

    assert token.raise_to(TokenEntry(b"0000", b"2000", 5000, 1))
    assert len(token.entries) == 1


def test_a_transaction_over_what_was_merged_is_not_refused_by_a_node_that_lags():
    """The target's node may know the merge last: its CROSS_SHARD by the old map is waited out."""

    async def run():
        async with ReshapedCluster(2, (b"m",)) as cluster, holdfast.connect(cluster.endpoints) as client:
            await client.put("a", "1")
            sources, target = list(cluster.groups), cluster.merge(12, lead=(2,))
            for source in sources:
                source.after = []  # not sealed, as far as the nodes know
            client._backend.learn_shards([wire.shard(cluster.shard_message(target))])
            asyncio.get_running_loop().call_later(0.05, cluster.publish)
            done = await client.txn([Compare.exists("a")], [Step.put("a", "2"), Step.put("z", "3")])
            return done.succeeded

    assert asyncio.run(run())


def test_a_transaction_over_what_was_cut_is_refused():
    """Keys that lie in two shards now: CROSS_SHARD, to the caller."""

    async def run():
        async with ReshapedCluster(1) as cluster, holdfast.connect(cluster.endpoints) as client:
            await client.put("a", "1")
            cluster.split(b"m", aware=(1,))
            await client.txn((), [Step.put("a", "2"), Step.put("z", "3")])

    with pytest.raises(RefusedError) as caught:
        asyncio.run(run())
    assert caught.value.reason is Reason.CROSS_SHARD


def test_a_cluster_that_moved_while_the_client_slept_is_found_by_its_endpoints():
    """No node of the map answers any more: the endpoints the user gave are asked, and bring the map."""

    async def run():
        async with ReshapedCluster(3) as cluster:
            cluster.groups[0].nodes = (2,)
            cluster.lead(2)
            async with holdfast.connect(cluster.endpoints[:1]) as client:
                await client.put("a", "1")
                cluster.move(10, (3,), lead=(3,))
                cluster.publish()
                first = client._backend.links.by_node[1]
                address = cluster.nodes[0].address
                await cluster.nodes[0].stop()
                await cluster.nodes[1].stop()
                await first.ended.wait()
                cluster.nodes[0].address = address
                await cluster.nodes[0].start()
                result = await client.put("a", "2")
                return result.revision, len(cluster.nodes[2].operations)

    assert asyncio.run(run()) == (2, 1)


def test_callers_and_watchers_notice_nothing_of_many_reshapes(always_young):
    """Counters are exact, session reads never step back, a watch is gap-free, and nobody pauses for long."""

    async def count(client, key: str, told: list[tuple[int, int]], over: asyncio.Event) -> None:
        while not over.is_set():
            added = await client.increment(key, 1)
            found = await client.get(key, level=Level.SESSION)
            told.append((added.value, int(found.value or 0)))

    async def reshape(cluster, counted, waited: list[float]) -> None:
        async def progress() -> None:
            wanted = [len(seen) + 5 for seen in counted]
            await until(lambda: all(len(seen) >= n for seen, n in zip(counted, wanted, strict=True)))

        number = 10
        for at in (b"m", b"f", b"m", b"t"):
            await progress()
            aware, before = (2, 3) if number % 4 == 2 else (1, 3), len(waited)
            if len(cluster.groups) > 1:
                cluster.merge(number, aware=aware, lead=(0,))
            else:
                cluster.split(at, (number, number + 1), aware=aware, lead=(0, 0))
            await until(lambda before=before: any(waited[before:]))  # somebody waits for the election
            cluster.lead(aware[0])
            await progress()
            cluster.publish()
            number += 2
        await progress()

    async def run():
        async with ReshapedCluster(3) as cluster, holdfast.connect(cluster.endpoints, timeout_s=60) as client:
            told: dict[str, list[tuple[int, int]]] = {key: [] for key in ("a", "h", "p", "z")}
            over, waited, watches_waited = (
                asyncio.Event(),
                pauses.of_session(client),
                pauses.of_watches(client),
            )
            watch = client.watch()
            await until(lambda: any(node.watchers for node in cluster.nodes))
            async with asyncio.TaskGroup() as tasks:
                for key, seen in told.items():
                    tasks.create_task(count(client, key, seen, over))
                await reshape(cluster, told.values(), waited)
                over.set()
            async with asyncio.timeout(30):
                events = [await anext(watch) for _ in range(sum(map(len, told.values())))]
            await watch.aclose()
            return told, events, waited + watches_waited

    told, events, waited = asyncio.run(run())
    for key, seen in told.items():
        assert seen == [(n, n) for n in range(1, len(seen) + 1)]
        values = [int(event.value) for event in events if event.key == key.encode()]
        assert values == list(range(1, len(seen) + 1))
    assert max(waited) <= retry.YOUNG_WAIT_MS / 1000
