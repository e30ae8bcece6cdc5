"""What options and arguments of the cluster's verbs mean: sizes, node ids, labels, policies, hash bounds.

Each turns a person's text into a value or fails with a sentence that shows the right form. Durations are in
verbs.py, because every command has one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:  # generic for type checkers only in newer clicks
    IntParameter = click.ParamType[int]
    IdsParameter = click.ParamType[tuple[int, ...]]
    PairParameter = click.ParamType[tuple[str, str]]
    BytesParameter = click.ParamType[bytes]
else:
    IntParameter = IdsParameter = PairParameter = BytesParameter = click.ParamType

# The planner's policies, as they are typed; placement_planning.py knows their numbers.
POLICIES = ("split-by-size", "split-by-load", "merge", "balance", "replace", "drain")

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])(?:i?b)?|b)?\Z", re.IGNORECASE)
_HASH = re.compile(r"[0-9a-fA-F]{1,16}\Z")
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}


class ByteSize(IntParameter):
    """64KiB, 256MiB, 1.5GiB; a bare number is bytes. Units are powers of 1024, also as K, M, G."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """What click calls."""
        if isinstance(value, int):
            return value
        found = _SIZE.match(value.strip())
        if found is None:
            self.fail(f"{value!r} is not a size such as 64KiB, 256MiB, 1.5GiB", param, ctx)
        number, unit = found.groups()
        size: int = round(float(number) * 1024 ** _POWERS.get((unit or "").lower(), 0))
        if not 0 < size < 1 << 63:
            self.fail(f"{value!r} is not a size: it must be more than 0 bytes and below 8 EiB", param, ctx)
        return size


class NodeIds(IdsParameter):
    """1,2,4: ids of nodes, each once."""

    name = "ids"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """What click calls."""
        if isinstance(value, tuple):
            return value
        try:
            ids = tuple(int(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of node ids such as 1,2,4", param, ctx)
        if len(set(ids)) < len(ids) or min(ids) < 1:
            self.fail(f"{value!r}: node ids are 1 or more, and each stands once", param, ctx)
        return ids


class Label(PairParameter):
    """NAME=VALUE."""

    name = "name=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """What click calls."""
        if isinstance(value, tuple):
            return value
        name, equals, content = value.partition("=")
        if not name or not equals:
            self.fail(f"{value!r} is not a label such as disk=ssd", param, ctx)
        return name, content


class HashBound(BytesParameter):
    """8, 80c0, 8000000000000000: where a hash begins, in hex, of which trailing zeros may be left out."""

    name = "hex"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        """What click calls."""
        if isinstance(value, bytes):
            return value
        if not _HASH.match(value):
            self.fail(f"{value!r} is not 1 to 16 hex digits such as 80 or c000", param, ctx)
        return bytes.fromhex(value if len(value) % 2 == 0 else value + "0")


BYTES = ByteSize()
HASH_BOUND = HashBound()
NODE_IDS = NodeIds()
LABEL = Label()
# Group, node and plan ids begin at 1.
ID = click.IntRange(min=1)
