"""Protocols between the loops and the world; the simulator and the machine both implement them."""
