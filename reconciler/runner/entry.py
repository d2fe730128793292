"""Beginning of a holder: gets its job, gets ready, and starts the workload on a word of the agent.

`nursery.py` forks it. The agent (`adapters.linux.runners`) sends {"job": ...} on the control socket
and, when its permit is valid, {"go": time}. An agent that goes away before that leaves nothing
behind.
"""

import fcntl
import json
import os
import signal
import socket
import time
from contextlib import suppress
from typing import Any, NoReturn

from reconciler.runner import cgroup, launch
from reconciler.runner import record as records
from reconciler.runner.holder import CLIENT_LIMIT, Holder, send
from reconciler.runner.output import CHUNK, OutputLog

CONTROL = 3
GO_FRESH_S = 0.1
"""An older go may come from an agent that lost its permit meanwhile: it is refused."""


class Refused(Exception):
    """Nothing was started; the sentence goes to the agent."""


def _receive_line(control: socket.socket) -> dict[str, Any]:
    """The agent's next word; ends this process when the agent is gone or gave up."""
    received = b""
    while not received.endswith(b"\n"):
        data = control.recv(CHUNK)
        if not data:
            raise SystemExit(0)
        received += data
    message = json.loads(received)
    if not isinstance(message, dict):
        raise SystemExit(2)
    return message


def _prepare(job: dict[str, Any], wake: int) -> Holder:
    """Everything that can fail, before the word to go. Raises `Refused` or `LaunchError`."""
    directory = str(job["directory"])
    os.makedirs(directory, mode=0o700, exist_ok=True)
    os.chdir(directory)  # a unix socket's path is limited to 107 bytes
    lock = os.open(records.LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Refused("another runner holds this resource") from None
    with suppress(FileNotFoundError):
        os.unlink(records.SOCKET)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.setblocking(False)
    listener.bind(records.SOCKET)
    listener.listen(CLIENT_LIMIT)
    who = launch.identity(job["user"], job["group"])
    launch.become_subreaper()
    me = records.identify(os.getpid())
    if me is None:
        raise Refused("/proc is not readable")
    token = f"{job['name']}-{os.urandom(8).hex()}"
    output = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(output[0], False)
    return Holder(
        job=job,
        record=records.Record(
            name=job["name"],
            epoch=job["epoch"],
            state=records.STARTING,
            token=token,
            holder=me,
            cgroup=cgroup.create(f"clusterctl.{token}"),
        ),
        listener=listener,
        lock=lock,
        wake=wake,
        log=OutputLog(job["log"], job["log_limit_bytes"], job.get("log_files", 1)),
        output=output,
        who=who,
    )


def _start_on_go(holder: Holder, control: socket.socket) -> None:
    """Wait for a fresh word to go; an old one is answered with its age and not obeyed."""
    while True:
        late = time.monotonic() - float(_receive_line(control)["go"])
        if late <= GO_FRESH_S:
            break
        send(control, {"late": late})
    holder.start()
    send(control, {"started": holder.record.main.pid if holder.record.main else 0})


def _detach() -> int:
    """Normal scheduling, no inherited descriptors; returns where signals can be read."""
    os.closerange(CONTROL + 1, 1 << 20)
    os.set_inheritable(CONTROL, False)
    os.umask(0o077)
    with suppress(OSError):  # refused in some containers; it runs all the same
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, 0, 0)
    read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    return read


def main() -> NoReturn:
    """Runs until the workload is gone; exit code 0 unless nothing could be started."""
    wake = _detach()
    holder: Holder | None = None
    with socket.socket(fileno=CONTROL) as control:
        job = _receive_line(control)["job"]
        try:
            holder = _prepare(job, wake)
            me = holder.record.holder
            send(control, {"ready": True, "pid": me.pid, "start": me.start})
            _start_on_go(holder, control)
        except (Refused, launch.LaunchError, OSError) as error:
            send(control, {"error": str(error)})
            raise SystemExit(1) from None
        finally:
            if holder is not None and holder.record.main is None:
                holder.discard()
    holder.run()
    raise SystemExit(0)
