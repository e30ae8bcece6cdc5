"""holdfast.cli.bench: keys that it did not write are safe from it. Against nodes: tests/integration."""

from __future__ import annotations

from holdfast.errors import Reason

from tests.unit.holdfast.cli.console import Console


def test_keys_of_others_under_the_prefix_stop_it() -> None:
    """Exit code 3, the key is named, and what to do; nothing was written or deleted."""
    console = Console()
    console.run("put", "bench-mark", "mine")

    result = console.run("bench", "--key-prefix", "other-", "--key-prefix", "bench-")

    assert (result.exit_code, result.stdout) == (3, "")
    assert "such as bench-mark" in result.stderr
    assert "holdfast del -n default --paged --prefix bench-" in result.stderr
    assert console.run("scan", "--keys-only").stdout == "bench-mark\n"


def test_a_cluster_that_refuses_is_told_as_by_every_verb() -> None:
    """The usual complaint and exit code, before any process is started."""
    console = Console()
    console.fake.fail_next("scan", Reason.NO_QUORUM)

    result = console.run("bench")

    assert (result.exit_code, result.stdout) == (3, "")
    assert "NO_QUORUM" in result.stderr
