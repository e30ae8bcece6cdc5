"""Restoring in raft's words, whatever state it is."""

from __future__ import annotations

import pytest
from holdfast_node.cache.state import State
from holdfast_node.placement.state import PlacementState
from holdfast_node.restore import Restore
from holdfast_raft.machine import CorruptImage


@pytest.mark.parametrize("state", [State(), PlacementState()], ids=repr)
def test_what_does_not_add_up_is_told_in_rafts_words(state: State | PlacementState) -> None:
    """Damaged chunks, and chunks that end too early."""
    with pytest.raises(CorruptImage):
        Restore(state.builder()).feed(b"\xff")
    with pytest.raises(CorruptImage):
        Restore(state.builder()).finish()
