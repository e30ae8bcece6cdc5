"""What can be done to a cluster, each with how it heals.

A fault is a function of (schedule, act): it does its harm and returns how to end it, or None when there
was nothing to harm: then it has not fired.
"""

from __future__ import annotations

import errno
import random
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from holdfast_node.cache.commands import Run, encode_batch
from holdfast_node.cache.policy import Eviction, Policy
from holdfast_raft.sim import MachineGone, SimDisk, usual_seconds

from tests.sim.book import WALL_MS

if TYPE_CHECKING:
    from tests.sim.cluster import SimNode
    from tests.sim.plan import Act
    from tests.sim.schedule import Schedule

Heal = Callable[[], None]
Fault = Callable[["Schedule", "Act"], Heal | None]


def _nothing() -> None: ...


def _kill(schedule: Schedule, act: Act) -> Heal | None:
    node = schedule.target(act)
    if node.driver is None:
        return None
    node.kill()
    return lambda: schedule.start(node)


def _power(schedule: Schedule, act: Act) -> Heal | None:
    """The machine: what was not synced may be gone. Also of one whose process was gone before.

    Half of them fall silent, as a machine does: its peers see no connection close.
    """
    node, cluster = schedule.target(act), schedule.cluster
    lanes = [
        lane
        for other in cluster.others(node)
        for lane in ((node.number, other.number), (other.number, node.number))
    ]
    if act.how % 2:
        for source, target in lanes:
            cluster.network.stall(source, target)
    node.lose_power()

    def heal() -> None:
        for source, target in lanes:
            cluster.network.unstall(source, target)
        schedule.start(node)

    return heal


def _all(how: Callable[[SimNode], None]) -> Fault:
    def fire(schedule: Schedule, act: Act) -> Heal | None:
        nodes = list(schedule.cluster.nodes.values())
        if not any(node.driver for node in nodes):
            return None
        for node in nodes:
            how(node)

        def heal() -> None:
            for node in nodes:
                schedule.start(node)

        return heal

    return fire


def _crash_loop(schedule: Schedule, act: Act) -> Heal | None:
    """Again and again, before it is quite up."""
    node, rng = schedule.target(act), random.Random(act.how)
    if node.driver is None:
        return None

    def again(left: int) -> None:
        node.lose_power() if rng.random() < 0.5 else node.kill()
        if left:
            schedule.later(rng.uniform(0.001, 0.02), lambda: schedule.start(node))
            schedule.later(rng.uniform(0.02, 0.2), lambda: again(left - 1))

    again(rng.randint(2, 4))
    return lambda: schedule.start(node)


def _crash_point(schedule: Schedule, act: Act) -> Heal | None:
    """The node ends right before or after one of its next disk calls; perhaps while it starts, or again."""
    node, rng = schedule.target(act), random.Random(act.how)
    disk = node.disk
    if node.driver is None or disk.fail is not None or disk.after is not None:
        return None

    def arm(calls: tuple[str, ...], folders: tuple[str, ...], left: int) -> None:
        after, power = rng.random() < 0.5, rng.random() < 0.7

        def reached(what: str, path: str) -> None:
            nonlocal left
            if what not in calls or not path.startswith(folders):
                return
            left -= 1
            if left > 0:
                return
            disk.fail = disk.after = None
            schedule.fired["crash-point"] += 1
            place = call_site()
            schedule.crash_points.add((place, "after" if after else "before"))
            schedule.say(f"node {node.number} ends {'after' if after else 'before'} {what} {path} at {place}")
            node.lose_power() if power else node.kill()
            schedule.later(act.lasts, lambda: schedule.start(node))
            if not power and rng.random() < 0.6:  # the process was the first to go: the machine follows
                schedule.later(act.lasts + rng.uniform(0.005, 0.1), node.lose_power)
                schedule.later(act.lasts + 0.12, lambda: schedule.start(node))
            elif rng.random() < 0.5:
                arm(NAMES, (rng.choice(("wal", "snapshots")),), rng.choice((1, 1, 2, 3)))
            raise MachineGone

        if after:
            disk.after = reached
        else:
            disk.fail = reached

    schedule.fired["crash-point"] -= 1  # counted when it is reached
    if rng.random() < 0.3:
        node.lose_power() if rng.random() < 0.5 else node.kill()
        arm(CHANGES, ("wal", "snapshots"), rng.choice((1, 2, 3, 4, 6)))
        schedule.start(node)
    else:
        calls = rng.choice((CHANGES, *((call,) for call in CHANGES)))
        arm(calls, (rng.choice(("wal", "snapshots")),), rng.choice((1, 1, 2, 3, 6)))
    return _nothing


NAMES = ("create", "rename", "unlink", "sync_dir")
ROOMY = SimDisk(random.Random(0)).space
CHANGES = ("write", "sync", *NAMES)
READS = frozenset(("open", "read"))


def call_site() -> str:
    """The first line outside the simulated disk that led to the present disk call: module:line."""
    frame = sys._getframe(1)
    while "/sim" in frame.f_code.co_filename:
        assert frame.f_back is not None
        frame = frame.f_back
    return f"{frame.f_code.co_filename.rsplit('/', 1)[-1]}:{frame.f_lineno}"


def _pause(schedule: Schedule, act: Act) -> Heal | None:
    """SIGSTOP; of several nodes when `how` says so."""
    cluster = schedule.cluster
    first = schedule.target(act)
    nodes = [first] if act.how % 4 else [n for n in cluster.nodes.values() if n is not first]
    nodes = [node for node in nodes if node.driver is not None]
    if not nodes:
        return None
    for node in nodes:
        cluster.world.pause(node.number)

    def heal() -> None:
        for node in nodes:
            cluster.world.resume(node.number)

    return heal


def _cut(schedule: Schedule, act: Act) -> Heal | None:
    a, b = schedule.pair(act)
    if a == b:
        return None
    schedule.cluster.network.cut(a, b)
    return lambda: schedule.cluster.network.heal(a, b)


def _isolate(schedule: Schedule, act: Act) -> Heal | None:
    node, cluster = schedule.target(act), schedule.cluster
    if len(cluster.nodes) == 1:
        return None
    with_it = cluster.others(node)[: len(cluster.nodes) // 2] if act.how % 3 == 0 else []
    rest = cluster.others(node, *with_it)
    pairs = [(inside.number, outside.number) for inside in [node, *with_it] for outside in rest]
    for a, b in pairs:
        cluster.network.cut(a, b)

    def heal() -> None:
        for a, b in pairs:
            cluster.network.heal(a, b)

    return heal


def _stall(schedule: Schedule, act: Act) -> Heal | None:
    """A blackhole: one direction of one link, or all that a node sends, or all that it receives."""
    node, cluster = schedule.target(act), schedule.cluster
    others = [other.number for other in cluster.others(node)]
    if not others:
        return None
    if act.how % 3 == 0:
        others = others[act.how % len(others) :][:1]
    outward = act.how % 2 == 0
    lanes = [(node.number, o) if outward else (o, node.number) for o in others]
    for source, target in lanes:
        cluster.network.stall(source, target)

    def heal() -> None:
        for source, target in lanes:
            cluster.network.unstall(source, target)

    return heal


def _reset(schedule: Schedule, act: Act) -> Heal | None:
    """Connections break, what is under way is lost, and they come back; a few times."""
    node, cluster = schedule.target(act), schedule.cluster
    others = cluster.others(node)
    if not others or node.driver is None:
        return None

    def again(left: int) -> None:
        for other in others:
            cluster.network.reset(node.number, other.number)
        if left:
            schedule.later(0.05, lambda: again(left - 1))

    again(act.how % 3)
    return _nothing


def _slow_link(schedule: Schedule, act: Act) -> Heal | None:
    a, b = schedule.pair(act)
    if a == b:
        return None
    seconds = ((0.0001, 0.05), (0.03, 0.09), (0.1, 0.2))[act.how % 3]
    lanes = [(a, b), (b, a)] if act.how % 2 else [(a, b)]
    links, notice = schedule.cluster.network.link_seconds, schedule.cluster.network
    for lane in lanes:
        links[lane] = seconds
    notice.notice_seconds = (0.0, 0.3) if act.how % 5 == 0 else notice.notice_seconds

    def heal() -> None:
        for lane in lanes:
            links.pop(lane, None)
        notice.notice_seconds = (0.0, 0.0)

    return heal


def _slow_disk(schedule: Schedule, act: Act) -> Heal | None:
    node = schedule.target(act)
    thread = ("wal", "files")[act.how % 2]
    node.seconds[thread] = ((0.005, 0.03), (0.05, 0.1), (0.2, 0.4))[act.how % 3]

    def heal() -> None:
        node.seconds[thread] = usual_seconds()[thread]

    return heal


def _eio(schedule: Schedule, act: Act) -> Heal | None:
    """One of the next writes, syncs or renames fails. The process ends; the page cache tells lies."""
    node, rng = schedule.target(act), random.Random(act.how)
    disk, faulty = node.disk, schedule.cluster.oracle.disk_faulty
    if node.driver is None or disk.fail is not None or disk.after is not None:
        return None
    left, reads = rng.randint(1, 6), rng.random() < 0.3

    def fail(what: str, path: str) -> None:
        nonlocal left
        if (what in READS) != reads or (reads and not path.startswith("snapshots")):
            return
        left -= 1
        if left == 0:
            schedule.fired["eio"] += 1
            faulty.add(node.number)
            if path.startswith("wal"):
                schedule.doomed.add(node.number)
            raise OSError(errno.EIO, "Input/output error", path)

    disk.fail = fail
    schedule.fired["eio"] -= 1  # counted when it has failed

    def heal() -> None:
        disk.fail = None
        if node.driver is None or node.number in schedule.doomed:
            node.lose_power()
            schedule.start(node)
        faulty.discard(node.number)

    return heal


def _full(schedule: Schedule, act: Act) -> Heal | None:
    """No more room than is used now, and perhaps a little; the node may start on a full disk."""
    node = schedule.target(act)
    disk = node.disk
    disk.space = disk.used() + act.how % 3 * 3000
    if act.how % 4 == 0:
        node.kill()
        schedule.later(0.02, lambda: schedule.start(node))

    elif node.driver is not None:
        for group in node.driver.groups.values():
            group.want_snapshot()
    refusals = disk.refusals
    schedule.fired["full"] -= 1  # counted when a call has found no room

    def heal() -> None:
        schedule.fired["full"] += disk.refusals > refusals
        disk.space = ROOMY

    return heal


def _transfer(schedule: Schedule, act: Act) -> Heal | None:
    cluster = schedule.cluster
    fired = False
    for node in cluster.nodes.values():
        for group in cluster.groups:
            if node.driver is not None and group in node.driver.groups and node.group(group).is_leader:
                to = act.target or None
                node.group(group).transfer(to, node.monotonic() + 0.5, lambda _: None)
                fired = True
    return _nothing if fired else None


def _ping_pong(schedule: Schedule, act: Act) -> Heal | None:
    """The leadership goes away and comes back while what a follower said in between is still under way."""
    cluster = schedule.cluster
    number = min(cluster.groups)
    first = cluster.leader(number)
    if first is None:
        return None
    others = [node for node in cluster.others(first) if node.driver is not None and node.machines]
    if len(others) < 2:
        return None
    second = others.pop(act.how % len(others))
    links = cluster.network.link_seconds
    for slow in others:
        links[slow.number, first.number] = (0.1, 0.25)

    def transfer(node: SimNode, to: SimNode) -> None:
        if node.driver is not None and number in node.driver.groups:  # else it was wiped meanwhile
            node.group(number).transfer(to.number, node.monotonic() + 0.3, lambda _: None)

    schedule.later(0.01, lambda: transfer(first, second))
    schedule.later(0.03 + act.how % 5 * 0.02, lambda: transfer(second, first))

    def heal() -> None:
        for slow in others:
            links.pop((slow.number, first.number), None)

    return heal


def _snapshot(schedule: Schedule, act: Act) -> Heal | None:
    """Compaction at this moment, of one node or all."""
    cluster = schedule.cluster
    nodes = list(cluster.nodes.values()) if act.how % 2 else [schedule.target(act)]
    groups = [group for node in nodes if node.driver for group in node.driver.groups.values()]
    for group in groups:
        group.want_snapshot()
    return _nothing if groups else None


def _clock(schedule: Schedule, act: Act) -> Heal | None:
    """The wall clocks of a minority jump and drift away; perhaps that of one who is about to lead."""
    cluster = schedule.cluster
    minority = (len(cluster.nodes) - 1) // 2
    if not minority:
        return None
    number = (schedule.plan.seed + act.how % minority) % len(cluster.nodes) + 1
    offsets = cluster.world.wall_offset_ms
    jump = (-3_600_000, -1500, -300, 300, 1500, 60_000, 3_600_000)[act.how % 7]

    def leap() -> None:
        offsets[number] = offsets.get(number, 0) + jump

    if act.how % 2:
        leap()
    else:
        for group in cluster.groups:
            leader = cluster.leader(group)
            if leader is not None and leader.number != number:
                leader.group(group).transfer(number, leader.monotonic() + 0.3, lambda _: None)
        schedule.later(0.002 + act.how % 11 * 0.001, leap)

    def drift(left: int) -> None:
        offsets[number] = offsets.get(number, 0) + 10
        if left:
            schedule.later(0.05, lambda: drift(left - 1))

    drift(10)
    return _nothing


def _poison(schedule: Schedule, act: Act) -> Heal | None:
    """An entry whose operations are none; everyone answers the same, nobody stops."""
    cluster = schedule.cluster
    group = min(cluster.groups)
    leader = cluster.leader(group)
    if leader is None:
        return None
    garbage = (b"", b"\xff" * 9, b"\x08\x01", b"\x08\x05\x12\x01k\xa2\x06\x03abc")[act.how % 4]
    stamp_ms = leader.shard(group).stamp_ms() or WALL_MS
    entry = encode_batch(stamp_ms, [Run((b"", b"p" * 16)[act.how % 2], act.how % 3, [garbage, garbage])])
    leader.group(group).propose(entry, None, leader.monotonic() + 1, lambda _: None)
    return _nothing


def _callback(schedule: Schedule, act: Act) -> Heal | None:
    """The callers of the next answers fail in their callbacks."""
    for client in schedule.clients:
        client.failing_callbacks += 1 + act.how % 3
    return _nothing


def _crash_client(schedule: Schedule, act: Act) -> Heal | None:
    schedule.clients[act.how % len(schedule.clients)].begin()
    return _nothing


def _policy(schedule: Schedule, act: Act) -> Heal | None:
    """The settings change: nodes that start from now on want another budget, or never evict."""
    cluster = schedule.cluster
    cluster.policy = (Policy(600), Policy(900, Eviction.NOEVICT), Policy(2500))[act.how % 3]
    node = schedule.target(act)
    node.kill()
    return lambda: schedule.start(node)


def _wipe(schedule: Schedule, act: Act) -> Heal | None:
    """A minority's disks are lost for good. Such a node has no replicas, whatever it is told."""
    cluster = schedule.cluster
    node = schedule.target(act)
    if len({*cluster.wiped, node.number}) > (len(cluster.nodes) - 1) // 2:
        return None
    node.kill()
    cluster.wiped.setdefault(node.number, node.disk)
    node.disk = SimDisk(random.Random(act.how))
    return lambda: schedule.start(node)


FAULTS: dict[str, Fault] = {
    "kill": _kill,
    "power": _power,
    "kill-all": _all(lambda node: node.kill()),
    "power-all": _all(lambda node: node.lose_power()),
    "crash-loop": _crash_loop,
    "crash-point": _crash_point,
    "pause": _pause,
    "cut": _cut,
    "isolate": _isolate,
    "stall": _stall,
    "reset": _reset,
    "slow-link": _slow_link,
    "slow-disk": _slow_disk,
    "eio": _eio,
    "full": _full,
    "transfer": _transfer,
    "ping-pong": _ping_pong,
    "snapshot": _snapshot,
    "clock": _clock,
    "poison": _poison,
    "callback": _callback,
    "crash-client": _crash_client,
    "policy": _policy,
    "wipe": _wipe,
}
