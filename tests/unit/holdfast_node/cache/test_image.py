"""Freezing, chunks and restores. (Restore equals life: tests/property/test_cache_model.py.)"""

from __future__ import annotations

import weakref

import pytest
from holdfast_node.cache import commands
from holdfast_node.cache.commands import Run
from holdfast_node.cache.state import CorruptImageError, State
from holdfast_node.limits import CHUNK_BYTES_MAX
from holdfast_node.v1 import snapshot_pb2 as pb

from tests.entries import SESSION, STAMP, apply, copy_of, operation, put


def large() -> State:
    """Several buckets, large values, a session of its own size."""
    state = State()
    for batch in range(3):
        first = batch * 1000 + 1
        data = [
            operation("put", b"k%05d" % i, i, value=bytes(i % 700), ttl_ms=1000 * (i % 3))
            for i in range(first, first + 1000)
        ]
        state.apply(commands.encode_batch(STAMP, [Run(SESSION, 0, data)]))
    put(state, b"huge", bytes(900_000))
    return state


def test_a_restore_is_the_state() -> None:
    """Keys, deadlines, sessions, history and counts come back."""
    state = large()
    twin = copy_of(state)
    assert twin.digest() == state.digest()
    assert twin.stats() == state.stats()
    assert twin.events_after(0) == state.events_after(0)
    assert twin.next_deadline() == state.next_deadline()
    put(twin, b"k00001", b"other")
    assert twin.digest() != state.digest()


def test_restored_events_share_the_records() -> None:
    """A restored history refers to the buckets' objects, as a lived one does: no value is held twice."""
    twin = copy_of(large())
    for event in twin._space.history.events:
        assert event[3] is twin._space.buckets.get(event[1])


def test_chunks_are_bounded() -> None:
    """A chunk holds about 256 KiB, or one value that is larger."""
    image = large().freeze()
    sizes = [len(chunk) for chunk in image.chunks()]
    image.release()
    assert max(sizes) < 1_000_000
    assert sum(size > CHUNK_BYTES_MAX * 5 // 4 for size in sizes) == 2, "the huge value: key and event"


@pytest.mark.parametrize("is_first_read_first", [True, False])
def test_images_may_overlap(is_first_read_first: bool) -> None:
    """Each image says its own moment, whichever is read and released first, whatever is written meanwhile."""
    state = large()
    first_digest, first = state.digest(), state.freeze()
    put(state, b"k00001", b"1")
    second_digest, second = state.digest(), state.freeze()
    put(state, b"k00001", b"2")
    apply(state, operation("put", b"k00001", 4000, value=b"3"), session=SESSION)
    read = [(first, first_digest), (second, second_digest)]
    for image, digest in read if is_first_read_first else reversed(read):
        steps = image.digest_steps()
        next(steps)
        put(state, b"k00002", b"behind what was read")
        put(state, b"k02500", b"before what is still to be read")
        assert list(steps)[-1] == digest
        image.release()
    second.release()
    assert state.get(b"k00001") is not None


def test_what_was_read_is_let_go() -> None:
    """The dict of a bucket goes when the next one is read, not at the end; writes behind it need no copy."""

    class Watched(dict[bytes, bytes]):
        """Which can be referred to weakly."""

    state = large()
    image = state.freeze()
    first, second, *_ = state._space.buckets.run()
    image._records[0] = Watched(image._records[0])
    old = weakref.ref(image._records[0])
    chunks = image.chunks()
    while image._records[0]:  # until the second bucket is being read
        next(chunks)
    assert old() is None
    before, held = first.records, second.records
    put(state, next(iter(before)), b"it was read")
    put(state, next(iter(held)), b"it is still being read")
    assert first.records is before
    assert second.records is not held
    image.release()


def test_after_the_release_nothing_is_copied() -> None:
    """A released image leaves no bucket marked, so later writes go into the dicts themselves."""
    state = State()
    put(state, b"a")
    image = state.freeze()
    image.release()
    (bucket,) = state._space.buckets.run()
    held = bucket.records
    put(state, b"b")
    assert bucket.records is held
    assert list(image.digest_steps()) != []


def refused(chunks: list[bytes], reason: str) -> None:
    builder = State().builder()
    with pytest.raises(CorruptImageError, match=reason):  # noqa: PT012 -- any chunk may be the one
        for chunk in chunks:
            builder.feed(chunk)
        State.restored(builder)


def chunks_of(state: State) -> list[bytes]:
    image = state.freeze()
    chunks = list(image.chunks())
    image.release()
    return chunks


def test_a_snapshot_of_another_format_is_refused() -> None:
    """A reader that does not know the format says so instead of guessing."""
    for unknown in (1, 4):
        head = pb.Chunk(head=pb.Head(format=unknown))
        refused([head.SerializeToString()], f"format {unknown} is not known, this program reads 2, 3")
    refused([b""], "first chunk")
    refused([b"\xff"], "chunk refused")


def test_a_snapshot_without_its_tail_is_refused() -> None:
    """A snapshot that ends early, goes on after its tail, or begins twice never becomes a state."""
    chunks = chunks_of(large())
    refused(chunks[:-1], "before its tail")
    refused([*chunks, chunks[1]], "follows the tail")
    refused([chunks[0], *chunks], "stands twice")
    refused(chunks[1:], "first chunk")
    refused(chunks[:1] + chunks[2:], "differ")


def test_a_damaged_part_is_refused() -> None:
    """Records without a header, sessions in two minds, events out of order: each is named."""
    head = chunks_of(State())[0]
    record = pb.Chunk(records=pb.Records(keys=[b"a"], records=[b"short"]))
    refused([head, record.SerializeToString()], "no header")
    applied = pb.Applied(sequence=1)
    session = pb.Session(id=SESSION, until_ms=5, applied=[applied, applied])
    refused([head, pb.Chunk(sessions=pb.Sessions(sessions=[session])).SerializeToString()], "twice")
    parts = [pb.Session(id=SESSION, until_ms=5), pb.Session(id=SESSION, until_ms=6)]
    refused([head, pb.Chunk(sessions=pb.Sessions(sessions=parts)).SerializeToString()], "differ")
    events = [pb.Event(kind=2, key=b"a", revision=2), pb.Event(kind=2, key=b"a", revision=1)]
    refused([head, pb.Chunk(events=pb.Events(events=events)).SerializeToString()], "order")
    event = pb.Event(kind=1, key=b"a", revision=1, record=b"x")
    refused([head, pb.Chunk(events=pb.Events(events=[event])).SerializeToString()], "no header")
