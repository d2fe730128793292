"""Kinds of faults: each file here is found by being there and registers its own."""
