"""The data directory: who it belongs to, who may use it, and whom its node knows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from holdfast_node.config import first_map, from_mapping
from holdfast_node.identity import (
    MEMBERS,
    NODE,
    DataDirectory,
    DirectoryRefusedError,
    refuse_strangers,
    shape_of,
)

SHAPE: list[Any] = [["default", "", "", 2, [1]]]


@contextmanager
def opened(path: Path, **change: Any) -> Iterator[DataDirectory]:
    arguments = {"cluster_id": "dev", "node": 1, "shape": SHAPE, "init": False, **change}
    with DataDirectory.open(path, **arguments) as directory:
        yield directory


def refusal(path: Path, **change: Any) -> str:
    with pytest.raises(DirectoryRefusedError) as caught, opened(path, **change):
        pass
    return str(caught.value)


def test_the_identity_outlives_the_process(tmp_path: Path) -> None:
    """A directory made once gives the same incarnation at every later start, with or without init."""
    with opened(tmp_path / "d", init=True) as directory:
        first = directory.identity
    with opened(tmp_path / "d") as directory:
        again = directory.identity
    with opened(tmp_path / "d", init=True) as directory:
        once_more = directory.identity

    assert first == again == once_more
    assert first.incarnation


def test_two_directories_are_two_incarnations(tmp_path: Path) -> None:
    """A node that lost its disk and starts anew is another incarnation."""
    with opened(tmp_path / "a", init=True) as a, opened(tmp_path / "b", init=True) as b:
        assert a.identity.incarnation != b.identity.incarnation


def test_an_empty_directory_needs_init(tmp_path: Path) -> None:
    """A directory without a node is refused unless making one was asked for."""
    assert "--init" in refusal(tmp_path)
    assert "--init" in refusal(tmp_path / "missing")


def test_a_strangers_directory_is_refused(tmp_path: Path) -> None:
    """Init never settles among files that are not a node's."""
    (tmp_path / "thesis.tex").touch()

    assert "thesis.tex" in refusal(tmp_path, init=True)


def test_an_interrupted_first_start_can_be_repeated(tmp_path: Path) -> None:
    """What a first start cut off before its rename leaves behind does not stop the next."""
    (tmp_path / "LOCK").touch()
    (tmp_path / "node.json.new").write_text("{")

    with opened(tmp_path, init=True) as directory:
        assert directory.identity.node == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cluster_id": "other"}, "belongs to cluster 'dev'"),
        ({"node": 2}, "belongs to node 1"),
        ({"shape": [["default", "", "6d", 2, [1]]]}, "other shards"),
    ],
)
def test_anothers_directory_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    """Cluster, node and shards of the configuration must be those the directory was made for."""
    with opened(tmp_path, init=True):
        pass

    assert words in refusal(tmp_path, **change)
    assert words in refusal(tmp_path, init=True, **change)


def test_a_directory_in_use_names_the_pid(tmp_path: Path) -> None:
    """A second opener is refused with the pid of the first, and is let in when that closes."""
    with opened(tmp_path, init=True):
        assert f"pid {os.getpid()}" in refusal(tmp_path)
    with opened(tmp_path):
        pass


def test_a_refusal_frees_the_lock(tmp_path: Path) -> None:
    """A refused start leaves the directory free for a right one."""
    with opened(tmp_path, init=True):
        pass
    refusal(tmp_path, cluster_id="other")

    with opened(tmp_path):
        pass


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 1}', '{"format": 2, "node": 1}', "\x00"])
@pytest.mark.parametrize("name", [NODE, MEMBERS])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, name: str, text: str) -> None:
    """Damage in either file stops the start with the file's name; nothing is made anew over it."""
    with opened(tmp_path, init=True) as directory:
        directory.admit(2, 5)
    (tmp_path / name).write_text(text)

    assert name in refusal(tmp_path, init=True)


def test_the_first_incarnation_met_is_the_one_admitted(tmp_path: Path) -> None:
    """A peer's first incarnation is pinned durably; another under the same id is not admitted."""
    with opened(tmp_path, init=True) as directory:
        assert directory.admit(2, 77)
        assert directory.admit(2, 77)
        assert not directory.admit(2, 78)
        assert directory.admit(3, 78)
    with opened(tmp_path) as directory:
        assert directory.admit(2, 77)
        assert not directory.admit(2, 78)


def test_the_shape_follows_ranges_and_nodes_but_not_addresses() -> None:
    """Ports may change between starts; ranges, groups and nodes may not."""

    def shape(port: int, splits: list[str]) -> list[Any]:
        nodes = [{"id": 1, "address": f"127.0.0.1:{port}", "http": "127.0.0.1:2"}]
        raw = {"cluster_id": "c", "node": 1, "data_dir": "/d", "nodes": nodes}
        return shape_of(first_map(from_mapping({**raw, "namespaces": [{"name": "a", "splits": splits}]})))

    assert shape(7, []) == shape(8, [])
    assert shape(7, []) != shape(7, ["m"])


def test_who_a_directory_is_can_be_asked_without_opening_it(tmp_path: Path) -> None:
    """A node that joined knows itself from there; what is damaged is refused, not taken for new."""
    assert DataDirectory.peek(tmp_path / "d") is None
    with opened(tmp_path / "d", init=True, incarnation=7) as directory:
        assert directory.identity == DataDirectory.peek(tmp_path / "d") == ("dev", 1, 7)
    (tmp_path / "d" / NODE).write_text('{"format": 1}')

    with pytest.raises(DirectoryRefusedError, match="is damaged"):
        DataDirectory.peek(tmp_path / "d")


def test_the_last_news_outlive_the_process(tmp_path: Path) -> None:
    """The latest replace all before them."""
    assert DataDirectory.peek_news(tmp_path) is None
    with opened(tmp_path / "d", init=True) as directory:
        assert directory.last_news() is None
        directory.remember(b"one")
        directory.remember(b"two")
    with opened(tmp_path / "d") as directory:
        assert directory.last_news() == DataDirectory.peek_news(tmp_path / "d") == b"two"


def test_the_wal_that_was_made_with_the_replicas_is_named(tmp_path: Path) -> None:
    """Another one in its place has lost them."""
    with opened(tmp_path / "d", init=True) as directory:
        assert (directory.has_replicas, directory.wal_id) == (False, "")
        directory.replicas_made("cafe")
    with opened(tmp_path / "d") as directory:
        assert (directory.has_replicas, directory.wal_id) == (True, "cafe")


def test_a_new_directory_takes_what_a_cut_off_start_left(tmp_path: Path) -> None:
    """Its lock, and a file that was never renamed; nothing else."""
    (tmp_path / (NODE + ".new")).write_text("half a")
    refuse_strangers(tmp_path)
    refuse_strangers(tmp_path / "none")
    with opened(tmp_path, init=True) as directory:
        assert directory.identity.node == 1
