"""The few rtnetlink messages that floating addresses need, on a raw socket.

Synchronous on purpose: the kernel answers such a message before `send` returns, and the permit can
be checked right before it. `network.py` calls it in its own thread.
"""

import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

NEWLINK, GETLINK = 16, 18
NEWADDR, DELADDR, GETADDR = 20, 21, 22
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP, _REPLACE, _CREATE = 0x1, 0x4, 0x300, 0x100, 0x400
_DUMP_INTERRUPTED = 0x10
_IFA_ADDRESS, _IFA_LOCAL, _IFA_CACHEINFO, _IFA_FLAGS, _IFA_PROTO = 1, 2, 6, 8, 11
_IFLA_ADDRESS, _IFLA_IFNAME = 1, 3
_NO_DAD = 0x02
_SCOPE_LINK = 253
_FOREVER = 0xFFFFFFFF
_HEADER = struct.Struct("=IHHII")
_ADDRESS = struct.Struct("=BBBBi")
_LINK = struct.Struct("=BxHiII")
_GROUPS = 0x1 | 0x10 | 0x100  # link, IPv4 address, IPv6 address

MARK = 0x63
"""IFA_PROTO of the addresses that we add (kernel 5.18 and newer): nobody else's bear it."""

DUMP_TRIES = 5


@dataclass(frozen=True, slots=True)
class KernelAddress:
    """One address as the kernel lists it. `protocol` is who added it (`MARK`: we did)."""

    address: str
    prefix: int
    index: int
    protocol: int
    is_link_local: bool


@dataclass(frozen=True, slots=True)
class Link:
    """One network interface."""

    index: int
    name: str
    mac: bytes


class RouteSocket:
    """Requests to the kernel of this network namespace. Every call ends within `timeout_s` and
    raises `OSError` with the kernel's own error number."""

    def __init__(self, timeout_s: float = 2.0) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.settimeout(timeout_s)
        self._socket.bind((0, 0))
        self._sequence = int.from_bytes(os.urandom(3), "big")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def addresses(self) -> tuple[KernelAddress, ...]:
        body = _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        return tuple(
            found
            for kind, payload in self._dump(GETADDR, body)
            if kind == NEWADDR and (found := _parse_address(payload)) is not None
        )

    def links(self) -> tuple[Link, ...]:
        body = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        answers = self._dump(GETLINK, body)
        return tuple(_parse_link(payload) for kind, payload in answers if kind == NEWLINK)

    def add(self, address: str, prefix: int, index: int) -> None:
        """Add or refresh an address with our mark. IPv6: usable at once (no DAD of the kernel's),
        and never chosen as the source of this server's own connections (deprecated)."""
        extra = _attribute(_IFA_PROTO, bytes([MARK]))
        if ipaddress.ip_address(address).version == 6:
            extra += _attribute(_IFA_FLAGS, struct.pack("=I", _NO_DAD))
            extra += _attribute(_IFA_CACHEINFO, struct.pack("=IIII", 0, _FOREVER, 0, 0))
        self._command(
            NEWADDR, _CREATE | _REPLACE, _address_body(address, prefix, index, _NO_DAD) + extra
        )

    def remove(self, address: str, prefix: int, index: int) -> None:
        """Remove an address; one that is not there (or whose link is gone) is fine."""
        try:
            self._command(DELADDR, 0, _address_body(address, prefix, index, 0))
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.ENODEV):
                raise

    def _command(self, kind: int, flags: int, body: bytes) -> None:
        for _ in self._ask(kind, _REQUEST | _ACK | flags, body):
            pass

    def _dump(self, kind: int, body: bytes) -> list[tuple[int, bytes]]:
        for _ in range(DUMP_TRIES):
            answers = list(self._ask(kind, _REQUEST | _DUMP, body))
            if not any(flags & _DUMP_INTERRUPTED for _, flags, _ in answers):
                return [(answer, payload) for answer, _, payload in answers]
        raise OSError(errno.EBUSY, "the list changed while it was read, five times in a row")

    def _ask(self, kind: int, flags: int, body: bytes) -> Iterator[tuple[int, int, bytes]]:
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        header = _HEADER.pack(_HEADER.size + len(body), kind, flags, self._sequence, 0)
        self._socket.send(header + body)
        while True:
            for answer, its_flags, sequence, payload in _messages(self._socket.recv(1 << 17)):
                if sequence != self._sequence:
                    continue  # the late answer to a request that timed out
                if answer == _DONE:
                    return
                if answer == _ERROR:
                    code = -struct.unpack_from("=i", payload)[0]
                    if code:
                        raise OSError(code, os.strerror(code))
                    return
                yield answer, its_flags, payload


def notification_socket() -> socket.socket:
    """A non-blocking socket that becomes readable when a link or an address changes."""
    notices = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    notices.setblocking(False)
    notices.bind((0, _GROUPS))
    return notices


def _address_body(address: str, prefix: int, index: int, flags: int) -> bytes:
    packed = ipaddress.ip_address(address).packed
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    body = _ADDRESS.pack(family, prefix, flags if len(packed) == 16 else 0, 0, index)
    return body + _attribute(_IFA_LOCAL, packed) + _attribute(_IFA_ADDRESS, packed)


def _attribute(kind: int, value: bytes) -> bytes:
    padding = -len(value) % 4
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(padding)


def _attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found


def _messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    while len(data) >= _HEADER.size:
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data)
        if length < _HEADER.size:
            return
        yield kind, flags, sequence, data[_HEADER.size : length]
        data = data[(length + 3) & ~3 :]


def _parse_address(payload: bytes) -> KernelAddress | None:
    family, prefix, _, scope, index = _ADDRESS.unpack_from(payload)
    if family not in (socket.AF_INET, socket.AF_INET6):
        return None
    values = _attributes(payload[_ADDRESS.size :])
    packed = values.get(_IFA_LOCAL) or values.get(_IFA_ADDRESS)
    if packed is None:
        return None
    return KernelAddress(
        address=str(ipaddress.ip_address(packed)),
        prefix=prefix,
        index=index,
        protocol=values.get(_IFA_PROTO, b"\0")[0],
        is_link_local=scope == _SCOPE_LINK,
    )


def _parse_link(payload: bytes) -> Link:
    _, _, index, _, _ = _LINK.unpack_from(payload)
    values = _attributes(payload[_LINK.size :])
    name = values.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace")
    return Link(index, name, values.get(_IFLA_ADDRESS, b""))
