"""A page in a real browser: what it holds once it is laid out, and a picture of it.

    python -m tests.integration.browser PAGE PICTURE

Headless Chromium, of Debian's package `chromium`. It gets a profile of its own and reaches no network.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from html import unescape
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
WINDOW = (1240, 2400)
TIMEOUT_S = 120
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip
_ANSWER = re.compile(r'<script id="answer" type="application/json">(.*?)</script>', re.DOTALL)
_ASK = """
<script>
addEventListener("load", () => {
  const answer = document.createElement("script");
  answer.id = "answer";
  answer.type = "application/json";
  answer.textContent = JSON.stringify((() => { %s })());
  document.body.append(answer);
});
</script>
"""


def chromium() -> str | None:
    """The browser's program; None: not installed."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def _run(flags: list[str]) -> str:
    program = chromium()
    assert program is not None, "chromium is not installed"
    with tempfile.TemporaryDirectory() as profile:
        command = [program, *_FLAGS, f"--user-data-dir={profile}", *flags]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    return done.stdout


def asked(page: Path, question: str, window: tuple[int, int] = WINDOW) -> Any:
    """What a page, once it is loaded, answers to a script that returns something."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "page.html")
        copy.write_text(page.read_text(encoding="utf-8") + _ASK % question, encoding="utf-8")
        size = f"--window-size={window[0]},{window[1]}"
        found = _ANSWER.search(_run([size, "--dump-dom", copy.as_uri()]))
    assert found is not None, "the page did not load"
    return json.loads(unescape(found[1]))


def picture(page: Path, target: Path, window: tuple[int, int] = WINDOW) -> None:
    """Makes a PNG of the page."""
    size = f"--window-size={window[0]},{window[1]}"
    _run([size, f"--screenshot={target}", page.resolve().as_uri()])


if __name__ == "__main__":
    picture(Path(sys.argv[1]), Path(sys.argv[2]))
