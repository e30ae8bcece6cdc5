"""holdfast.cli.output: bytes for people and for programs."""

from __future__ import annotations

import pytest
from holdfast.cli.output import given, named, print_table, served_fields, served_text, shown, size_text
from hypothesis import given as for_all
from hypothesis import strategies as st


@for_all(st.binary(max_size=40))
def test_what_is_shown_can_be_given_back(data):
    """Any bytes shown to a person and copied into the next command are the same bytes."""
    assert given(shown(data)) == data
    assert "\n" not in shown(data)


def test_json_names_bytes_by_whether_they_are_text():
    """`key` when UTF-8, else `key_b64`."""
    assert named("key", "é".encode()) == {"key": "é"}
    assert named("key", b"\xff") == {"key_b64": "/w=="}
    assert named("previous", None) == {"previous": None}


def test_a_table_is_aligned_and_shows_absence_as_a_dash(capsys):
    """Columns line up; nothing, empty lists and zero are told apart."""
    print_table(("NODE", "LEADS"), [(1, None), (22, [1, 2]), (3, 0)])

    assert capsys.readouterr().out == "NODE  LEADS\n1     -\n22    1,2\n3     0\n"


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (2048, "2.0 KiB"), (5 << 30, "5.0 GiB")])
def test_sizes_read_easily(count, text):
    """Bytes in the unit that fits."""
    assert size_text(count) == text


def test_an_answer_without_a_server_is_told_as_such():
    """Absent facts are null in JSON, words for people."""
    assert served_fields(None)["level"] is None
    assert served_text(None) == "not known who answered"
