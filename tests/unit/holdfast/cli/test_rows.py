"""holdfast.cli.rows: every line gives a row or says what is wrong with it."""

from __future__ import annotations

import pytest
from holdfast.cli.rows import FORMATS, BadRow, Row, of_csv, of_json_lines
from hypothesis import given
from hypothesis import strategies as st


def test_json_lines_give_rows():
    """key, value, ttl in seconds or as a duration; b64 for bytes; a value that is no text as JSON."""
    lines = [
        '{"key":"a","value":"1","ttl":60}\n',
        "\n",
        '{"key_b64":"/w==","value_b64":"/v8=","ttl":"10m"}\n',
        '{"key":"c","value":{"on":true}}\n',
    ]

    assert list(of_json_lines(lines)) == [
        Row(1, b"a", b"1", 60_000),
        Row(3, b"\xff", b"\xfe\xff", 600_000),
        Row(4, b"c", b'{"on":true}', None),
    ]


def test_csv_gives_rows_with_or_without_a_first_row_of_names():
    """Columns are key, value, ttl, or as the first row says; quoted cells may hold line ends."""
    assert list(of_csv(["a,1,60\n", 'b,"x\n', 'y",\n'])) == [
        Row(1, b"a", b"1", 60_000),
        Row(3, b"b", b"x\ny", None),
    ]
    assert list(of_csv(["ttl,key,value\n", "1s,a,1\n"])) == [Row(2, b"a", b"1", 1000)]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("nope", "not JSON"),
        ("[1]", "not an object"),
        ('{"key":"a"}', "value: give"),
        ('{"key":"","value":"1"}', "1..1024 bytes"),
        ('{"key":7,"value":"1"}', "key: must be text"),
        ('{"key":"a","value":"1","tll":5}', "tll: no such field"),
        ('{"key":"a","value":"1","ttl":"soon"}', "ttl: 'soon'"),
        ('{"key":"a","value":"1","ttl":true}', "ttl: must be"),
        ('{"key":"a","value":"1","ttl":0.001}', "a ttl is"),
        ('{"key_b64":"!","value":"1"}', "key_b64: not base64"),
    ],
)
def test_a_bad_line_is_told_by_number_and_field(line, problem):
    """What is wrong names the line and the field; the lines around it are read."""
    good = '{"key":"a","value":"1"}'

    first, bad, last = of_json_lines([good, line, good])

    assert isinstance(first, Row)
    assert isinstance(last, Row)
    assert isinstance(bad, BadRow)
    assert (bad.line, problem in bad.problem) == (2, True)


@given(st.sampled_from(sorted(FORMATS)), st.lists(st.text(max_size=60), max_size=6))
def test_no_text_breaks_the_reader(form, lines):
    """Any text gives rows and bad rows, never an exception."""
    for row in FORMATS[form](lines):
        assert isinstance(row, Row | BadRow)
