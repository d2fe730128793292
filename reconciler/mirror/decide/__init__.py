"""Rules of the mirror as pure functions over plain data: no I/O, no clock, no randomness."""
