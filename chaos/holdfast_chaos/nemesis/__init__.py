"""Nemeses: who carries out the faults of a plan, each with its healing and its proof that it fired.

stage.py        what a fault may touch, and where it says what it did
carrying.py     the plan, fault by fault; everything is healed in the end, whatever happened
killing.py pausing.py partitions.py connections.py placing.py clients.py   by the name
disks.py        faults of a node on a disk of ours: slow, full, failing, power, failpoints, clock
freezing.py     all stand still, and what their disks hold by then is compared with what they had said
ballast.py      bytes that make segments and snapshots due
damage.py       bytes changed on a stopped node's disk; a disk that is gone
known.py        every nemesis by its name
"""
