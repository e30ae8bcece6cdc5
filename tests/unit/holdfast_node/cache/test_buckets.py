"""Keys in order, in bounded buckets."""

from __future__ import annotations

import random

import pytest
from holdfast_node.cache.buckets import Buckets, counted_bytes, pack_record
from holdfast_node.limits import BUCKET_KEYS_MAX
from hypothesis import given
from hypothesis import strategies as st

RECORD = pack_record(0, 1, 0, b"v")


def check(buckets: Buckets, expected: dict[bytes, bytes]) -> None:
    """Counts, order and bounds all tell the same story."""
    row = list(buckets.run())
    starts = [bucket.start for bucket in row]
    assert starts[0] == b""
    assert starts == sorted(set(starts)) == list(buckets._bounds)
    assert [buckets.find(start) for start in starts] == row
    for bucket, end in zip(row, [*starts[1:], b"\xff" * 9], strict=True):
        assert len(bucket.records) <= BUCKET_KEYS_MAX
        assert all(bucket.start <= key < end for key in bucket.records)
        assert bucket.bytes == sum(counted_bytes(*item) for item in bucket.records.items())
        assert bucket.ordered is None or bucket.ordered == sorted(bucket.records)
    assert list(buckets.items()) == sorted(expected.items())
    assert buckets.key_count == len(expected)
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
            expected[key] = pack_record(1, 2, 3, value)
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
