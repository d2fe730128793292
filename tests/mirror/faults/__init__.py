"""Real faults on two real engines, out of a seed: killed, cut off, stopped, out of space. Every
acknowledged write is looked for afterwards. `make mirror-faults`."""
