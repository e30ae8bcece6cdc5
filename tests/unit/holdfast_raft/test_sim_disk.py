"""What the simulated disk keeps, forgets and refuses."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from holdfast_raft.sim import MachineGone, SimDisk


def after_power_loss(prepare: Callable[[SimDisk], object], seed: int) -> SimDisk:
    disk = SimDisk(random.Random(seed))
    prepare(disk)
    disk.lose_power()
    return disk


def content(disk: SimDisk, path: str) -> bytes:
    file = disk.open(path)
    return file.read_at(0, file.size())


def outcomes(prepare: Callable[[SimDisk], object], look: Callable[[SimDisk], object]) -> set[object]:
    return {look(after_power_loss(prepare, seed)) for seed in range(600)}


def test_what_was_synced_survives_power_loss():
    """Bytes of a synced file in a synced folder stay as they were."""

    def prepare(disk: SimDisk) -> None:
        file = disk.create("wal/x", 8)
        file.write_at(2, [b"ab", b"cd"])
        file.sync()
        disk.sync_dir("wal")

    assert outcomes(prepare, lambda disk: content(disk, "wal/x")) == {b"\0\0abcd\0\0"}


def test_each_unsynced_write_stays_goes_or_is_torn_by_itself():
    """A later write may stay where an earlier went; a torn one leaves a first piece."""

    def prepare(disk: SimDisk) -> None:
        file = disk.create("x", 4)
        disk.sync_dir("")
        file.write_at(0, [b"ab"])
        file.write_at(2, [b"cd"])

    first, second = (b"\0\0", b"a\0", b"ab"), (b"\0\0", b"c\0", b"cd")

    assert outcomes(prepare, lambda disk: content(disk, "x")) == {a + b for a in first for b in second}


def test_unsynced_writes_over_each_other_keep_their_order():
    """No byte of an earlier write stands over one of a later that stayed."""

    def prepare(disk: SimDisk) -> None:
        file = disk.create("x", 2)
        file.write_at(0, [b"xy"])
        file.sync()
        disk.sync_dir("")
        file.write_at(0, [b"ab"])
        file.write_at(0, [b"cd"])

    found = outcomes(prepare, lambda disk: content(disk, "x"))

    assert found == {b"xy", b"ay", b"ab", b"cy", b"cb", b"cd"}


def test_of_a_folders_unsynced_names_a_first_part_survives():
    """Metadata is journaled: what was done later never stays without what was done before."""

    def prepare(disk: SimDisk) -> None:
        disk.create("wal/old", 1)
        disk.sync_dir("wal")
        disk.create("wal/a", 1)
        disk.rename("wal/a", "wal/b")
        disk.unlink("wal/old")

    assert outcomes(prepare, lambda disk: tuple(disk.names("wal"))) == {
        ("old",),
        ("a", "old"),
        ("b", "old"),
        ("b",),
    }


def test_a_synced_folder_keeps_its_names_whatever_another_has_open():
    """sync_dir speaks for its own folder, and for that entirely."""

    def prepare(disk: SimDisk) -> None:
        disk.create("wal/a", 1)
        disk.create("snapshots/2/s", 1)
        disk.rename("wal/a", "wal/b")
        disk.sync_dir("wal")

    def look(disk: SimDisk) -> object:
        return tuple(disk.names("wal")), tuple(disk.names("snapshots/2"))

    assert outcomes(prepare, look) == {(("b",), ()), (("b",), ("s",))}


def test_an_unsynced_rename_leaves_the_old_file_or_the_new_one():
    """Never none of both, and never a mixture."""

    def prepare(disk: SimDisk) -> None:
        for name, data in (("x", b"old"), ("x.new", b"new")):
            file = disk.create(name, 3)
            file.write_at(0, [data])
            file.sync()
        disk.sync_dir("")
        disk.rename("x.new", "x")

    def look(disk: SimDisk) -> object:
        return content(disk, "x"), tuple(disk.names(""))

    assert outcomes(prepare, look) == {(b"old", ("x", "x.new")), (b"new", ("x",))}


def test_a_name_may_outlive_its_files_bytes():
    """A file never synced has the size it was created with and zeros, or what chance left of a growth."""

    def preallocated(disk: SimDisk) -> None:
        disk.create("x", 4)
        disk.sync_dir("")
        disk.open("x").write_at(0, [b"ab"])

    def grown(disk: SimDisk) -> None:
        disk.create("x", 0)
        disk.sync_dir("")
        disk.open("x").write_at(0, [b"ab"])

    def synced(disk: SimDisk) -> None:
        grown(disk)
        disk.open("x").sync()

    def look(disk: SimDisk) -> object:
        return content(disk, "x")

    assert outcomes(preallocated, look) == {bytes(4), b"a\0\0\0", b"ab\0\0"}
    assert outcomes(grown, look) == {b"", b"a", b"ab"}
    assert outcomes(synced, look) == {b"ab"}


def test_a_failed_sync_is_taken_for_done():
    """The bytes are still read, but no later sync writes them: only chance keeps them."""

    def prepare(disk: SimDisk) -> None:
        file = disk.create("x", 3)
        disk.sync_dir("")
        file.write_at(0, [b"a"])

        def broken(what: str, path: str) -> None:
            if what == "sync":
                raise OSError(5, "Input/output error", path)

        disk.fail = broken
        with pytest.raises(OSError, match="Input/output"):
            file.sync()
        disk.fail = None
        file.write_at(2, [b"c"])
        file.sync()
        assert content(disk, "x") == b"a\0c"

    assert outcomes(prepare, lambda disk: content(disk, "x")) == {b"a\0c", b"\0\0c"}


def test_after_is_called_once_each_changing_call_took_effect():
    """So that a machine can go at each moment between two effects; reads are none."""
    disk, seen = SimDisk(random.Random(1)), []
    disk.after = lambda what, path: seen.append((what, path, tuple(disk.names("wal"))))
    file = disk.create("wal/x", 1)
    file.write_at(0, [b"a"])
    file.sync()
    disk.rename("wal/x", "wal/y")
    disk.sync_dir("wal")
    content(disk, "wal/y")
    disk.unlink("wal/y")

    assert seen == [
        ("create", "wal/x", ("x",)),
        ("write", "wal/x", ("x",)),
        ("sync", "wal/x", ("x",)),
        ("rename", "wal/y", ("y",)),
        ("sync_dir", "wal", ("y",)),
        ("unlink", "wal/y", ()),
    ]


def test_a_call_that_fails_changes_nothing_and_has_no_after():
    """`fail` strikes before the effect."""
    disk, seen = SimDisk(random.Random(1)), []
    file = disk.create("x", 1)
    disk.after = lambda what, _: seen.append(what)

    def broken(what: str, path: str) -> None:
        raise OSError(5, what, path)

    disk.fail = broken
    for call in (
        lambda: disk.create("y", 1),
        lambda: file.write_at(0, [b"a"]),
        file.sync,
        lambda: disk.rename("x", "y"),
        lambda: disk.unlink("x"),
        lambda: disk.sync_dir(""),
    ):
        with pytest.raises(OSError, match="Errno 5"):
            call()
    disk.fail = None

    assert (seen, disk.names(""), content(disk, "x")) == ([], ["x"], b"\0")


def test_a_machine_gone_after_a_write_has_written_and_not_synced():
    """The hook of a write runs while its bytes are in the page cache only."""
    disk = SimDisk(random.Random(1))
    file = disk.create("x", 1)
    disk.sync_dir("")

    def gone(what: str, _: str) -> None:
        if what == "write":
            raise MachineGone

    disk.after = gone
    with pytest.raises(MachineGone):
        file.write_at(0, [b"a"])

    assert content(disk, "x") == b"a"
    assert not disk.durable_contains("x", b"a")


def test_without_power_every_call_but_close_raises():
    """Cleaning up is a call like all others: a dead process removes no file."""
    disk = SimDisk(random.Random(1))
    file = disk.create("x", 1)
    disk.powered = False

    for call in (
        lambda: disk.make_dir("d"),
        lambda: disk.names(""),
        lambda: disk.create("y", 1),
        lambda: disk.open("x"),
        lambda: disk.rename("x", "y"),
        lambda: disk.unlink("x"),
        lambda: disk.sync_dir(""),
        disk.free_bytes,
        lambda: file.write_at(0, [b"a"]),
        lambda: file.read_at(0, 1),
        file.size,
        file.sync,
    ):
        with pytest.raises(MachineGone):
            call()
    file.close()
    disk.power_on()

    assert disk.names("") == ["x"]
    assert content(disk, "x") == b"\0"


def test_durable_contains_knows_synced_bytes_under_synced_names_only():
    """It says what survives every power loss, whatever the one who wrote believes."""
    disk = SimDisk(random.Random(1))
    file = disk.create("wal/x", 8)
    file.write_at(0, [b"entry"])
    assert not disk.durable_contains("wal/", b"entry")
    file.sync()
    assert not disk.durable_contains("wal/", b"entry")
    disk.sync_dir("wal")

    assert disk.durable_contains("wal/", b"entry")
    assert not disk.durable_contains("snapshots/", b"entry")
    file.write_at(0, [b"other"])
    assert disk.durable_contains("wal/", b"entry")
    assert not disk.durable_contains("wal/", b"other")
    disk.unlink("wal/x")
    assert disk.durable_contains("wal/", b"entry")
    disk.sync_dir("wal")
    assert not disk.durable_contains("wal/", b"entry")


def test_bit_rot_outlasts_power_loss():
    """damage turns a bit where the disk has it."""
    disk = SimDisk(random.Random(1))
    file = disk.create("x.snap", 1)
    file.write_at(0, [b"a"])
    file.sync()
    disk.sync_dir("")
    disk.damage(".snap", 0)
    disk.lose_power()

    assert content(disk, "x.snap") == b"`"


def test_space_is_taken_by_size_and_given_back():
    """A file counts with its size, preallocated or grown; an unlinked one does not."""
    disk = SimDisk(random.Random(1))
    disk.space = 10
    file = disk.create("x", 8)
    file.write_at(0, [bytes(10)])
    for call in (lambda: disk.create("y", 1), lambda: file.write_at(10, [b"a"])):
        with pytest.raises(OSError, match="No space"):
            call()
    disk.unlink("x")

    assert disk.create("y", 10).size() == 10
    assert disk.free_bytes() == 0
