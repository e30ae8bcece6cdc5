"""`python -m holdfast_chaos`."""

from __future__ import annotations

from holdfast_chaos.cli import root

if __name__ == "__main__":
    root(prog_name="python -m holdfast_chaos")
