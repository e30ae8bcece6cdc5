"""What deploy/ says fits the program: files parse, metrics exist, the example configuration is accepted.

No image engine is at hand here, so the container file is read, not built.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from holdfast_node.config import first_map, load
from holdfast_node.metrics import METRICS

from tests.repo.sources import PACKAGES, ROOT

DEPLOY = ROOT / "deploy"
HISTOGRAM_SERIES = ("_bucket", "_count", "_sum")


@pytest.mark.parametrize("path", sorted(DEPLOY.glob("*.yaml")), ids=lambda path: path.name)
def test_yaml_parses(path):
    """Every YAML file is one document that parses."""
    assert isinstance(yaml.safe_load(path.read_text()), dict)


@pytest.mark.parametrize("node", [1, 2, 3])
def test_the_example_configuration_serves_every_node(node):
    """The same file makes node 1, 2 and 3 by HOLDFAST_NODE, as the compose file uses it."""
    config = load(DEPLOY / "node.example.toml", {"HOLDFAST_NODE": str(node)})

    assert config.node == node
    assert len(first_map(config).shards) == 4


def test_the_compose_file_runs_the_example_cluster():
    """Each service is another node of the example, with a volume of its own and its own health check."""
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    nodes = tomllib.loads((DEPLOY / "node.example.toml").read_text())["nodes"]

    assert [int(s["environment"]["HOLDFAST_NODE"]) for s in services.values()] == [n["id"] for n in nodes]
    assert len({s["volumes"][1] for s in services.values()}) == len(nodes)
    for service, node in zip(services.values(), nodes, strict=True):
        assert node["http"] in service["healthcheck"]["test"][-1]
        assert (DEPLOY / service["volumes"][0].partition(":")[0]).is_file()


def test_the_container_file_copies_what_there_is():
    """Every path it copies from the repository exists, and all packages of the wheel are among them."""
    lines = (DEPLOY / "Containerfile").read_text().splitlines()
    copied = [
        name
        for line in lines
        if line.startswith("COPY ") and "--from" not in line
        for name in line.split()[1:-1]
    ]

    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert set(PACKAGES) - {"chaos"} <= set(copied)


def test_alerts_ask_for_metrics_that_exist():
    """A renamed metric does not silence an alert."""
    known = set()
    for metric in METRICS:
        if metric.kind == "histogram":
            known.update(metric.name + suffix for suffix in HISTOGRAM_SERIES)
        else:
            known.add(metric.name + ("_total" if metric.kind == "counter" else ""))
    groups = yaml.safe_load((DEPLOY / "prometheus-rules.yaml").read_text())["groups"]
    expressions = [rule["expr"] for group in groups for rule in group["rules"]]
    asked = {name for text in expressions for name in re.findall(r"\bholdfast_\w+", text)}

    assert asked
    assert sorted(asked - known) == []


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_the_unit_file_is_accepted_by_systemd(tmp_path):
    """systemd finds nothing wrong with the unit, once its program exists."""
    program = tmp_path / "holdfast"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "holdfast.service"
    text = (DEPLOY / "holdfast.service").read_text().replace("/opt/holdfast/bin/holdfast", str(program))
    # Users and documentation are the host's business.
    unit.write_text(re.sub(r"(?m)^(User|Group|Documentation)=.*\n", "", text))

    found = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False, timeout=60
    )

    assert [line for line in found.stderr.splitlines() if Path(unit).name in line] == []
