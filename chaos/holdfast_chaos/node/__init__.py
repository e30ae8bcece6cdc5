"""A node on a disk and a wall clock of ours: `python -m holdfast_chaos.node`, never in the wheel.

The real server, given a disk of this package, and commanded while it runs (`control.py`): the only part of
the harness that knows the server's packages.
"""
