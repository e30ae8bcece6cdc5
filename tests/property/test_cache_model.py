"""The state machine against an obvious model, against its own restores, and against damaged entries."""

from __future__ import annotations

from typing import Any

from holdfast.types import EventKind
from holdfast.v1 import cache_pb2 as pb
from holdfast_node.cache import commands
from holdfast_node.cache.commands import Run, UnknownEntryError
from holdfast_node.cache.policy import Eviction, Policy
from holdfast_node.cache.state import CorruptImageError, State
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.entries import copy_of, operation
from tests.property.cache_model import Model, bare

KEYS = st.sampled_from([b"a", b"a/1", b"a/2", b"b", b"b\0", b"c", b"d" * 40, b"e"])
VALUES = st.sampled_from(
    [b"", b"1", b"-7", b"9223372036854775807", b"text", b"v" * 50, b"w" * 200, b"x" * 1100]
)
TTLS = st.sampled_from([0, 0, 10, 50, 400])
REVISIONS = st.sampled_from([None, None, None, 0, 1, 2, 3, 5, 8])
SESSIONS = st.sampled_from([b"", b"s" * 16, b"t" * 16])
RANGES = st.sampled_from(
    [pb.KeyRange(), pb.KeyRange(prefix=b"a"), pb.KeyRange(start=b"a/2", end=b"c"), pb.KeyRange(start=b"d")]
)


@st.composite
def puts(draw: Any) -> pb.Put:
    message = pb.Put(value=draw(VALUES), ttl_ms=draw(TTLS), return_previous=draw(st.booleans()))
    condition = draw(st.sampled_from(["", "", "", "absent", "present", "revision"]))
    if condition == "revision":
        message.if_revision = draw(st.integers(0, 8))
    elif condition:
        setattr(message, f"if_{condition}", True)
    return message


@st.composite
def increments(draw: Any) -> pb.Increment:
    return pb.Increment(
        by=draw(st.sampled_from([1, -3, 2**63 - 1])), initial=draw(st.sampled_from([0, 5])),
        minimum=draw(st.sampled_from([None, 0])), ttl_ms=draw(TTLS),
    )  # fmt: skip


@st.composite
def steps(draw: Any) -> pb.TxnOperation:
    step = pb.TxnOperation(key=draw(KEYS))
    kind = draw(st.sampled_from(["get", "put", "put", "delete", "increment", "touch"]))
    if kind == "put":
        step.put.CopyFrom(draw(puts()))
    elif kind == "increment":
        step.increment.CopyFrom(draw(increments()))
    elif kind == "touch":
        step.touch.ttl_ms = draw(TTLS)
    elif kind == "delete":
        step.delete.return_previous = draw(st.booleans())
    else:
        step.get.SetInParent()
    return step


@st.composite
def operations(draw: Any, stamp: int) -> bytes:
    message = pb.Operation(sequence=draw(st.integers(1, 12)))
    message.not_after_ms = stamp + draw(st.sampled_from([60_000, 60_000, 60_000, 100, 10, 0, -1, 700_000]))
    kind = draw(st.sampled_from(["put", "put", "put", "delete", "range", "cas", "increment", "touch", "txn"]))
    if kind not in ("range", "txn"):
        message.key = draw(KEYS)
    if kind == "put":
        message.put.CopyFrom(draw(puts()))
    elif kind == "delete":
        message.delete.CopyFrom(pb.Delete(if_revision=draw(REVISIONS), return_previous=draw(st.booleans())))
    elif kind == "range":
        message.delete.CopyFrom(pb.Delete(range=draw(RANGES), paged=draw(st.booleans())))
    elif kind == "cas":
        message.compare_and_set.CopyFrom(
            pb.CompareAndSet(revision=draw(st.integers(0, 8)), value=draw(VALUES))
        )
    elif kind == "increment":
        message.increment.CopyFrom(draw(increments()))
    elif kind == "touch":
        message.touch.CopyFrom(pb.Touch(ttl_ms=draw(TTLS)))
    else:
        compares = draw(st.lists(st.builds(pb.Compare, key=KEYS, exists=st.booleans()), max_size=2))
        lists = st.lists(steps(), max_size=4)
        then = draw(st.lists(steps(), min_size=1, max_size=4))
        message.txn.CopyFrom(pb.Txn(compares=compares, then=then, otherwise=draw(lists)))
    return message.SerializeToString()


POLICIES = st.builds(
    Policy,
    st.sampled_from([400, 700, 1500, 10**6]),
    st.sampled_from([Eviction.CLOCK, Eviction.CLOCK, Eviction.NOEVICT]),
    st.just(1_000_000),
    st.just(10**9),
)


@st.composite
def entries(draw: Any) -> list[bytes]:
    """A log: entries whose stamps mostly move on and sometimes go back."""
    stamp, log, sent = 1000, [], []
    for _ in range(draw(st.integers(1, 14))):
        stamp += draw(st.sampled_from([0, 0, 1, 20, 100, 100_000, -50]))
        kind = draw(st.sampled_from(["batch"] * 6 + ["expire", "evict", "touch", "policy"]))
        if kind == "batch":
            runs = []
            for _ in range(draw(st.integers(1, 2))):
                data = draw(st.lists(operations(stamp), min_size=1, max_size=4))
                if sent and draw(st.booleans()):
                    data.append(draw(st.sampled_from(sent)))  # a repeat, of any session
                sent += data
                runs.append(Run(draw(SESSIONS), draw(st.sampled_from([0, 0, 0, 3])), data))
            log.append(commands.encode_batch(stamp, runs))
        elif kind == "expire":
            log.append(commands.encode_expire(stamp, draw(st.sampled_from([1, 1000]))))
        elif kind == "evict":
            log.append(commands.encode_evict(stamp, draw(st.sampled_from([1, 1000]))))
        elif kind == "touch":
            log.append(commands.encode_touch(stamp, draw(st.lists(KEYS, max_size=4))))
        else:
            log.append(commands.encode_policy(stamp, draw(POLICIES)))
    return log


def events_of(state: State) -> list[tuple[Any, ...]]:
    return [
        (EventKind(event.kind).name, event.key, event.revision, event.value, event.deadline_ms)
        for event in state.events_after(0)
    ]


@given(POLICIES, entries())
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_the_state_does_what_the_model_does(policy: Policy, log: list[bytes]) -> None:
    """Results, keys, counts, revisions, events and the eviction hand are the model's after every entry."""
    state, model = State(policy), Model(policy)
    for entry in log:
        got = [[bare(result) for result in run] for run in state.apply(entry)]
        assert got == [[bare(result) for result in run] for run in model.apply(entry)]
        page = state.scan()
        held = {item.key: (item.value, item.revision) for item in page.items}
        assert held == {key: (value.value, value.revision) for key, value in model.keys.items()}
        assert [item.key for item in page.items] == sorted(model.keys)
        assert (state.revision, state.stamp_ms, state.byte_count) == (
            model.revision,
            model.stamp,
            model.bytes(),
        )
        assert state.next_deadline() == min(
            (h.deadline for h in model.keys.values() if h.deadline), default=None
        )
        assert events_of(state) == model.events


@given(POLICIES, entries(), st.sets(st.integers(0, 13)))
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_a_restored_state_behaves_like_one_that_lived(
    policy: Policy, log: list[bytes], moments: set[int]
) -> None:
    """Restored at any moments, a twin gives the same results, events, victims and digest ever after."""
    policy = policy._replace(history_events=6)
    lived, twin = State(policy), State(policy)
    for index, entry in enumerate(log):
        if index in moments:
            twin = copy_of(twin)
        assert lived.apply(entry) == twin.apply(entry)
        assert lived.digest() == twin.digest()
        assert lived.oldest_revision == twin.oldest_revision
        oldest = lived.oldest_revision
        assert lived.events_after(oldest) == twin.events_after(oldest)
        assert lived.stats() | {"evicted_total": 0, "expired_total": 0} == twin.stats() | {
            "evicted_total": 0,
            "expired_total": 0,
        }


@given(POLICIES, entries(), st.integers(0, 13))
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_an_image_says_the_moment_of_its_freeze(policy: Policy, log: list[bytes], moment: int) -> None:
    """Entries applied after a freeze change nothing of what its chunks say."""
    state = State(policy)
    for entry in log[:moment]:
        state.apply(entry)
    digest, image, builder = state.digest(), state.freeze(), state.builder()
    for chunk, entry in zip(image.chunks(), log[moment:] + [None] * 100, strict=False):
        builder.feed(chunk)
        if entry is not None:
            state.apply(entry)
    image.release()
    assert State.restored(builder).digest() == digest


@given(st.permutations([b"k%03d" % i for i in range(30)]), st.randoms(use_true_random=False))
def test_the_order_in_which_keys_came_does_not_matter(keys: list[bytes], random: Any) -> None:
    """States that hold the same records evict the same keys, however the keys came and buckets were cut."""
    policy = Policy(30 * 68 + 1000)
    ordered, shuffled = State(policy), State(policy)
    numbered = {key: operation("put", key, value=b"") for key in sorted(keys)}
    # One transaction each: the same revision for all keys, in two orders.
    for state, order in ((ordered, sorted(keys)), (shuffled, keys)):
        txn = [pb.TxnOperation(key=key, put=pb.Put(value=numbered[key][:0])) for key in order]
        state.apply(commands.encode_batch(1_000_000, [Run(b"", 0, [operation("txn", then=txn)])]))
    rest = [commands.encode_policy(1_000_000, Policy(15 * 68)), commands.encode_evict(1_000_000)]
    rest.insert(1, commands.encode_touch(1_000_000, random.sample(keys, 5)))
    for entry in rest:
        ordered.apply(entry)
        shuffled.apply(entry)
    assert ordered.digest() == shuffled.digest()
    assert ordered.key_count == 15


@given(entries(), st.data())
def test_a_damaged_entry_raises_nothing_but_unknown_entry(log: list[bytes], data: st.DataObject) -> None:
    """Apply is total: whatever an entry's bytes are, it is applied or refused as unknown."""
    state = State(Policy(700))
    for entry in log:
        damaged = bytearray(entry)
        for _ in range(data.draw(st.integers(0, 3))):
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
        before = state.digest()
        try:
            state.apply(bytes(damaged))
        except UnknownEntryError:
            assert state.digest() == before
    assert copy_of(state).digest() == state.digest()


@given(entries(), st.data())
def test_a_damaged_chunk_is_refused(log: list[bytes], data: st.DataObject) -> None:
    """A snapshot with any byte changed, a chunk missing, doubled or moved never becomes a state."""
    state = State(Policy())
    for entry in log:
        state.apply(entry)
    image = state.freeze()
    chunks = list(image.chunks())
    image.release()
    act = data.draw(st.sampled_from(["flip", "drop", "double", "swap"]))
    at = data.draw(st.integers(0, len(chunks) - 1))
    if act == "flip":
        byte = data.draw(st.integers(0, len(chunks[at]) - 1))
        changed = bytearray(chunks[at])
        changed[byte] ^= data.draw(st.integers(1, 255))
        chunks[at] = bytes(changed)
    elif act == "drop":
        del chunks[at]
    elif act == "double":
        chunks.insert(at, chunks[at])
    else:
        other = (at + 1) % len(chunks)
        chunks[at], chunks[other] = chunks[other], chunks[at]
    builder = state.builder()
    try:
        for chunk in chunks:
            builder.feed(chunk)
        builder.finish()
    except CorruptImageError:
        return
    # The tail does not cover itself: only a change there that leaves it saying the same may pass.
    assert act == "flip"
    assert at == len(chunks) - 1
    assert State.restored(builder).digest() == state.digest()
