"""Typed scalars with units (`30s`, `4MiB`), names and addresses; used by every model of a spec.

In YAML and JSON a duration is text with a unit; in Python it is float seconds. Plain numbers are
refused in text, where nobody can see their unit, and accepted from Python code.
"""

import ipaddress
import re
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    JsonValue,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
)

Impact = Literal["none", "monitor", "resource", "group", "server"]
IMPACTS: tuple[Impact, ...] = ("none", "monitor", "resource", "group", "server")

_DURATION_UNITS = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
}
_DURATION_PART = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,18})?)(ms|s|m|h|d)")
DURATION_PATTERN = r"^([0-9]{1,18}(\.[0-9]{1,18})?(ms|s|m|h|d))+$"
_LONGEST_DURATION_S = Decimal(86400 * 3660)

_SIZE_UNITS = {
    "B": 1,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}
_SIZE = re.compile(r"([0-9]{1,18})(B|KiB|MiB|GiB|TiB|kB|MB|GB|TB)")
SIZE_PATTERN = r"^[0-9]{1,18}(B|KiB|MiB|GiB|TiB|kB|MB|GB|TB)$"

NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
_NAME = re.compile(NAME_PATTERN.removesuffix("$") + r"\Z")


def impact(impact_class: Impact, **extra: JsonValue) -> dict[str, JsonValue]:
    """What a change of the field disturbs, for `Field(json_schema_extra=...)`.

    `extra` may hold `example` and `default_text` (what stands in for an absent value); `explain`
    prints them.
    """
    return {"impact": impact_class, **extra}


def parse_duration(text: str) -> float:
    """Seconds of `50ms`, `30s`, `1h30m`. Raises ValueError."""
    position, total = 0, Decimal(0)
    stripped = text.strip()
    while match := _DURATION_PART.match(stripped, position):
        total += Decimal(match[1]) * _DURATION_UNITS[match[2]]
        position = match.end()
    if position == 0 or position != len(stripped):
        raise ValueError(f"{_shown(text)} is not a duration; write it with a unit, such as 30s")
    if total > _LONGEST_DURATION_S:
        raise ValueError(f"{_shown(text)} is longer than ten years")
    return float(total)


def format_duration(seconds: float) -> str:
    """The shortest exact text: 0.05 -> `50ms`, 3600 -> `1h`. Seconds must be finite and >= 0."""
    exact = Decimal(repr(float(seconds)))
    if exact == 0:
        return "0s"
    for unit in ("d", "h", "m", "s", "ms"):
        amount = exact / _DURATION_UNITS[unit]
        if amount == amount.to_integral_value() and amount < 10**18:
            return f"{int(amount)}{unit}"
    return f"{exact:f}s"


def parse_size(text: str) -> int:
    """Bytes of `4MiB`, `512B`, `1GB`. Raises ValueError."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{_shown(text)} is not a size; write it with a unit, such as 4MiB")
    return int(match[1]) * _SIZE_UNITS[match[2]]


def format_size(size: int) -> str:
    """The largest binary unit that is exact: 4194304 -> `4MiB`."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % _SIZE_UNITS[unit] == 0:
            return f"{size // _SIZE_UNITS[unit]}{unit}"
    return f"{size}B"


def parse_address(text: str) -> str:
    """An IPv4 or IPv6 address in its shortest form. Raises ValueError."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"{_shown(text)} is not an IPv4 or IPv6 address") from None
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id:
        raise ValueError(f"{_shown(text)}: leave the %interface out")
    return str(address)


def parse_cidr(text: str) -> str:
    """A network such as 10.77.1.0/24. Raises ValueError, naming the network that was meant."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{_shown(text)} is not a network such as 10.77.1.0/24") from None
    if "/" not in text:
        raise ValueError(f"{_shown(text)} has no prefix length; write a network as 10.77.1.0/24")
    if ipaddress.ip_interface(text).ip != network.network_address:
        raise ValueError(f"{_shown(text)} is an address in a network; did you mean '{network}'?")
    return str(network)


def parse_interface_address(text: str) -> str:
    """An address with its prefix length, such as 10.77.2.100/24. Raises ValueError."""
    try:
        interface = ipaddress.ip_interface(text)
    except ValueError:
        raise ValueError(f"{_shown(text)} is not an address such as 10.77.2.100/24") from None
    if "/" not in text:
        raise ValueError(f"{_shown(text)} has no prefix length; write it as {text}/24")
    return str(interface.with_prefixlen)


def parse_name(text: str) -> str:
    """A DNS-1123 label. Raises ValueError."""
    if not _NAME.match(text):
        raise ValueError(
            f"{_shown(text)} is not a name: at most 63 of a-z, 0-9 and '-', "
            "beginning and ending with a letter or digit"
        )
    return text


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _duration(value: Any, info: ValidationInfo) -> float:
    if isinstance(value, str):
        return parse_duration(value)
    if info.mode == "json" or isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{_shown(str(value))} is not a duration; write it with a unit, as 30s")
    if not 0 <= value <= float(_LONGEST_DURATION_S):
        raise ValueError(f"{value} seconds is not a duration")
    return float(value)


def _size(value: Any, info: ValidationInfo) -> int:
    if isinstance(value, str):
        return parse_size(value)
    if info.mode == "json" or isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{_shown(str(value))} is not a size; write it with a unit, as 4MiB")
    return value


Duration = Annotated[
    float,
    BeforeValidator(_duration),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "duration", "pattern": DURATION_PATTERN}),
]
"""Float seconds in Python, `30s` in YAML and JSON."""

ByteSize = Annotated[
    int,
    BeforeValidator(_size),
    PlainSerializer(format_size, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "byte-size", "pattern": SIZE_PATTERN}),
]
"""Bytes in Python, `4MiB` in YAML and JSON."""

Name = Annotated[
    str,
    AfterValidator(parse_name),
    WithJsonSchema({"type": "string", "format": "name", "pattern": NAME_PATTERN}),
]
Address = Annotated[
    str,
    AfterValidator(parse_address),
    WithJsonSchema({"type": "string", "format": "address"}),
]
Cidr = Annotated[
    str,
    AfterValidator(parse_cidr),
    WithJsonSchema({"type": "string", "format": "cidr"}),
]
InterfaceAddress = Annotated[
    str,
    AfterValidator(parse_interface_address),
    WithJsonSchema({"type": "string", "format": "address-with-prefix"}),
]
Port = Annotated[int, Field(ge=1, le=65535)]
