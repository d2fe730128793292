"""Start, reach and end the pulse process. `pulse_peers` calls it."""

import os
import signal
import socket
import struct
import sys
from pathlib import Path

import reconciler

_PEER_CREDENTIALS = 12
MAX_MESSAGE = 256 * 1024


def spawn_pulse(socket_path: Path, state_path: Path | None, log_path: Path | None) -> int:
    """Start a pulse that outlives us (own session, nothing inherited but the log); returns its pid.

    The pulse exits by itself when another one holds the socket. Raises `OSError`.
    """
    # -S keeps site-packages out, -P the current folder: a heartbeat process loads nothing it can't
    # trust, and starts in some 30 ms.
    argv = [sys.executable, "-S", "-P", "-m", "reconciler.pulse", "--socket", str(socket_path)]
    if state_path is not None:
        argv += ["--state", str(state_path)]
    log = str(log_path) if log_path is not None else None
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions: list[tuple[int, int, str, int, int] | tuple[int, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
    ]
    if log is not None:
        actions.append((os.POSIX_SPAWN_OPEN, 2, log, append, 0o600))
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": str(Path(reconciler.__file__).parent.parent),
    }
    return os.posix_spawn(
        sys.executable,
        argv,
        environment,
        file_actions=actions,
        setsid=True,
        setsigmask=[],
        setsigdef=[signal.SIGTERM, signal.SIGINT, signal.SIGCHLD],
    )


def try_connect(path: Path) -> socket.socket:
    """A connection to the pulse that listens there; raises `OSError`."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_MESSAGE)
        sock.connect(str(path))
    except OSError:
        sock.close()
        raise
    return sock


def is_running(pid: int) -> bool:
    """False once the process is gone; a zombie is."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def has_ended(pid: int) -> bool:
    """True once our child is gone; reaps it."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def pulse_pid(sock: socket.socket) -> int:
    """Pid of the process that listens at the other end of a unix socket."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER_CREDENTIALS)
    pid, _, _ = struct.unpack("=iII", raw)
    return int(pid)


def kill_pulse(pid: int) -> bool:
    """SIGKILL process `pid` if it is a pulse; false when it is not, or is gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        # Read after the descriptor was opened: the pid cannot have become somebody else's.
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        if b"reconciler.pulse" not in command:
            return False
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def lock_holder(socket_path: Path) -> int | None:
    """Pid that the pulse wrote into its lock file; None when there is none."""
    try:
        return int(Path(f"{socket_path}.lock").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
