"""Log lines as text and as JSON."""

from __future__ import annotations

import json
import logging
import sys

from holdfast_node.logs import JsonFormatter, TextFormatter


def record(message: str, *, failed: bool = False) -> logging.LogRecord:
    caught = None
    if failed:
        try:
            int("on purpose")
        except ValueError:
            caught = sys.exc_info()
    made = logging.LogRecord("holdfast_node.x", logging.INFO, "f.py", 1, message, ("a b",), caught)
    made.created = 1_700_000_000.25
    return made


def test_a_text_line_has_time_level_and_place() -> None:
    """UTC with milliseconds, level, logger, message; a stack goes below."""
    line = TextFormatter().format(record("node.ready name=%s", failed=True))

    assert line.startswith("2023-11-14T22:13:20.250Z INFO    holdfast_node.x node.ready name=a b\n")
    assert "ValueError" in line


def test_a_json_line_is_one_object() -> None:
    """The same facts as fields, on one line whatever the message holds."""
    line = JsonFormatter().format(record('quote " and\nbreak %s', failed=True))

    found = json.loads(line)
    assert "\n" not in line
    assert (found["level"], found["message"]) == ("info", 'quote " and\nbreak a b')
    assert "on purpose" in found["exception"]
