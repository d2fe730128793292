"""The GUID of a server as fence devices and tools write it."""

import re


def checked_guid(guid: str) -> str:
    """Raises `ValueError` for what is no GUID."""
    if not re.fullmatch(r"[0-9a-f]{32}", digits(guid)):
        raise ValueError(f"'{guid}' is not a GUID of 32 hexadecimal digits")
    return guid


def digits(guid: str) -> str:
    """Its 32 digits alone, in lower case."""
    return guid.replace("-", "").lower()


def same_guid(one: str, other: str) -> bool:
    """Equal in any byte order that tools print: as sent, reversed, or with the first three fields
    swapped (SMBIOS). 128 random bits stay unique over these few orders."""
    raw, wanted = bytes.fromhex(digits(one)), bytes.fromhex(digits(other))
    backwards = raw[::-1]
    return wanted in (raw, backwards, _swapped(raw), _swapped(backwards))


def _swapped(raw: bytes) -> bytes:
    return raw[3::-1] + raw[5:3:-1] + raw[7:5:-1] + raw[8:]
