"""Generated stubs of proto/holdfast_node/v1."""
