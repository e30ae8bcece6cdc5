"""Generated stubs of proto/holdfast/v1."""
