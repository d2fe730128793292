"""Tells systemd how this process is (`Type=notify`). The agent calls it; mute without systemd.

The agent is *ready* once its configuration was read and its loops begin, not at its first session:
that needs a quorum, and systemd would end a healthy agent that starts before the other servers do.
"""

import os
import socket
from collections.abc import Sequence

READY = "READY=1"
STOPPING = "STOPPING=1"


def notify(*states: str) -> str | None:
    """Send `states` to the service manager; the reason if that failed. Never raises: an agent goes
    on without its supervisor's ear."""
    return _send(states, ())


def keep_descriptor(name: str, descriptor: int) -> str | None:
    """Let the service manager hold an open file over our restarts (`FileDescriptorStoreMax=`); the
    reason if it was not told. Without systemd nobody holds it."""
    return _send(("FDSTORE=1", f"FDNAME={name}"), (descriptor,))


def _send(states: Sequence[str], descriptors: Sequence[int]) -> str | None:
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return None
    address = f"\0{path[1:]}" if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.settimeout(1.0)
            sender.connect(address)
            socket.send_fds(sender, ["\n".join(states).encode()], list(descriptors))
    except OSError as error:
        return str(error)
    return None
