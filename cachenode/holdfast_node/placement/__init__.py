"""Placement: comes with shards that split, merge and move."""
