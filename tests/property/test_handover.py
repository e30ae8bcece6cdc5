"""Hand-over against an obvious model: parts behave as the whole would, and nobody disturbs anybody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple
from unittest import mock

import pytest
from holdfast.errors import HoldfastError, Reason
from holdfast.keys import KeyRange
from holdfast_node import watch_hub
from holdfast_node.cache import buckets, commands, history
from holdfast_node.cache.buckets import HEADER
from holdfast_node.cache.commands import Run
from holdfast_node.cache.history import Event
from holdfast_node.cache.policy import Policy
from holdfast_node.cache.seal import Seal, Target
from holdfast_node.cache.state import Rest, State
from holdfast_node.watch_hub import WatchHub, WatchSlice
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.entries import copy_of, operation
from tests.property.cache_model import Model, bare
from tests.property.test_cache_model import entries

POLICY = Policy(10**9)  # nothing is evicted: a budget evaluates differently on a part
SLOW = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
CUTS = st.sampled_from([b"a", b"a/2", b"b", b"b\0", b"c", b"d", b"zz"])
LOGS = entries().map(lambda log: [entry for entry in log if entry[0] != commands.SET_POLICY])


def seal(state: State, plan: int = 1000) -> State:
    entry = commands.encode_seal(state.stamp_ms, Seal(plan, True, (Target(99, b"", b"", (1,)),)))
    ((result,),) = state.apply(entry, None, (9, 2))
    assert not result.error
    return state


def within(keys: KeyRange, entry: bytes) -> bytes:
    """The entry as the target of that range gets it: with the operations that lie inside."""
    opened = commands.decode_entry(entry)
    if opened.kind != commands.BATCH:
        return entry
    runs = []
    for run in opened.runs:
        inside = []
        for data in run.operations:
            try:
                span = commands.decode_operation(data).span()
            except commands.DecodeError:
                continue
            if span.start >= keys.start and (not keys.end or (span.end and span.end <= keys.end)):
                inside.append(data)
        runs.append(Run(run.session, run.answered_below, inside))
    return commands.encode_batch(opened.stamp_ms, runs)


def restrict(model: Model, keys: KeyRange) -> Model:
    """What a target of that range begins with, by the model."""
    part = Model(model.policy)
    part.keys = {key: held for key, held in model.keys.items() if key in keys}
    part.revision, part.stamp = model.revision, model.stamp
    part.sessions = {name: {**s, "done": dict(s["done"])} for name, s in model.sessions.items()}
    part.events = [event for event in model.events if event[1] in keys]
    return part


def told(events: list[Event]) -> list[tuple[Any, ...]]:
    return [(e.key, e.revision, e.value, e.deadline_ms) for e in events]


@given(LOGS, LOGS, CUTS, st.booleans())
@SLOW
def test_a_part_does_what_the_model_of_its_range_does(
    before: list[bytes], after: list[bytes], at: bytes, restored: bool
) -> None:
    """Results, keys, revisions and events of both parts; the source stays as it was sealed."""
    state, model = State(POLICY), Model(POLICY)
    for entry in before:
        state.apply(entry)
        model.apply(entry)
    digest = seal(state).digest()
    reads = state.scan()
    ranges = KeyRange(b"", at), KeyRange(at, b"")
    parts = [state.cut(keys.start, keys.end, 4) for keys in ranges]
    if restored:
        parts = [copy_of(part) for part in parts]
    for keys, part in zip(ranges, parts, strict=True):
        twin = restrict(model, keys)
        for entry in [b"", *after]:
            if entry:
                mine = within(keys, entry)
                got = [[bare(result) for result in run] for run in part.apply(mine)]
                assert got == [[bare(result) for result in run] for run in twin.apply(mine)]
            held = {item.key: (item.value, item.revision) for item in part.scan().items}
            assert held == {key: (value.value, value.revision) for key, value in twin.keys.items()}
            assert (part.revision, part.stamp_ms, part.byte_count) == (
                twin.revision,
                twin.stamp,
                twin.bytes(),
            )
            deadlines = [held.deadline for held in twin.keys.values() if held.deadline]
            assert part.next_deadline() == min(deadlines, default=None)
            assert told(part.events_after(0)) == [event[1:] for event in twin.events]
        assert (state.digest(), state.scan()) == (digest, reads)


@given(LOGS, LOGS, CUTS, st.integers(0, 8))
@SLOW
def test_when_a_parts_events_go_depends_on_the_log_alone(
    before: list[bytes], after: list[bytes], at: bytes, copied_at: int
) -> None:
    """Replicas that sifted by pieces, at once, or were copied in between drop the same ones at once."""
    source = State(POLICY._replace(history_events=4))
    for entry in before:
        source.apply(entry)
    seal(source)
    for keys in (KeyRange(b"", at), KeyRange(at, b"")):
        with mock.patch.object(history, "SIFTED_AN_ENTRY", 1):
            lived, hasty = source.cut(*keys, 4), source.cut(*keys, 4)
            hasty._space.history._sift_all()
            copied = None
            for number, entry in enumerate(after):
                mine = within(keys, entry)
                copied = copy_of(lived) if number == copied_at else copied
                for part in filter(None, (lived, hasty, copied)):
                    part.apply(mine)
                    assert part.digest() == lived.digest()
                    oldest = part.oldest_revision
                    assert part.events_after(oldest) == lived.events_after(oldest)


def small(make: Callable[[], State]) -> State:
    """A state made while buckets hold four keys: another layout."""
    with mock.patch.object(buckets, "BUCKET_KEYS_MAX", 4), mock.patch.object(buckets, "_JOIN_KEYS_MAX", 1):
        return make()


@given(LOGS, LOGS, CUTS, st.booleans())
@SLOW
def test_targets_do_not_know_how_their_source_lay_in_memory(
    log: list[bytes], after: list[bytes], at: bytes, image_is_alive: bool
) -> None:
    """Whether a replica lived, was restored or is cut again later: equal parts, joined equal wholes."""

    def sealed_source() -> State:
        source = State(POLICY)
        for entry in log:
            source.apply(entry)
        return seal(source)

    def parts_of(source: State) -> list[State]:
        return [source.cut(b"", at, 4), source.cut(at, b"", 4)]

    lived = sealed_source()
    image = lived.freeze() if image_is_alive else None
    first = parts_of(lived)
    others = [parts_of(copy_of(lived)), parts_of(small(sealed_source)), parts_of(lived)]
    if image is not None:
        image.release()
    for entry in after:
        for part in first:
            part.apply(entry)
        for parts in others:
            for part in parts:
                part.apply(entry)
    others.append([copy_of(part) for part in first])
    expected = [part.digest() for part in first]
    for parts in others:
        assert [part.digest() for part in parts] == expected
        for part in (*parts, *first):  # what is still to be sifted counts in a restored state only
            part._space.history._sift_all()
        counts = [part.stats() | {"evicted_total": 0, "expired_total": 0} for part in (*parts, *first)]
        assert counts[:2] == counts[2:]


@given(LOGS, LOGS, LOGS, CUTS)
@SLOW
def test_parts_apart_and_joined_again_hold_the_same_keys(
    log: list[bytes], left_log: list[bytes], right_log: list[bytes], at: bytes
) -> None:
    """Values as the parts had them, times moved alike, repeats answered; restored ones are equal for ever."""
    source = State(POLICY)
    for entry in log:
        source.apply(entry)
    seal(source)
    parts = []
    for keys, own in ((KeyRange(b"", at), left_log), (KeyRange(at, b""), right_log)):
        part = source.cut(keys.start, keys.end, 4)
        for entry in own:
            part.apply(within(keys, entry))
        parts.append(seal(part))
    digests = [part.digest() for part in parts]

    whole = State.joined(parts, [5, 6], POLICY)
    twin = copy_of(State.joined([copy_of(part) for part in parts], [5, 6], POLICY))

    assert [part.digest() for part in parts] == digests
    stamp = max(part.stamp_ms for part in parts)
    for part in parts:
        for item in part.scan().items:
            was, now = part.get(item.key), whole.get(item.key)
            assert was
            assert now
            assert (was.value, was.revision) == (now.value, now.revision)
            assert now.deadline_ms == (was.deadline_ms and was.deadline_ms + stamp - part.stamp_ms)
    assert whole.key_count == sum(part.key_count for part in parts)
    assert whole.byte_count == sum(part.byte_count for part in parts)
    deadlines = [HEADER.unpack_from(record)[2] for _, record in whole._space.buckets.items()]
    assert whole.next_deadline() == min(filter(None, deadlines), default=None)
    for entry in [*left_log, *right_log]:
        assert whole.apply(entry) == twin.apply(entry)
        assert whole.digest() == twin.digest()
        assert whole.stats() == twin.stats() | {"expired_total": whole.stats()["expired_total"]}


@given(st.lists(st.sampled_from([b"a", b"b", b"x", b"y"]), min_size=1, max_size=6), st.booleans())
def test_a_repeat_after_any_hand_over_gets_its_first_answer(keys: list[bytes], merge: bool) -> None:
    """An operation that took effect in the source takes no effect in a target."""
    session, state, sent, said = b"s" * 16, State(POLICY), [], []
    for sequence, key in enumerate(keys, 1):
        sent.append(operation("increment", key, sequence, by=1))
        said += state.apply(commands.encode_batch(1_000_000, [Run(session, 0, [sent[-1]])]))[0]
    seal(state)
    targets = [state.cut(b"", b"m", 4), state.cut(b"m", b"", 4)]
    if merge:
        targets = [State.joined([seal(target) for target in targets], [5, 6], POLICY)]
    for target in targets:
        before = target.revision
        (again,) = target.apply(commands.encode_batch(1_000_000, [Run(session, 0, sent)]))
        assert again == said
        assert target.revision == before


class Watched:
    """A state as a hub sees it."""

    def __init__(self, state: State, group: int) -> None:
        self.state, self.group = state, group

    def __getattr__(self, name: str) -> Any:
        return getattr(self.state, name)

    def resume(self, group: int, revision: int) -> int | Rest:
        return self.state.resume(group, revision, self.group)


class Hosted(NamedTuple):
    """A shard, and the groups whose points it should still know."""

    group: int
    keys: KeyRange
    state: State
    ancestors: list[int]


def watch(shard: Hosted, keys: KeyRange, point: tuple[int, int], slices_max: int) -> list[WatchSlice]:
    """A watch that breaks off after so many slices, or when it is live."""
    got: list[WatchSlice] = []
    hub = WatchHub(
        shard.group, Watched(shard.state, shard.group),
        lambda event, *_: b"%b@%d" % (event.key, event.revision), watched=lambda _: None, wake=lambda: None,
    )  # fmt: skip
    watcher = hub.subscribe(keys, got.append, point=point)
    while not watcher.live and len(got) < slices_max:
        hub.turn()
    return got


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from([b"a", b"b", b"m", b"x", b"y"])),
        st.tuples(st.just("watch"), st.integers(1, 3)),
        st.tuples(st.sampled_from(["split", "merge", "restart"]), st.just(0)),
    ),
    min_size=4,
    max_size=40,
)


@given(STEPS, st.sampled_from([KeyRange(b"", b"m"), KeyRange(b"m", b"")]))
@SLOW
def test_a_watcher_sees_each_event_once_across_splits_and_merges(
    steps: list[tuple[str, Any]], keys: KeyRange
) -> None:
    """Whenever it breaks off and comes back, to whichever group holds its keys by then."""
    halves = [KeyRange(b"", b"m"), KeyRange(b"m", b"")]
    shards = [Hosted(2, KeyRange(b"", b""), State(POLICY), [])]
    next_group, point = 3, (2, 0)
    written: list[bytes] = []
    seen: list[bytes] = []

    def come_back(slices_max: int) -> tuple[int, int]:
        at = point
        shard = next(shard for shard in shards if keys.start in shard.keys)
        if point[0] not in (shard.group, *shard.ancestors[-16:]):
            with pytest.raises(HoldfastError, match="no longer kept"):
                watch(shard, keys, point, slices_max)
            seen[:] = written  # it begins anew, with a snapshot
            return shard.group, shard.state.revision
        for piece in watch(shard, keys, point, slices_max)[:slices_max]:
            seen.extend(piece.events)
            assert piece.revision is not None
            at = (piece.group, piece.revision)
        return at

    with mock.patch.object(watch_hub, "SLICE_BYTES", 1), mock.patch.object(watch_hub, "REPLAY_EVENTS", 2):
        for act, what in [*steps, ("watch", 1000)]:
            if act == "put":
                state = next(shard.state for shard in shards if what in shard.keys)
                stamp = state.stamp_ms + 1
                data = operation("put", what, not_after=stamp)
                ((result,),) = state.apply(commands.encode_batch(stamp, [Run(b"", 0, [data])]))
                if what in keys:
                    written.append(b"%b@%d" % (what, result.revision))
            elif act == "watch":
                point = come_back(what)
            elif act == "restart":
                shards = [shard._replace(state=copy_of(shard.state)) for shard in shards]
            elif act == "split" and len(shards) == 1:
                (whole,) = shards
                seal(whole.state, next_group)
                shards = [
                    Hosted(next_group + i, half, whole.state.cut(half.start, half.end, whole.group),
                           [*whole.ancestors, whole.group][-16:])
                    for i, half in enumerate(halves)
                ]  # fmt: skip
                next_group += 2
            elif act == "merge" and len(shards) == 2:
                left, right = shards
                seal(left.state, next_group)
                seal(right.state, next_group)
                joined = State.joined([left.state, right.state], [left.group, right.group], POLICY)
                known = sorted([*left.ancestors, left.group, *right.ancestors, right.group])
                once = [group for group in known if known.count(group) == 1]
                shards = [Hosted(next_group, KeyRange(b"", b""), joined, once[-16:])]
                next_group += 1
    assert seen == written


def test_a_sealed_shard_refuses_what_comes_too_late() -> None:
    """A write behind the seal is answered WRONG_SHARD and takes effect in the target, once."""
    state = seal(State(POLICY))
    entry = commands.encode_batch(1_000_000, [Run(b"s" * 16, 0, [operation("increment", b"n", 1, by=1)])])
    ((refused,),) = state.apply(entry)
    target = state.cut(b"", b"", 4)
    ((done,),) = target.apply(entry)
    assert (refused.error, done.number, state.key_count) == (Reason.WRONG_SHARD, 1, 0)
