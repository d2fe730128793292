"""Pure decisions: a frozen snapshot in, actions and reasons out. No I/O, no clock, no chance."""
