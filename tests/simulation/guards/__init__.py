"""Every guard of the product, taken out one at a time (or in the smallest set that is missed): what
remains must break a rule. A guard that nothing misses is either not needed or not tested."""
