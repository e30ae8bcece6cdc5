"""The container of the placement group's entries."""

from __future__ import annotations

import hashlib

import pytest
from holdfast_node.cache.commands import UnknownEntryError
from holdfast_node.cache.policy import Eviction
from holdfast_node.cache.seal import Abort, Seal, Target
from holdfast_node.placement import commands as c
from holdfast_node.placement.cluster import Namespace, Node, Planning, Policy, ShardRow
from holdfast_node.placement.plan import Kind, Phase
from holdfast_node.placement.shape import Part, Shape
from hypothesis import given
from hypothesis import strategies as st

LABELS = (("disk", "nvme"), ("rack", "r1"))
NODE = Node(3, "10.0.0.3:7400", "10.0.0.3:7500", "z1", LABELS, 50, 99, 12, True, True, True)
NAMESPACE = Namespace("jobs", 1 << 30, Eviction.NOEVICT, True, 5, 2, b":", True)
PARTS = (Part(b"", b"m", (1, 2, 3)), Part(b"m", b"", (3, 2, 1)))
COMMANDS = (
    c.Bootstrap((NODE,), (NAMESPACE,), (ShardRow(2, "jobs", b"a", b"b", (3,), 4, 5, 6, True),), (3,)),
    c.JoinNode("10.0.0.3:7400", 99, 3, "10.0.0.3:7500", "z1", LABELS, 50),
    c.AddNode("10.0.0.3:7400", "z1", LABELS, 50),
    c.SetNode(3),
    c.SetNode(3, 0, False, 0, "", LABELS, ("old",)),
    c.RemoveNode(3),
    c.CreateNamespace(NAMESPACE, PARTS),
    c.SetNamespace("jobs"),
    c.SetNamespace("jobs", 1 << 30, Eviction.NOEVICT, False, 5),
    c.DeleteNamespace("jobs"),
    c.StartPlan(Shape(Kind.SPLIT, (2,), PARTS, 7), "why", 8, True),
    c.Advance(9, Phase.SEAL, Phase.CANCELLING, 10, "why"),
    c.CancelPlan(9, "why", 10),
    c.SetPlanning(
        (Policy.MERGE,), (Policy.BALANCE, Policy.DRAIN), Planning(frozenset(), 1, 2, 3, 4, 5, 6, 7, 8)
    ),
    Seal(9, True, (Target(4, b"", b"", (3, 4)),)),
    Abort(9),
)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_a_command_is_read_as_it_was_written(command):
    """Every field of every command survives its bytes; absent and zero stay apart."""
    assert c.decode(c.encode(command)) == command


def test_every_kind_of_command_has_an_example_here():
    """No command is left out of these tests."""
    assert {type(command) for command in COMMANDS} == set(c._KINDS)


def test_the_bytes_of_commands_never_change():
    """Logs are read by later programs: another digest needs another version."""
    first, later = COMMANDS[:14], COMMANDS[14:]

    assert hashlib.sha256(b"".join(map(c.encode, first))).hexdigest()[:16] == "2670c1034c70e4f9"
    assert b"".join(map(c.encode, later)).hex() == "0d010a0c080910011a060804220203040e010809"


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x00\x01", b"\x63\x01", b"\x01\x02", b"\x09\x01\x08\x63"])
def test_an_entry_of_an_unknown_kind_version_or_number_is_not_guessed(data):
    """What this program does not know stops it instead."""
    with pytest.raises(UnknownEntryError):
        c.decode(data)


@given(st.binary(max_size=60), st.integers(0, 15))
def test_opening_is_total(payload, kind):
    """Whatever the bytes are, they are a command or an UnknownEntryError."""
    try:
        found = c.decode(bytes((kind, 1)) + payload)
    except UnknownEntryError:
        return
    assert c.decode(c.encode(found)) == found
