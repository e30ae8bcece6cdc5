"""holdfast.cli.node_reset: a data directory is set aside, whole, and only when nobody uses it."""

from __future__ import annotations

import fcntl

from tests.unit.holdfast.cli.console import Console


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


def test_a_dry_run_of_a_reset_renames_nothing(tmp_path):
    """What it would do is said; nobody is asked."""
    data = make_data(tmp_path)

    result = Console().run("node", "reset", "--data", str(data), "--dry-run")

    assert (result.exit_code, data.exists(), "nothing was changed" in result.stderr) == (0, True, True)
