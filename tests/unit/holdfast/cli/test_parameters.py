"""holdfast.cli.parameters: sizes, node ids and labels as a person writes them."""

from __future__ import annotations

import click
import pytest
from holdfast.cli.parameters import BYTES, LABEL, NODE_IDS


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1), ("512B", 512), ("64KiB", 65_536), ("256MiB", 256 << 20), ("256mib", 256 << 20),
        ("1.5GiB", 3 << 29), ("2M", 2 << 20), ("1 TiB", 1 << 40),
    ],
)  # fmt: skip
def test_a_size_has_a_binary_unit_or_is_bytes(text, size):
    """Powers of 1024, however the unit is written."""
    assert BYTES.convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "MiB", "1XB", "0.1", "9000000TiB", "nan"])
def test_what_is_no_size_is_refused(text):
    """A typo does not become a limit."""
    with pytest.raises(click.BadParameter):
        BYTES.convert(text, None, None)


def test_node_ids_stand_once_each():
    """1,2,4 in this order; no node twice, none below 1."""
    assert NODE_IDS.convert("4,1, 2", None, None) == (4, 1, 2)
    for text in ("", "1,,2", "1,1", "0", "a"):
        with pytest.raises(click.BadParameter):
            NODE_IDS.convert(text, None, None)


def test_a_label_is_a_name_and_a_value():
    """The value may hold anything, also nothing."""
    assert LABEL.convert("rule=a=b", None, None) == ("rule", "a=b")
    assert LABEL.convert("spot=", None, None) == ("spot", "")
    for text in ("ssd", "=ssd"):
        with pytest.raises(click.BadParameter):
            LABEL.convert(text, None, None)
