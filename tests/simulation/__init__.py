"""Deterministic simulation: the real loops and the real `decide` on a seeded virtual-time loop."""
