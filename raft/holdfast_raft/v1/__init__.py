"""Generated stubs of proto/holdfast_raft/v1."""
