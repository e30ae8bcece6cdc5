"""The deterministic cache state machine: pure, entries in, results out. Begin at state.py."""
