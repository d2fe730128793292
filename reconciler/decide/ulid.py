"""Sortable ids for operations and events; the callers (CLI, loops) bring time and randomness."""

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford: no I, L, O, U
RANDOM_BYTES = 10


def ulid(wall: float, randomness: bytes) -> str:
    """26 characters that sort by time.

    `wall` is in seconds since 1970, `randomness` exactly 10 bytes. Raises `ValueError` when the
    time does not fit into 48 bits of milliseconds or the randomness has another length.
    """
    milliseconds = int(wall * 1000)
    if not 0 <= milliseconds < 1 << 48:
        raise ValueError(f"time {wall} does not fit into a ULID")
    if len(randomness) != RANDOM_BYTES:
        raise ValueError(f"a ULID takes {RANDOM_BYTES} random bytes, got {len(randomness)}")
    number = milliseconds << 80 | int.from_bytes(randomness)
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))
