"""`python -m holdfast.cli`: the same as the `holdfast` script."""

from __future__ import annotations

from holdfast.cli import main

if __name__ == "__main__":
    main()
