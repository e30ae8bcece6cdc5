"""holdfast.cli.sample_settings: the same fleet for the same arguments, loadable, spread over shards."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice

from holdfast.cli.dev_layout import even_splits
from holdfast.cli.rows import Row, of_json_lines
from holdfast.cli.sample_settings import settings_of_fleet

from tests.unit.holdfast.cli.console import Console


def test_the_same_seed_gives_the_same_fleet():
    """Numbers measured on it can be compared."""
    assert list(settings_of_fleet(20, 7)) == list(settings_of_fleet(20, 7))
    assert list(settings_of_fleet(20, 7)) != list(settings_of_fleet(20, 8))


def test_every_line_can_be_loaded():
    """What the generator prints, `load` reads without a complaint."""
    lines = Console().run("sample-settings", "--devices", "50").stdout.splitlines()

    assert len(lines) >= 250
    assert all(isinstance(row, Row) for row in of_json_lines(lines))


def test_values_are_documents_and_some_are_temporary():
    """Settings look like settings; some carry a time to live."""
    rows = list(settings_of_fleet(200, 1))

    assert all(json.loads(row.value) for row in rows if row.key.endswith("/config"))
    assert 0 < sum(row.ttl is not None for row in rows) < len(rows) / 5


def test_a_fleet_spreads_over_the_shards_of_a_dev_cluster():
    """Of N shards none holds more than twice its share of devices."""
    cuts = [cut.decode() for cut in even_splits(4)]
    devices = {row.key.partition("/")[0] for row in islice(settings_of_fleet(500, 1), 3000)}
    counts = Counter(sum(device >= cut for cut in cuts) for device in devices)

    assert sorted(counts) == [0, 1, 2, 3]
    assert max(counts.values()) < 2 * len(devices) / 4
