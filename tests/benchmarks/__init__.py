"""Timings, measured and reported, never asserted (`make bench`)."""
