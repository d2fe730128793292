"""The agent of one server: decides from a snapshot, drives the machine, keeps it there."""
