"""Keys in order, in bounded buckets."""

from __future__ import annotations

import random

import pytest
from holdfast_node.cache.bucket import FROZEN, HANDED, OWN, marks_of
from holdfast_node.cache.buckets import HEADER, Buckets, counted_bytes, pack_record
from holdfast_node.limits import BUCKET_KEYS_MAX
from hypothesis import given
from hypothesis import strategies as st

RECORD = pack_record(0, 1, 0, b"v")


def check(buckets: Buckets, expected: dict[bytes, bytes]) -> None:
    """Counts, order and bounds all tell the same story."""
    row = list(buckets.run())
    starts = [bucket.start for bucket in row]
    assert starts[0] == b""
    assert starts == sorted(set(starts)) == buckets._flat
    assert [buckets.find(start) for start in starts] == row
    for bucket, end in zip(row, [*starts[1:], b"\xff" * 9], strict=True):
        assert len(bucket.records) <= BUCKET_KEYS_MAX
        assert all(bucket.start <= key < end for key in bucket.records)
        assert bucket.bytes == sum(counted_bytes(*item) for item in bucket.records.items())
        assert bucket.due == marks_of(bucket.records)
        assert bucket.ordered is None or bucket.ordered == sorted(bucket.records)
    assert list(buckets.items()) == sorted(expected.items())
    assert buckets.key_count == len(expected)
    deadlines = {key: HEADER.unpack_from(record)[2] for key, record in expected.items()}
    late = [key for _, key in sorted((at, key) for key, at in deadlines.items() if at)]
    assert buckets.deadlines.due(2**62, 10**6) == late
    assert buckets.deadlines.count == len(late)
    assert buckets.deadlines.earliest() == min(filter(None, deadlines.values()), default=None)
    assert buckets.byte_count == sum(counted_bytes(*item) for item in expected.items())


@pytest.mark.parametrize("order", ["up", "down", "shuffled"])
def test_buckets_split_and_join(order: str) -> None:
    """Whatever the order of writes and removals, buckets stay bounded and hold every key once."""
    keys = [b"k%06d" % i for i in range(4 * BUCKET_KEYS_MAX)]
    source = random.Random(7)
    if order == "shuffled":
        source.shuffle(keys)
    elif order == "down":
        keys.reverse()
    buckets, expected = Buckets(), {}
    for key in keys:
        buckets.set(key, RECORD)
        expected[key] = RECORD
    check(buckets, expected)
    assert len(list(buckets.run())) > 3
    source.shuffle(keys)
    for key in keys[5:]:
        assert buckets.remove(key) == expected.pop(key)
    check(buckets, expected)
    assert len(list(buckets.run())) == 1, "small neighbours are joined"


@given(st.lists(st.tuples(st.sampled_from("sr"), st.binary(max_size=2), st.binary(max_size=3)), max_size=60))
def test_buckets_are_a_sorted_dict(acts: list[tuple[str, bytes, bytes]]) -> None:
    """set, get, remove and items do what a dict with sorted keys does."""
    buckets, expected = Buckets(), {}
    for act, key, value in acts:
        if act == "s":
            expected[key] = pack_record(1, 2, len(value), value)
            buckets.set(key, expected[key])
            buckets.find(key).keys()  # from now on the order is kept, not made
        else:
            assert buckets.remove(key) == expected.pop(key, None)
        assert buckets.get(key) == expected.get(key)
    check(buckets, expected)


def test_a_range_begins_and_ends_where_it_says() -> None:
    """items gives [start, end) over bucket bounds; keys_from the next keys of one bucket."""
    buckets = Buckets()
    keys = [b"k%06d" % i for i in range(1500)]
    for key in keys:
        buckets.set(key, RECORD)
    for low, high in ((0, 0), (3, 4), (100, 1400), (511, 513)):
        assert [key for key, _ in buckets.items(keys[low], keys[high])] == keys[low:high]
    assert [key for key, _ in buckets.items(keys[700] + b"x")] == keys[701:]
    assert buckets.keys_from(keys[700])[0] == keys[700]
    assert buckets.keys_from(keys[-1] + b"x") == []
    seen, at = [], b""
    while found := buckets.keys_from(at):
        seen += found
        at = found[-1] + b"\0"
    assert seen == keys


def test_a_shared_bucket_is_copied_before_it_is_written() -> None:
    """Whoever holds a shared bucket's dict sees it as it stood, through writes, removals and splits."""
    buckets = Buckets()
    for i in range(BUCKET_KEYS_MAX):
        buckets.set(b"k%06d" % i, RECORD)
    (bucket,) = buckets.run()
    held, before = bucket.records, dict(bucket.records)
    bucket.shared = True
    buckets.remove(b"k000001")
    for i in range(600):
        buckets.set(b"k%06d" % i, b"x" * 20)
    assert held == before


def test_append_takes_keys_in_order_only() -> None:
    """A restore that brings keys out of order, twice or without records is refused."""
    keys = [b"k%06d" % i for i in range(1300)]
    buckets = Buckets()
    buckets.append(keys[:700], [RECORD] * 700)
    buckets.append(keys[700:], [RECORD] * 600)
    check(buckets, dict.fromkeys(keys, RECORD))
    for bad in ([], [b"a"], [keys[-1]], [b"z", b"y"], [b"z", b"z"]):
        with pytest.raises(ValueError, match=r"order|pair"):
            buckets.append(bad, [RECORD] * len(bad))
    with pytest.raises(ValueError, match="pair"):
        buckets.append([b"z"], [])


def many(count: int, every: int = 3) -> tuple[Buckets, dict[bytes, bytes]]:
    """Buckets of that many keys, each `every`-th with a deadline."""
    buckets, expected = Buckets(), {}
    for i in range(count):
        expected[b"k%06d" % i] = pack_record(1, i, 0 if i % every else 5000 - i, b"v%d" % i)
        buckets.set(b"k%06d" % i, expected[b"k%06d" % i])
    return buckets, expected


BOUNDS = [(b"", b""), (b"", b"k000700"), (b"k000700", b""), (b"k000256", b"k000257"), (b"k0003", b"k0009"),
          (b"z", b""), (b"", b"a"), (b"k000511", b"k000512\0")]  # fmt: skip


@pytest.mark.parametrize(("start", "end"), BOUNDS)
def test_a_cut_holds_exactly_the_range(start: bytes, end: bytes) -> None:
    """Keys, counts and deadlines of the range, wherever the bounds fall between or inside buckets."""
    buckets, expected = many(2000)

    part = buckets.cut(start, end)

    check(part, {key: expected[key] for key in expected if key >= start and (not end or key < end)})
    check(buckets, expected)


def test_a_cut_shares_whole_buckets_and_copies_none() -> None:
    """All but the buckets at the bounds are the very dicts of the source."""
    buckets, _ = many(5000)

    part = buckets.cut(b"k001000", b"k004000")

    owned = {id(bucket.records) for bucket in buckets.run()}
    copied = [bucket for bucket in part.run() if id(bucket.records) not in owned]
    assert len(copied) <= 2
    assert len(list(part.run())) > 8


def test_whoever_writes_first_copies() -> None:
    """Writes to a part leave the source and other parts as they were, and the other way round."""
    buckets, expected = many(3000)
    first, second = buckets.cut(b"", b""), buckets.cut(b"", b"")
    others = dict(expected), dict(expected)
    for i in range(0, 3000, 2):
        key = b"k%06d" % i
        first.remove(key)
        del others[0][key]
        second.set(key, pack_record(0, 9, i, b""))
        others[1][key] = pack_record(0, 9, i, b"")
    check(buckets, expected)
    buckets.set(b"k000001", RECORD)

    check(first, others[0])
    check(second, others[1])


def test_a_handed_bucket_stays_marked_whatever_is_released() -> None:
    """Freezing and releasing takes the marks of images only."""
    buckets, _ = many(10)
    (bucket,) = buckets.run()
    assert bucket.shared == OWN
    (other,) = buckets.cut(b"", b"").run()
    assert (bucket.shared, other.shared) == (HANDED, HANDED)
    assert (bucket.shared or FROZEN) == HANDED


def test_joined_neighbours_are_one_row() -> None:
    """The keys of both, in order, by reference; an empty one adds nothing."""
    buckets, expected = many(2000)
    lower, upper = buckets.cut(b"", b"k000700"), buckets.cut(b"k000700", b"")

    whole = lower.joined(Buckets()).joined(upper)
    whole.set(b"k000699\0", RECORD)

    check(whole, expected | {b"k000699\0": RECORD})
    check(buckets, expected)
    with pytest.raises(ValueError, match="order"):
        upper.joined(lower)


def test_later_moves_every_deadline_and_nothing_else() -> None:
    """Records without a deadline are the same objects; the source keeps its own."""
    buckets, expected = many(1500)

    moved = buckets.later(250)

    check(moved, {
        key: pack_record(record[0], *HEADER.unpack_from(record)[1:2], at + 250 if at else 0, record[17:])
        for key, record in expected.items() for at in [HEADER.unpack_from(record)[2]]
    })  # fmt: skip
    check(buckets, expected)
    assert moved.get(b"k000001") is buckets.get(b"k000001")
