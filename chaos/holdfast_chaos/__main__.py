"""`python -m holdfast_chaos`."""

from __future__ import annotations

import os

# Before gRPC is imported: we start processes by exec and never fork, and its handlers say so each time.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from holdfast_chaos.cli import root

if __name__ == "__main__":
    root(prog_name="python -m holdfast_chaos")
