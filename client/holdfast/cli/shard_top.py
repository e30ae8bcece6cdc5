"""`holdfast shard top`: which shards take the most writes, hold the most bytes or keys.

Writes are counted by the shard's revision, which grows by one with every key changed: two looks, their
difference, the time between. Reads leave no trace in a replica's figures and are not shown.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

import click

from holdfast.cli.output import print_json, print_table, range_text, size_text
from holdfast.cli.placement import ReplicaFacts
from holdfast.cli.survey import best_replica, gather, row_fields
from holdfast.cli.verbs import SECONDS, Call, note, run, talks, verb
from holdfast.shardmap import Shard

EXAMPLES = """
# The ten shards that took the most writes in the last second
$ holdfast shard top

# The largest three
$ holdfast shard top --by bytes --limit 3

# Counted over ten seconds
$ holdfast shard top --over 10s
"""

ORDERS = {"writes": "writes_per_s", "bytes": "bytes", "keys": "keys"}


def register(group: click.Group) -> None:
    """Adds the verb to the noun `shard`."""
    verb(group, "top", EXAMPLES)(top)


def revisions(replicas: Iterable[ReplicaFacts]) -> dict[int, int]:
    """The highest revision that any replica of a group has applied."""
    highest: dict[int, int] = {}
    for entry in replicas:
        group = entry.shard.group
        highest[group] = max(entry.revision, highest.get(group, 0))
    return highest


async def _look_twice(call: Call, over_s: float) -> tuple[list[Shard], list[ReplicaFacts], dict[int, float]]:
    """Shards and replicas as they are, and writes/s of the groups that were there at both looks."""
    before = (await gather(call)).replicas
    began = time.monotonic()
    await asyncio.sleep(over_s)
    after = await gather(call)
    took_s = max(time.monotonic() - began, 1e-3)
    earlier = revisions(before)
    rates = {
        group: max(revision - earlier[group], 0) / took_s
        for group, revision in revisions(after.replicas).items()
        if group in earlier
    }
    return after.shards, after.replicas, rates


@click.option("-n", "--namespace", help="Only this namespace.")
@click.option(
    "--by", "order", type=click.Choice(list(ORDERS)), default="writes", show_default=True,
    help="What to order by.",
)  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), default=10, show_default=True, help="Most to show.")
@click.option("--over", "over_s", type=SECONDS, default=1.0, help="Time between the two looks. Default: 1s.")
@talks
@click.pass_obj
def top(call: Call, namespace: str | None, order: str, limit: int, over_s: float) -> None:
    """The busiest or largest shards: writes a second, keys, bytes.

    Looks twice, a second apart. A shard that appeared in between has no rate yet.
    """
    shards, replicas, rates = run(_look_twice(call, over_s))
    chosen = [shard for shard in shards if namespace in (None, shard.namespace)]
    rows = [_row(shard, replicas, rates) for shard in chosen]
    rows.sort(key=lambda row: (-(row[ORDERS[order]] or 0), row["shard"]))
    if call.is_json:
        print_json(rows[:limit])
        return
    ranges = {shard.group: range_text(shard) for shard in chosen}
    print_table(
        ("SHARD", "WRITES/S", "KEYS", "SIZE", "LEADER", "NAMESPACE", "KEYS IN"),
        [
            (
                row["shard"], None if row["writes_per_s"] is None else f"{row['writes_per_s']:.0f}",
                row["keys"], None if row["bytes"] is None else size_text(row["bytes"]), row["leader"],
                row["namespace"], ranges[row["shard"]],
            )
            for row in rows[:limit]
        ],
    )  # fmt: skip
    if len(rows) > limit:
        note(f"{limit} of {len(rows)} shards; --limit shows more")


def _row(shard: Shard, replicas: list[ReplicaFacts], rates: dict[int, float]) -> dict[str, Any]:
    rate = rates.get(shard.group)
    fields = row_fields(shard, best_replica(shard, replicas))
    return {**fields, "writes_per_s": None if rate is None else round(rate, 1)}
