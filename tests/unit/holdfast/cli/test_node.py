"""holdfast.cli.node: the processes, where they serve and what they hold."""

from __future__ import annotations

import time

from holdfast.v1 import placement_pb2

from tests.unit.holdfast.cli.console import Console, ScriptedPlacement, serving, shard


def test_list_as_json_has_the_promised_fields():
    """`node list -o json` gives id address http zone state pid version; null for a pid not known."""
    nodes = [
        placement_pb2.Node(id=2, address="h:2", state=placement_pb2.Node.STATE_DOWN),
        placement_pb2.Node(id=1, address="h:1", http="h:3", zone="a", pid=7, version="0.1.0"),
    ]
    with serving(ScriptedPlacement([shard()], nodes, [])) as address:
        rows = Console().json("node", "list", "--endpoints", address)

    first = {
        "id": 1, "address": "h:1", "http": "h:3", "zone": "a", "state": "down", "pid": 7, "version": "0.1.0",
    }  # fmt: skip
    assert first.items() <= rows[0].items()
    assert (rows[1]["id"], rows[1]["state"], rows[1]["pid"]) == (2, "down", None)


def test_show_names_the_nodes_there_are():
    """A wrong id is answered with the right ones."""
    with serving(ScriptedPlacement([shard()], [placement_pb2.Node(id=1)], [])) as address:
        result = Console().run("node", "show", "9", "--endpoints", address)

    assert (result.exit_code, "the nodes are 1" in result.stderr) == (1, True)


def placed(**more):
    """A node that the placement group knows."""
    fields = {"id": 3, "address": "h:3", "incarnation": 255, "weight": 50, "replicas": 4, "leaders": 1}
    return placement_pb2.Node(**{**fields, **more})


def test_what_the_placement_group_keeps_is_told_and_null_where_it_keeps_nothing():
    """Weight, load and what it holds are null from a node that has not heard of the placement group."""
    with serving(ScriptedPlacement([shard()], [placement_pb2.Node(id=1), placed()], [])) as address:
        unknown, known = Console().json("node", "list", "--endpoints", address)

    names = ("weight", "replicas", "leaders", "incarnation")
    assert [known[name] for name in names] == [50, 4, 1, "00000000000000ff"]
    assert [unknown[name] for name in names] == [None, None, None, None]


def test_a_node_s_standing_is_serving_cordoned_draining_or_expected():
    """A cordon whose time is over is none."""
    later, past = int(time.time() * 1000) + 600_000, 1
    nodes = [
        placed(id=1),
        placed(id=2, cordoned_until_ms=past),
        placed(id=3, cordoned_until_ms=later),
        placed(id=4, draining=True, cordoned_until_ms=later),
        placed(id=5, expected=True),
    ]
    with serving(ScriptedPlacement([shard()], nodes, [])) as address:
        rows = Console().json("node", "list", "--endpoints", address)
        shown = Console().run("node", "show", "3", "--endpoints", address)

    told = [row["standing"] for row in rows]
    assert told == ["serving", "serving", "cordoned", "draining", "expected"]
    assert "cordoned for 10 min more, weight 50" in shown.stderr
