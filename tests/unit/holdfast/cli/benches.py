"""Plans and tallies for the tests of `holdfast bench`."""

from __future__ import annotations

from typing import Any

from holdfast.cli.bench_plan import Plan
from holdfast.cli.bench_tally import Failed, Tally


def plan(**fields: Any) -> Plan:
    """A plan of two callers and a hundred operations on ten keys, but for what is named."""
    usual: dict[str, Any] = {
        "endpoints": "127.0.0.1:7400", "timeout_s": 5.0, "namespace": "default",
        "weights": {"put": 50, "get": 50}, "callers": 2, "rate": None, "seconds": None, "total": 100,
        "warmup_s": 0.0, "level": None, "bound_ms": None, "or_linearizable": False, "prefixes": (b"bench-",),
        "keys": 10, "value_bytes": 4, "ttl_ms": None, "zipf": 0.0, "seed": 1, "fills": True,
    }  # fmt: skip
    return Plan(**{**usual, **fields})


def tally(seconds: float = 1.0, **micros: list[int]) -> Tally:
    """A tally of these latencies by kind."""
    made = Tally()
    made.seconds = seconds
    for kind, values in micros.items():
        for value in values:
            made.latencies[kind].add(value)
    return made


BUSY = Failed("put", "BUSY", "refused")
LOST = Failed("put", "DEADLINE", "unknown")
