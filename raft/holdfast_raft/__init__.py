"""holdfast_raft: replicates bytes.

Groups of fixed membership on PySyncObj's consensus core, with our own loop, write-ahead log,
snapshots, transport and message guard around it. Knows nothing of caches: a state machine is
handed in by its owner (see `machine`).
"""
