"""ICMP echo to a list of addresses; all are asked at once."""

import asyncio
import ipaddress
import os
import socket
import struct
from collections.abc import Mapping
from typing import Any

from reconciler.probe.answer import Answer, bad, good, unknown

_ECHO: dict[socket.AddressFamily, tuple[int, int, int]] = {
    socket.AF_INET: (8, 0, socket.IPPROTO_ICMP),
    socket.AF_INET6: (128, 129, 58),
}
_PAYLOAD = b"clusterctl-monitor"
SHARE = 0.9
"""Part of the time-out that the echoes have; the rest is for the answer."""


async def probe(settings: Mapping[str, Any], timeout_s: float) -> Answer:
    """Settings: addresses, need ("any" | "all"), count (echoes to each, spread over the time)."""
    addresses = [str(address) for address in settings["addresses"]]
    count = int(settings.get("count", 2))
    limit = timeout_s * SHARE
    try:
        found = await asyncio.gather(*(_answers(one, count, limit) for one in addresses))
    except PermissionError:
        return unknown("this server may not send ICMP echoes (CAP_NET_RAW)")
    silent = [address for address, there in zip(addresses, found, strict=True) if not there]
    if not silent:
        return good(f"{len(addresses)} of {len(addresses)} answer")
    text = f"no answer from {', '.join(silent)}"
    enough = settings.get("need") == "any" and len(silent) < len(addresses)
    return good(text) if enough else bad(text)


async def _answers(address: str, count: int, limit_s: float) -> bool:
    family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    with _socket(family) as link:
        link.setblocking(False)
        try:
            link.connect((address, 0))
        except OSError:
            return False  # no route is no answer
        token = os.urandom(8)
        for number in range(1, count + 1):
            try:
                async with asyncio.timeout(limit_s / count):
                    if await _echo(link, family, token, number):
                        return True
                    await asyncio.Event().wait()
            except TimeoutError:
                continue
        return False


def _socket(family: socket.AddressFamily) -> socket.socket:
    protocol = _ECHO[family][2]
    try:
        return socket.socket(family, socket.SOCK_DGRAM, protocol)
    except PermissionError:
        return socket.socket(family, socket.SOCK_RAW, protocol)


async def _echo(
    link: socket.socket, family: socket.AddressFamily, token: bytes, number: int
) -> bool:
    """Returns True at the answer to any of our echoes, False when none can come now."""
    request, reply, _ = _ECHO[family]
    loop = asyncio.get_running_loop()
    payload = _PAYLOAD + token
    try:
        await loop.sock_sendall(link, _packet(request, number, payload))
        while True:
            data = await loop.sock_recv(link, 2048)
            if family == socket.AF_INET and link.type == socket.SOCK_RAW:
                data = data[(data[0] & 15) * 4 :]
            if data[:1] == bytes([reply]) and data[8:] == payload:
                return True
    except PermissionError:
        raise
    except OSError:
        return False  # unreachable: the next echo of the list may still be answered


def _packet(kind: int, number: int, payload: bytes) -> bytes:
    """The kernel fills in identifier (DGRAM) and ICMPv6 checksum by itself."""
    identifier = os.getpid() & 0xFFFF
    head = struct.pack("!BBHHH", kind, 0, 0, identifier, number)
    return struct.pack("!BBHHH", kind, 0, _checksum(head + payload), identifier, number) + payload


def _checksum(data: bytes) -> int:
    padded = data + b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(~total & 0xFFFF)
