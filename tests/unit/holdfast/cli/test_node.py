"""holdfast.cli.node: the processes, and setting a data directory aside."""

from __future__ import annotations

import fcntl

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

    assert rows[0] == {
        "id": 1, "address": "h:1", "http": "h:3", "zone": "a", "state": "down", "pid": 7, "version": "0.1.0",
    }  # fmt: skip
    assert (rows[1]["id"], rows[1]["state"], rows[1]["pid"]) == (2, "down", None)


def test_show_names_the_nodes_there_are():
    """A wrong id is answered with the right ones."""
    with serving(ScriptedPlacement([shard()], [placement_pb2.Node(id=1)], [])) as address:
        result = Console().run("node", "show", "9", "--endpoints", address)

    assert (result.exit_code, "the nodes are 1" in result.stderr) == (1, True)


def make_data(folder):
    (folder / "data").mkdir()
    (folder / "data" / "node.json").write_text("{}")
    (folder / "data" / "LOCK").touch()
    return folder / "data"


def test_reset_sets_aside_and_deletes_nothing(tmp_path):
    """The directory is renamed whole."""
    data = make_data(tmp_path)

    result = Console().run("node", "reset", "--data", str(data), "--yes")

    assert result.exit_code == 0
    assert not data.exists()
    assert [path.name for path in tmp_path.glob("data.reset-*/node.json")] == ["node.json"]


def test_reset_of_a_running_node_is_refused(tmp_path):
    """A directory in use stays where it is."""
    data = make_data(tmp_path)
    with (data / "LOCK").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        result = Console().run("node", "reset", "--data", str(data), "--yes")

    assert (result.exit_code, "in use" in result.stderr, data.exists()) == (1, True, True)


def test_reset_asks_before_it_acts(tmp_path):
    """Without --yes a no leaves everything as it is."""
    data = make_data(tmp_path)

    assert Console().run("node", "reset", "--data", str(data), given="n\n").exit_code == 1
    assert data.exists()


def test_reset_of_another_directory_is_refused(tmp_path):
    """Only a node's data directory is touched."""
    assert Console().run("node", "reset", "--data", str(tmp_path), "--yes").exit_code == 1
    assert tmp_path.exists()
