"""Remove an address from an interface by raw rtnetlink. The emergency path of the dead-man uses it:
it must work while everything else on this server does not, so it needs the kernel alone."""

import ipaddress
import os
import socket
import struct

_RTM_DELADDR = 21
_NLMSG_ERROR = 2
_REQUEST_ACK = 0x5
_IFA_ADDRESS = 1
_IFA_LOCAL = 2
_TIMEOUT_S = 1.0
_ENODEV = 19
_EADDRNOTAVAIL = 99


def delete_address(address: str, interface: str) -> bool:
    """Delete `address` ("10.0.0.9/24") from `interface`; false when it was not there.

    Raises `OSError` when the kernel refuses, `ValueError` for a malformed address.
    """
    parsed = ipaddress.ip_interface(address)
    try:
        index = socket.if_nametoindex(interface)
    except OSError:
        return False
    family = socket.AF_INET if parsed.version == 4 else socket.AF_INET6
    packed = parsed.ip.packed
    body = struct.pack("=BBBBI", family, parsed.network.prefixlen, 0, 0, index)
    body += _attribute(_IFA_LOCAL, packed) + _attribute(_IFA_ADDRESS, packed)
    code = _request(_RTM_DELADDR, body)
    if code in (_ENODEV, _EADDRNOTAVAIL):
        return False
    if code:
        raise OSError(code, f"cannot remove {address} from {interface}: {os.strerror(code)}")
    return True


def _attribute(kind: int, payload: bytes) -> bytes:
    head = struct.pack("=HH", 4 + len(payload), kind)
    return head + payload + b"\0" * (-len(payload) % 4)


def _request(kind: int, body: bytes) -> int:
    """Send one request and return the error number of its acknowledgement (0: done)."""
    sequence = 1
    message = struct.pack("=IHHII", 16 + len(body), kind, _REQUEST_ACK, sequence, 0) + body
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as link:
        link.settimeout(_TIMEOUT_S)
        link.bind((0, 0))
        link.sendto(message, (0, 0))
        while True:
            answer = link.recv(8192)
            _, answer_kind, _, answer_sequence, _ = struct.unpack_from("=IHHII", answer)
            if answer_kind == _NLMSG_ERROR and answer_sequence == sequence:
                (code,) = struct.unpack_from("=i", answer, 16)
                return -int(code)
