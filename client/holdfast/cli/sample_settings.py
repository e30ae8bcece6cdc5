"""`holdfast sample-settings`: realistic settings of a fleet of devices as JSON Lines, to load and play with.

The same arguments give the same rows. Device ids begin with a random digit or letter, so that a fleet
spreads evenly over shards cut by `holdfast dev --shards N`; a device's keys share its id as a prefix and
stay together. Some settings are temporary and carry a time to live.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import click

from holdfast.cli.dev_layout import ALPHABET
from holdfast.cli.verbs import verb

EXAMPLES = """
# A thousand devices, straight into the cluster
$ holdfast sample-settings --devices 1000 | holdfast load -

# Kept in a file, another fleet
$ holdfast sample-settings --devices 50000 --seed 7 > fleet.jsonl
"""


class Row(NamedTuple):
    """One setting. ttl: seconds, None = kept."""

    key: str
    value: str
    ttl: int | None


# model -> share of the fleet, firmware versions in use
MODELS: dict[str, tuple[int, tuple[str, ...]]] = {
    "thermostat": (40, ("4.2.1", "4.2.3", "4.3.0")),
    "lock": (20, ("2.0.7", "2.1.0")),
    "camera": (15, ("7.11.2", "7.12.0")),
    "meter": (15, ("1.8.4",)),
    "gateway": (10, ("3.4.9", "3.5.0-rc2")),
}
ZONES = (
    "Europe/Berlin",
    "Europe/Madrid",
    "America/Chicago",
    "America/Sao_Paulo",
    "Asia/Tokyo",
    "Asia/Kolkata",
)


def settings_of_fleet(devices: int, seed: int) -> Iterator[Row]:
    """All settings of all devices, device by device."""
    rng = random.Random(seed)
    names = list(MODELS)
    shares = [MODELS[name][0] for name in names]
    for number in range(devices):
        model = rng.choices(names, shares)[0]
        device = "".join(rng.choices(ALPHABET, k=6)) + f"-{model}-{number:06d}"
        yield from settings_of_device(device, model, rng)


def settings_of_device(device: str, model: str, rng: random.Random) -> Iterator[Row]:
    """What one device is told: what it should be, how it reports, and sometimes an exception for a while."""
    versions = MODELS[model][1]
    yield _row(device, "config", _CONFIGS[model](rng))
    yield _row(
        device,
        "firmware",
        {"target": rng.choice(versions), "window": f"{rng.randrange(24):02d}:00", "force": False},
    )
    ntp = f"ntp{rng.randrange(1, 5)}.example.net"
    yield _row(device, "network", {"ntp": ntp, "keepalive_s": rng.choice([30, 60, 120]), "tls": "1.3"})
    yield Row(f"{device}/report_interval_s", str(rng.choice([15, 60, 300, 900])), None)
    yield Row(f"{device}/timezone", rng.choice(ZONES), None)
    if rng.random() < 0.1:
        reason = rng.choice(["holiday", "maintenance", "guest"])
        yield _row(device, "override", {"reason": reason, "by": f"user-{rng.randrange(10_000)}"}, 3600)
    if rng.random() < 0.02:
        yield Row(f"{device}/debug_until_expiry", "verbose", 600)


def _row(device: str, name: str, document: dict[str, Any], ttl: int | None = None) -> Row:
    return Row(f"{device}/{name}", json.dumps(document, separators=(",", ":")), ttl)


def _thermostat(rng: random.Random) -> dict[str, Any]:
    day = rng.randrange(190, 230) / 10
    schedule = [{"at": "06:30", "c": day}, {"at": "22:00", "c": day - 3}]
    return {"mode": rng.choice(["heat", "cool", "auto"]), "schedule": schedule, "hysteresis_c": 0.3}


def _lock(rng: random.Random) -> dict[str, Any]:
    return {"auto_lock_s": rng.choice([0, 30, 120]), "codes": rng.randrange(1, 6), "beep": rng.random() < 0.5}


def _camera(rng: random.Random) -> dict[str, Any]:
    size = rng.choice(["1280x720", "1920x1080", "3840x2160"])
    return {"size": size, "fps": rng.choice([10, 15, 30]), "night": "auto", "motion": rng.randrange(1, 11)}


def _meter(rng: random.Random) -> dict[str, Any]:
    return {"tariff": rng.choice(["day", "night", "flat"]), "sample_s": rng.choice([1, 10, 60]), "phases": 3}


def _gateway(rng: random.Random) -> dict[str, Any]:
    return {"channel": rng.randrange(11, 27), "children_max": 64, "uplink": rng.choice(["lte", "ethernet"])}


_CONFIGS = {
    "thermostat": _thermostat,
    "lock": _lock,
    "camera": _camera,
    "meter": _meter,
    "gateway": _gateway,
}


def register(root: click.Group) -> None:
    """Adds the verb."""
    verb(root, "sample-settings", EXAMPLES)(sample_settings)


@click.option(
    "--devices", type=click.IntRange(1, 10_000_000), default=100, show_default=True, help="How many."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Another fleet for another seed.")
def sample_settings(devices: int, seed: int) -> None:
    """Prints realistic settings of a fleet of devices as JSON Lines (about five keys a device)."""
    for row in settings_of_fleet(devices, seed):
        fields: dict[str, Any] = {"key": row.key, "value": row.value}
        if row.ttl is not None:
            fields["ttl"] = row.ttl
        click.echo(json.dumps(fields, separators=(",", ":")))
