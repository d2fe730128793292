"""What a user writes: the six kinds, their loader and their checks. No I/O beyond parsing text."""
