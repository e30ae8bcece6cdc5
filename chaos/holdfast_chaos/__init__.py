"""holdfast_chaos: breaks a real cluster on purpose, and judges what its clients saw.

A run writes a *record*, JSON Lines (`record.py`); checkers judge it afterwards, so that a saved record can
be judged again, by others too: `python -m holdfast_chaos check FILE`. What is promised is in docs/guide;
which checker holds which promise is in `judging.py`. How to run it: docs/guide/chaos.md.

What is asked, when which fault comes, what a record means, how it is judged and drawn is pure: no clock, no
network, and chance only as a seeded generator that is handed in. Shells around it: `cluster/` (processes and
the network between them), `workloads/` (clients), `nemesis/` (faults), `node/` (a node on a disk of ours),
`runner.py`, `record_file.py` and the command line.
"""
