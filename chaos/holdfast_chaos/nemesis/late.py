"""What was said comes when it no longer holds: a wire that is cut in one direction keeps it until then.

Chance brings such a course of events about once in hours; here each step waits for the one before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from holdfast_chaos.cluster.admin import CANCELLED, SEAL, Refused
from holdfast_chaos.nemesis.partitions import one_way
from holdfast_chaos.nemesis.placing import handed_over
from holdfast_chaos.nemesis.stage import Stage

PAUSE_S: Final = 0.1
SEALING_WITHIN_S: Final = 2.0
GONE_WITHIN_S: Final = 3.0
SAID_S: Final = (0.0, 0.2)
STANDS_S: Final = (0.02, 0.2)
LEADS_S: Final = (0.1, 0.5)
PLAN_WITHIN_S: Final = 60.0


async def orders(stage: Stage) -> None:
    """An order to end a shard reaches its leader when the next placement leader has had the plan refused."""
    await _again(stage, _late_order)


async def votes(stage: Stage) -> None:
    """A vote reaches its candidate when that stands again, terms later, and nobody hears it."""
    await _again(stage, _late_vote)


async def _again(stage: Stage, course: Callable[[Stage], Awaitable[str]]) -> None:
    """course: says what has come about; nothing: it did not come so far."""
    while stage.goes_on:
        said = await course(stage)
        if said:
            stage.proof(said)
        await asyncio.sleep(PAUSE_S)


async def _late_order(stage: Stage) -> str:
    admin, wires, chance = stage.cluster.admin, stage.cluster.wires, stage.chance
    placement = await admin.placement_group()
    leaders = await admin.leaders()
    speaker = leaders.get(placement.group, 0)
    ended = [shard for shard in await admin.shards() if leaders.get(shard.group, speaker) != speaker]
    if not (speaker and ended):  # it leads all of them
        await handed_over(stage, placement.group, speaker)
        return ""
    shard = chance.choice(ended)
    hearer = leaders[shard.group]
    others = sorted({replica.node for replica in placement.replicas} - {speaker, hearer})
    if not others:
        return ""
    heir = chance.choice(others)
    by_speaker = admin.only(stage.cluster.number_of(speaker))  # others may have to ask through what is cut
    pairs = {(stage.cluster.number_of(speaker), stage.cluster.number_of(hearer))}
    before, has_gone, plan = wires.held, False, 0
    wires.cut(pairs)
    try:
        plan = await by_speaker.split(shard.group)
        if await by_speaker.comes_to(plan, [SEAL], SEALING_WITHIN_S):
            await asyncio.sleep(chance.uniform(*SAID_S))
            await by_speaker.cancel(plan)  # before the next leader says the order itself
            await handed_over(stage, placement.group, speaker, heir)
            by_heir = admin.only(stage.cluster.number_of(heir))
            has_gone = await by_heir.comes_to(plan, [CANCELLED], GONE_WITHIN_S)
    except Refused:  # a leader is missing: the next course of events is another's
        pass
    finally:
        wires.mend(pairs)
    if plan:
        await admin.see_the_end(plan, PLAN_WITHIN_S)
    is_late = has_gone and wires.held > before
    return f"what node {speaker} said to node {hearer} came when plan {plan} had been cancelled" * is_late


async def _late_vote(stage: Stage) -> str:
    cluster, wires, chance = stage.cluster, stage.cluster.wires, stage.chance
    leaders = [replica for replica in await cluster.admin.all_replicas() if replica.leads]
    if not leaders:
        return ""
    quiet = [replica for replica in leaders if replica.is_placement]  # there it nearly always comes about
    leader = chance.choice(chance.choice([leaders, quiet or leaders]))
    others = [node for node in leader.members if node != leader.node and cluster.number_of(node)]
    if len(others) < 2:
        return ""
    candidate, voter = chance.sample(others, 2)

    async def leads(node: int, after: int) -> bool:
        return await handed_over(stage, leader.group, after, node) == node

    vote = {(cluster.number_of(voter), cluster.number_of(candidate))}
    unheard = one_way(cluster.number_of(candidate), cluster.numbers, deaf=False)
    before = wires.held
    wires.cut(vote)
    try:
        if not (await leads(candidate, leader.node) and await leads(leader.node, candidate)):
            return ""
        led_in = await _term(stage, candidate, leader.group)
        wires.cut(unheard)
        standing = asyncio.ensure_future(leads(candidate, leader.node))
        try:
            await asyncio.sleep(chance.uniform(*STANDS_S))
            stands = await _term(stage, candidate, leader.group) > led_in
            wires.mend(vote)
            await asyncio.sleep(chance.uniform(*LEADS_S))
        finally:
            wires.mend(unheard)
            await standing
    finally:
        wires.mend(vote)
    said = f"what node {voter} said to node {candidate} of group {leader.group} came two terms later"
    return said * (stands and wires.held > before)


async def _term(stage: Stage, node: int, group: int) -> int:
    """A replica's term; 0: it was not told."""
    replicas = await stage.cluster.admin.replicas(stage.cluster.number_of(node))
    return next((replica.term for replica in replicas if replica.group == group), 0)
