"""holdfast: the Python SDK of the Holdfast cache cluster.

    import holdfast

    async with holdfast.connect("127.0.0.1:7400") as client:
        await client.put("device/7/interval", "30")
        print((await client.get("device/7/interval")).value)

`connect_blocking` gives the same client to programs without an event loop, `holdfast.testing` an
in-memory fake. Importing the package loads none of this: the node process shares its vocabulary modules
(`holdfast.keys`, `.errors`, ...) and needs no client.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.blocking import BlockingClient, BlockingWatch, connect_blocking
    from holdfast.client import Client
    from holdfast.connecting import connect
    from holdfast.errors import (
        BusyError,
        ConditionFailedError,
        HoldfastError,
        InvalidError,
        NoQuorumError,
        OutOfSpaceError,
        PreviousNotKeptError,
        Reason,
        RefusedError,
        SomeFailedError,
        UnknownOutcomeError,
    )
    from holdfast.operations import Compare, Step
    from holdfast.types import (
        DeleteResult,
        Event,
        EventKind,
        IncrementResult,
        Item,
        Level,
        Mark,
        MarkKind,
        Outcome,
        Page,
        PutResult,
        Reading,
        Served,
        StepResult,
        TxnResult,
        WatchPoint,
    )
    from holdfast.watch import Watch

__all__ = [
    "BlockingClient",
    "BlockingWatch",
    "BusyError",
    "Client",
    "Compare",
    "ConditionFailedError",
    "DeleteResult",
    "Event",
    "EventKind",
    "HoldfastError",
    "IncrementResult",
    "InvalidError",
    "Item",
    "Level",
    "Mark",
    "MarkKind",
    "NoQuorumError",
    "OutOfSpaceError",
    "Outcome",
    "Page",
    "PreviousNotKeptError",
    "PutResult",
    "Reading",
    "Reason",
    "RefusedError",
    "Served",
    "SomeFailedError",
    "Step",
    "StepResult",
    "TxnResult",
    "UnknownOutcomeError",
    "Watch",
    "WatchPoint",
    "connect",
    "connect_blocking",
]

_HOME = {
    "BlockingClient": "blocking",
    "BlockingWatch": "blocking",
    "connect_blocking": "blocking",
    "Client": "client",
    "connect": "connecting",
    "Compare": "operations",
    "Step": "operations",
    "Watch": "watch",
} | {name: "errors" for name in __all__ if name.endswith("Error") or name == "Reason"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_HOME.get(name, 'types')}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
