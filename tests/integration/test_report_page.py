"""The report in a real browser: everything is drawn where it can be read, nothing is asked of a network."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from holdfast_chaos.judging import judgements
from holdfast_chaos.report import page

from tests.integration.browser import asked, chromium, picture
from tests.unit.holdfast_chaos.records import Script

LAID_OUT = """
  const drawings = [...document.querySelectorAll("svg")].map(svg => {
    const box = svg.getBoundingClientRect();
    const outside = [...svg.querySelectorAll("text")].filter(text => {
      const own = text.getBoundingClientRect();
      return own.left < box.left - 1 || own.right > box.right + 1 || own.top < box.top - 1
        || own.bottom > box.bottom + 1;
    }).map(text => text.textContent);
    return {width: box.width, height: box.height, shapes: svg.querySelectorAll("rect, path, line").length,
      label: svg.getAttribute("aria-label"), outside};
  });
  return {drawings, verdict: document.querySelector(".verdict").innerText,
    colour: getComputedStyle(document.querySelector(".verdict")).backgroundColor,
    wider: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    asked: performance.getEntriesByType("resource").length};
"""
RED = "rgb(179, 38, 30)"


@pytest.fixture
def violation(tmp_path: Path) -> Path:
    """A page about a stale read in the middle of a fault, beside a lot of good operations."""
    if chromium() is None:
        assert "CI" not in os.environ, "CI installs chromium; .ci/run did not"
        pytest.skip("no chromium here: apt-get install chromium")
    script = Script()
    for at, phase in ((40, "begin"), (41, "proof"), (70, "healed")):
        script.note("fault", {"id": 1, "name": "isolate-leader", "phase": phase, "minority": True}, at=at)
    for number in range(1, 40):
        at = 2.5 * number
        script.put(f"value {number}", at=(at, at + 1), revision=number)
        if number == 20:
            script.get("value 18", at=(at + 1.1, at + 1.4), revision=18)
    script.note("leader", {"term": 1}, at=1, node=2, group=7)
    script.note("leader", {"term": 2}, at=45, node=3, group=7)
    record = script.record(nemeses=("isolate-leader",), settings={"demands": {"operations_min": 1}})
    path = tmp_path / "report.html"
    path.write_text(page(record, judgements(record)), encoding="utf-8")
    return path


@pytest.mark.slow
def test_a_report_can_be_read_in_a_browser(violation: Path) -> None:
    """The verdict stands out; every drawing has its size and shapes, and no text outside of it."""
    found = asked(violation, LAID_OUT)

    assert (found["verdict"], found["colour"]) == ("invalid", RED)
    assert len(found["drawings"]) >= 2
    for drawing in found["drawings"]:
        assert drawing["outside"] == [], drawing["label"]
        assert drawing["width"] > 700
        assert drawing["height"] > 60
        assert drawing["shapes"] > 3, drawing["label"]


@pytest.mark.slow
def test_a_report_fits_a_narrow_window_and_asks_no_network(violation: Path) -> None:
    """Wide drawings scroll inside their frame, not the page."""
    found = asked(violation, LAID_OUT, window=(620, 1000))

    assert found["wider"] == 0
    assert found["asked"] == 0


@pytest.mark.slow
def test_a_report_has_a_picture(violation: Path, tmp_path: Path) -> None:
    """As the one in docs/evidence is made."""
    target = tmp_path / "report.png"
    picture(violation, target)

    assert target.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert target.stat().st_size > 20_000
