"""Ethernet frames that ask who uses an address, and that tell where it is. Pure; used by
`network.py`.

IPv4: ARP probes and announcements of RFC 5227. IPv6: neighbour solicitations of duplicate address
detection (RFC 4862) and unsolicited neighbour advertisements (RFC 4861).
"""

import ipaddress
import struct
from ipaddress import IPv4Address, IPv6Address

ETHERTYPE_ARP = 0x0806
ETHERTYPE_IPV6 = 0x86DD
_BROADCAST = b"\xff" * 6
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_ARP_REQUEST, _ARP_REPLY = 1, 2
_ICMPV6, _SOLICITATION, _ADVERTISEMENT = 58, 135, 136
_OVERRIDE = 0x20000000
_ALL_NODES = IPv6Address("ff02::1")
_IPV6_AT, _ICMP_AT = 14, 54

# Classic BPF: Ethernet type is chosen by the socket; next header is ICMPv6, type is advertisement.
ADVERTISEMENTS_ONLY: tuple[tuple[int, int, int, int], ...] = (
    (0x30, 0, 0, _IPV6_AT + 6),
    (0x15, 0, 3, _ICMPV6),
    (0x30, 0, 0, _ICMP_AT),
    (0x15, 0, 1, _ADVERTISEMENT),
    (0x06, 0, 0, 0xFFFF),
    (0x06, 0, 0, 0),
)


def ethertype(address: str) -> int:
    return ETHERTYPE_ARP if ipaddress.ip_address(address).version == 4 else ETHERTYPE_IPV6


def probe_frame(mac: bytes, address: str) -> bytes:
    """Asks who uses the address, from nobody's address: no neighbour learns anything by it."""
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, IPv4Address):
        return _arp(mac, _ARP_REQUEST, bytes(4), bytes(6), parsed.packed)
    group = IPv6Address(bytes.fromhex("ff0200000000000000000001ff") + parsed.packed[13:])
    message = struct.pack("!BBHI16s", _SOLICITATION, 0, 0, 0, parsed.packed)
    return _icmpv6(mac, IPv6Address("::"), group, message)


def announcement_frames(mac: bytes, address: str) -> tuple[bytes, ...]:
    """IPv4 in both forms, because some systems listen to requests only and others to replies."""
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, IPv4Address):
        return (
            _arp(mac, _ARP_REQUEST, parsed.packed, bytes(6), parsed.packed),
            _arp(mac, _ARP_REPLY, parsed.packed, _BROADCAST, parsed.packed),
        )
    message = struct.pack("!BBHI16s", _ADVERTISEMENT, 0, 0, _OVERRIDE, parsed.packed)
    target_link_layer_address = b"\x02\x01" + mac
    return (_icmpv6(mac, parsed, _ALL_NODES, message + target_link_layer_address),)


def user_of(frame: bytes, address: str) -> bytes | None:
    """MAC of the sender when the frame shows that it uses the address, else None.

    A probe of somebody else (sender address 0.0.0.0) shows no use: two servers may check at once.
    """
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, IPv4Address):
        if len(frame) < 14 + _ARP.size or frame[12:14] != ETHERTYPE_ARP.to_bytes(2, "big"):
            return None
        _, _, _, _, _, mac, sender, _, _ = _ARP.unpack_from(frame, 14)
        return bytes(mac) if sender == parsed.packed else None
    if len(frame) < _ICMP_AT + 24 or frame[_IPV6_AT + 6] != _ICMPV6:
        return None
    if frame[_ICMP_AT] != _ADVERTISEMENT or frame[_IPV6_AT + 7] != 255:
        return None
    return frame[6:12] if frame[_ICMP_AT + 8 : _ICMP_AT + 24] == parsed.packed else None


def mac_text(mac: bytes) -> str:
    return ":".join(f"{byte:02x}" for byte in mac)


def _arp(mac: bytes, operation: int, sender: bytes, target_mac: bytes, target: bytes) -> bytes:
    body = _ARP.pack(1, 0x0800, 6, 4, operation, mac, sender, target_mac, target)
    return _BROADCAST + mac + ETHERTYPE_ARP.to_bytes(2, "big") + body


def _icmpv6(mac: bytes, source: IPv6Address, group: IPv6Address, message: bytes) -> bytes:
    pseudo = source.packed + group.packed + struct.pack("!II", len(message), _ICMPV6)
    checked = message[:2] + _checksum(pseudo + message) + message[4:]
    header = struct.pack("!IHBB", 0x60000000, len(message), _ICMPV6, 255)
    ethernet = b"\x33\x33" + group.packed[12:] + mac + ETHERTYPE_IPV6.to_bytes(2, "big")
    return ethernet + header + source.packed + group.packed + checked


def _checksum(data: bytes) -> bytes:
    words = struct.unpack(f"!{len(data) // 2}H", data)
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)
