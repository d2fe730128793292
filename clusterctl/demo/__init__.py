"""The guided failover: a lab, a client that counts what it misses, and the story around them."""
