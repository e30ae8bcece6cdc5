"""A source's state under a target's id, of either kind."""

from __future__ import annotations

import pytest
from holdfast_node.cache.commands import encode_seal
from holdfast_node.cache.seal import Seal, Target
from holdfast_node.following import Following
from holdfast_node.hosted import empty_state
from holdfast_node.placement.commands import Advance, StartPlan, encode
from holdfast_node.placement.plan import Kind, Phase
from holdfast_node.placement.shape import Part, Shape
from holdfast_raft.machine import UnknownEntry

from tests.unit.holdfast_node.placement.test_replica import FIRST

TARGET = Target(3, b"", b"", (1, 2))
SHARD = (encode_seal(5, Seal(1, True, (TARGET,))),)
PLACEMENT = (
    encode(FIRST),
    encode(StartPlan(Shape(Kind.MOVE, (1,), (Part(b"", b"", (1, 2)),), 1), "", 1)),
    encode(Advance(1, Phase.PREPARE, Phase.SEAL, 1)),
    encode(Seal(1, True, (TARGET,))),
)


@pytest.mark.parametrize(("namespace", "entries"), [("default", SHARD), ("", PLACEMENT)])
def test_it_stands_where_its_seal_does(namespace: str, entries: tuple[bytes, ...]) -> None:
    """A state that came as a later snapshot changes no more: there the copy must be born."""
    following = Following(empty_state(namespace))
    for index, entry in enumerate(entries, 1):
        assert following.stands_at(index, 7) == (index, 7)
        following.apply(index, 7, entry, None)
    builder = following.builder()
    image = following.freeze()
    for chunk in image.chunks():
        builder.feed(chunk)
    builder.finish()
    image.release()
    again = Following(empty_state(namespace))

    again.install(builder)

    assert again.stands_at(99, 9) == (len(entries), 7)
    assert again.state.sealed == following.state.sealed


@pytest.mark.parametrize("namespace", ["default", ""])
def test_an_entry_of_a_newer_program_stops_it(namespace: str) -> None:
    """It is not guessed."""
    with pytest.raises(UnknownEntry):
        Following(empty_state(namespace)).apply(1, 1, b"\xff" * 20, None)
