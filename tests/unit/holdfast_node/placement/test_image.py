"""Snapshots of the placement state."""

from __future__ import annotations

import pytest
from holdfast_node.cache.image import CorruptImageError
from holdfast_node.cache.seal import Sealed, Target
from holdfast_node.placement import commands as c
from holdfast_node.placement.cluster import ShardRow
from holdfast_node.placement.image import Builder, Image
from holdfast_node.placement.plan import Phase
from holdfast_node.placement.state import PlacementState

from tests.placement_world import cluster, move


def lived():
    world = cluster(5, shards=100)
    for group, phases in ((2, 3), (7, 0), (12, 1)):
        done = world.state.apply(move(world, group, 1, 2, 3, 5))
        for phase in range(1, 1 + phases):
            world.state.apply(c.Advance(done.plan.id, Phase(phase), Phase(phase + 1), 9))
    world.state.by_hand.add(2)
    world.state.placement = ShardRow(93, "", b"", b"", (4, 2), 5, 9)
    world.state.sealed = Sealed(11, True, 70, 8, (Target(94, b"", b"", (5, 2)),), ())
    world.state.floor = 10
    world.state.apply(c.AddNode("10.0.0.9:7400"))
    return world.state


def restored(chunks):
    builder = Builder()
    for chunk in chunks:
        builder.feed(chunk)
    builder.finish()
    return PlacementState.restored(builder)


def test_a_restored_state_equals_the_one_that_lived():
    """Every field comes back, in chunks."""
    state = lived()
    chunks = list(state.freeze().chunks())
    again = restored(chunks)

    assert len(chunks) > 4
    assert {k: v for k, v in vars(again).items() if k != "_map"} == {
        k: v for k, v in vars(state).items() if k != "_map"
    }
    assert list(again.ended) == list(state.ended)
    assert again.digest() == state.digest()


def test_an_image_says_one_moment():
    """Commands after the freeze do not change what it says."""
    state = lived()
    state.sealed = None
    image, before = Image(state), state.digest()
    state.apply(c.RemoveNode(6))
    state.apply(c.CancelPlan(2, "", 1))

    assert restored(image.chunks()).digest() == before != state.digest()
    image.release()
    image.release()


@pytest.mark.parametrize("lost", range(5))
def test_a_missing_chunk_is_noticed(lost):
    """Nothing is installed from chunks that do not add up."""
    chunks = list(lived().freeze().chunks())
    del chunks[lost if lost < 4 else -1]
    with pytest.raises(CorruptImageError):
        restored(chunks)


def test_chunks_out_of_place_are_refused():
    """The head stands first and once, nothing follows the tail, damage and unknown parts are named."""
    chunks = list(lived().freeze().chunks())
    for bad in ([chunks[1]], [chunks[0], chunks[0]], [*chunks, chunks[1]], [chunks[0], b""], [b"\xff"]):
        with pytest.raises(CorruptImageError):
            restored(bad)
    swapped = [chunks[0], chunks[2], chunks[1], *chunks[3:]]
    with pytest.raises(CorruptImageError, match="digest"):
        restored(swapped)


def test_a_newer_format_is_refused():
    """A snapshot of a later program is not guessed."""
    with pytest.raises(CorruptImageError, match="format 3"):
        Builder().feed(bytes.fromhex("0a020803"))
