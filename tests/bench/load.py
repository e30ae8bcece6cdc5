"""What one generator is asked for, as the parent says it and the generator reads it (JSON in an argument)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

KEYS = 10_000
VALUE_BYTES = 256
STRIDE = 104_729
"""Prime, so that a caller's places go through the whole space; peerload's main.go has the same."""
CALLER_STRIDE = 7_919
TIMEOUT_S = 5.0
"""Of every operation of ours; an open loop counts one that failed as if it had taken this long."""


@dataclass(frozen=True, slots=True)
class Load:
    """One generator's work.

    kind: put, lget, sget, batch (put_many of `batch` pairs), mixed (reads and writes), echo; gateway: mixed,
        by gateway.py instead of the SDK.
    rate: requests a second of an open loop; 0: closed loop of `callers`.
    first: number of its first caller, so that generators do not ask for the same places in step.
    """

    kind: str
    endpoints: str
    callers: int = 1
    first: int = 0
    seconds: float = 3.0
    warmup: float = 1.0
    keys: int = KEYS
    value_bytes: int = VALUE_BYTES
    key_form: str = "device/{:012d}"
    fill: bool = False
    fill_from: int = 0
    """Keys below this are there already."""
    batch: int = 1
    rate: float = 0.0
    timeout_s: float = TIMEOUT_S
    reads: float = 0.95
    zipf: float = 0.0
    hot: float = 0.0
    """Part of all reads that go to one key."""
    seed: int = 1
    samples: str = ""
    frames_out: int = 0
    frame_out_bytes: int = 0
    frame_in_bytes: int = 0

    def text(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def parsed(text: str) -> Load:
        return Load(**json.loads(text))

    def key(self, place: int) -> bytes:
        return self.key_form.format(place).encode()


def shares(total: int, parts: int) -> list[int]:
    """`total` callers over `parts` generators, as evenly as it goes."""
    return [total // parts + (1 if part < total % parts else 0) for part in range(parts)]
