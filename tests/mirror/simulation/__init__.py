"""The mirror's own simulator: two sides, a coordinator and their streams in one process, one random
number generator, no time. The roles and the metadata are the real ones."""
