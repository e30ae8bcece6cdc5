"""The short way of a plain overwrite is the general way, only shorter."""

from __future__ import annotations

from unittest import mock

from holdfast.v1 import cache_pb2 as pb
from holdfast_node.cache import state as state_module
from holdfast_node.cache.commands import Run, encode_batch, encode_policy
from holdfast_node.cache.policy import Eviction, Policy
from holdfast_node.cache.state import State
from hypothesis import given
from hypothesis import strategies as st

STAMP = 1_790_000_000_000
SESSIONS = (b"a" * 16, b"b" * 16)

puts = st.builds(
    lambda value, ttl, returning, absent: pb.Put(
        value=value, ttl_ms=ttl, return_previous=returning, if_absent=absent
    ),
    st.binary(max_size=60),
    st.sampled_from([0, 0, 0, 10, 5000]),
    st.booleans(),
    st.sampled_from([False, False, False, True]),
)
steps = st.lists(
    st.tuples(
        st.sampled_from(SESSIONS),
        st.integers(1, 12),  # sequence: repeats and reuse happen
        st.sampled_from([b"k1", b"k2", b"k3"]),
        puts,
        st.integers(0, 30),  # ms that pass
        st.booleans(),  # an image is alive
    ),
    max_size=30,
)


def one_by_one(_space, _sessions, session, ops, otherwise):
    return [otherwise(op, session) for op in ops]


@given(steps, st.sampled_from([400, 1 << 30]))
def test_overwrites_by_either_way_give_the_same_state_results_and_events(
    given_steps: list[tuple[bytes, int, bytes, pb.Put, int, bool]], budget: int
) -> None:
    """Same results, events, digest and counts, with conditions, deadlines, repeats and images about."""
    short, general = State(), State()
    policy = encode_policy(STAMP, Policy(budget_bytes=budget, eviction=Eviction.CLOCK))
    for state in (short, general):
        state.keep_events = True
        state.apply(policy)
    stamp = STAMP
    for session, sequence, key, put, passes, frozen in given_steps:
        stamp += passes
        operation = pb.Operation(sequence=sequence, key=key, not_after_ms=STAMP + 60_000, put=put)
        entry = encode_batch(stamp, [Run(session, 0, [operation.SerializeToString()])])
        images = [state.freeze() for state in (short, general)] if frozen else []
        said = short.apply(entry)
        with mock.patch.object(state_module, "overwrites", one_by_one):
            expected = general.apply(entry)
        for image in images:
            image.release()

        assert expected == said
        assert general.take_events() == short.take_events()
        assert general.stats() == short.stats()
    assert general.digest() == short.digest()
