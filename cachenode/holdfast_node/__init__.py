"""holdfast_node: one node: the cache state machine, its shards, the gRPC services and the process."""
