"""Fork and exec of one program for the holder: its own session, cgroup, user and log."""

import ctypes
import errno
import grp
import json
import os
import pwd
import select
import signal
from contextlib import suppress
from dataclasses import dataclass

from reconciler.runner import cgroup as cgroups

LAUNCH_TIMEOUT_S = 10.0
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None, use_errno=True)


class LaunchError(Exception):
    """The program could not be executed, with a sentence that says why."""


@dataclass(frozen=True)
class Identity:
    """Who the program runs as; None keeps what the holder is."""

    uid: int | None
    gid: int | None
    groups: tuple[int, ...] | None
    home: dict[str, str]


def identity(user: str | None, group: str | None) -> Identity:
    """Look up a user and group, names or numbers. Raises `LaunchError`."""
    try:
        gid = None if group is None else _gid(group)
        if user is None:
            return Identity(None, gid, None if gid is None else (gid,), {})
        entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except KeyError as error:
        raise LaunchError(f"user or group does not exist: {error.args[0]}") from error
    primary = entry.pw_gid if gid is None else gid
    names = {"USER": entry.pw_name, "LOGNAME": entry.pw_name, "HOME": entry.pw_dir}
    groups = tuple(os.getgrouplist(entry.pw_name, primary))
    return Identity(entry.pw_uid, primary, groups, names)


def _gid(group: str) -> int:
    return int(group) if group.isdigit() else grp.getgrnam(group).gr_gid


def become_subreaper() -> None:
    """Orphans of the workload come to us. Raises `LaunchError`."""
    if _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise LaunchError(f"subreaper: {os.strerror(ctypes.get_errno())}")


def launch(
    command: list[str],
    environment: dict[str, str],
    directory: str,
    who: Identity,
    output: int,
    cgroup: str | None,
) -> int:
    """Returns the pid once the program is executed. Raises `LaunchError`; then nothing runs."""
    report, answer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            os.close(report)
            _become(command, environment, directory, who, output, cgroup)
        except BaseException as error:  # noqa: BLE001 - this process must end here in any case
            with suppress(OSError):
                os.write(answer, _sentence(error, command[0], directory).encode()[:4000])
        os._exit(127)
    os.close(answer)
    ready, _, _ = select.select([report], [], [], LAUNCH_TIMEOUT_S)
    problem = os.read(report, 4096).decode(errors="replace") if ready else "exec timed out"
    os.close(report)
    if problem:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)
        raise LaunchError(problem)
    return pid


def _become(
    command: list[str],
    environment: dict[str, str],
    directory: str,
    who: Identity,
    output: int,
    cgroup: str | None,
) -> None:
    holder = os.getppid()
    os.setsid()
    if cgroup is not None:
        cgroups.enter(cgroup)
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("0")
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.umask(0o022)
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    if who.gid is not None:
        os.setgroups(who.groups or ())
        os.setresgid(who.gid, who.gid, who.gid)
    if who.uid is not None:
        os.setresuid(who.uid, who.uid, who.uid)
    os.chdir(directory)
    # After the change of user, which clears it: a killed holder takes its program along.
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != holder:
        os._exit(127)
    os.execvpe(command[0], command, {**who.home, **environment})  # noqa: S606 - argv list, no shell


def _sentence(error: BaseException, program: str, directory: str) -> str:
    if isinstance(error, OSError):
        reason = os.strerror(error.errno) if error.errno else str(error)
        if error.errno == errno.ENOENT and error.filename == directory:
            return f"working directory {json.dumps(directory)} does not exist"
        return f"can't execute {json.dumps(program)}: {reason}"
    return f"can't execute {json.dumps(program)}: {type(error).__name__}"
