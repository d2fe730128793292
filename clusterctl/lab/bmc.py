"""A BMC for each lab server: the real `ipmi_sim`, with modes for the ways in which BMCs fail.

Everything lives in one folder, so that a later command finds the BMC that an earlier one started.
`ipmi_sim` calls a small script for each power command; the script reads the mode and, unless that
mode has another answer, becomes the lab's power program:

    PROGRAM get power           prints "power:1" or "power:0", a line for each parameter asked
    PROGRAM set power 0         returns when it is done: nothing of the server runs any more
    PROGRAM set power|reset|shutdown 1, PROGRAM set identify "SECONDS FORCE"
"""

import asyncio
import os
import shlex
import shutil
import signal
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

_START_S = 10.0
_STOP_S = 3.0
_POLL_S = 0.01
SLOW_S = 3


class BmcMode(StrEnum):
    """`dead` answers nothing; `slow` takes 3 s a command; `says-off` reads off and does nothing;
    `says-on` obeys and always reads on; `wrong-password` knows another password than the spec."""

    OK = "ok"
    DEAD = "dead"
    SLOW = "slow"
    SAYS_OFF = "says-off"
    SAYS_ON = "says-on"
    WRONG_PASSWORD = "wrong-password"  # noqa: S105


class BmcError(Exception):
    """The simulator cannot be started, with a sentence."""


_CONFIGURATION = """\
name "{server}"
set_working_mc 0x20
startlan 1
  addr {address} {port}
  priv_limit admin
  allowed_auths_callback none md2 md5 straight
  allowed_auths_user none md2 md5 straight
  allowed_auths_operator none md2 md5 straight
  allowed_auths_admin none md2 md5 straight
  guid {guid}
endlan
chassis_control "{script}"
user 1 true "" "" user 10 none md2 md5 straight
user 2 true "{user}" "{password}" admin 10 none md2 md5 straight
"""

_EMULATOR = """\
mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
sel_enable 0x20 1000 0x0a
mc_enable 0x20
"""

_SCRIPT = """\
#!/bin/bash
# ipmi_sim calls: SCRIPT get PARAMETER...  |  SCRIPT set PARAMETER VALUE [PARAMETER VALUE]...
# Its sockets are inherited: close them, or the port stays taken as long as a started server lives.
for path in /proc/self/fd/*; do
  fd=${{path##*/}}
  if [ "$fd" -gt 2 ]; then {{ exec {{fd}}>&-; }} 2>/dev/null; fi
done
mode=$(<{mode_file})
case "$mode:$1" in
  slow:*) sleep {slow};;
  says-off:set) exit 0;;
  says-off:get | says-on:get)
    shift
    for parameter; do
      case "$mode:$parameter" in
        says-on:power) echo power:1;;
        *:boot) echo boot:none;;
        *) echo "$parameter:0";;
      esac
    done
    exit 0;;
esac
exec {program} "$@"
"""


class BmcSimulator:
    """One BMC at `address`:`port` (UDP). `guid`: 32 hexadecimal digits. `launch_prefix`: a command
    that execs its arguments elsewhere, such as `ip netns exec NAME`."""

    def __init__(
        self,
        directory: Path,
        server: str,
        address: str,
        port: int,
        user: str,
        password: str,
        guid: str,
        power_program: Sequence[str],
        launch_prefix: Sequence[str] = (),
    ) -> None:
        self._directory = directory.absolute()
        self._server = server
        self._address = address
        self._port = port
        self._user = user
        self._password = password
        self._guid = guid.replace("-", "").lower()
        self._power_program = tuple(power_program)
        self._launch_prefix = tuple(launch_prefix)
        for text in (server, address, user, password):
            if '"' in text or "\n" in text:
                raise BmcError("ipmi_sim takes no quotes or line breaks in names and passwords")

    def mode(self) -> BmcMode:
        """The mode in force."""
        try:
            return BmcMode((self._directory / "mode").read_text(encoding="ascii").strip())
        except (FileNotFoundError, ValueError):
            return BmcMode.OK

    def is_running(self) -> bool:
        """True while its process exists (a dead BMC's process exists too, stopped)."""
        return self._pid() is not None

    async def start(self) -> None:
        """Start in the mode last set; returns when the port is bound. Raises `BmcError`."""
        if self.is_running():
            return
        if shutil.which("ipmi_sim") is None:
            raise BmcError("ipmi_sim is not installed: apt-get install openipmi")
        self._write_files(self.mode())
        pid = self._spawn()
        deadline = time.monotonic() + _START_S
        while not self._is_bound(pid):
            if self._pid() is None or time.monotonic() > deadline:
                await self.stop()
                log = (self._directory / "log").read_text(errors="replace").strip()[-300:]
                raise BmcError(
                    f"the BMC of {self._server} did not start: {log or 'no reason said'}"
                )
            await asyncio.sleep(_POLL_S)
        if self.mode() is BmcMode.DEAD:
            os.kill(pid, signal.SIGSTOP)

    async def stop(self) -> None:
        """End its process, whoever started it; returns when it is gone."""
        pid = self._pid()
        if pid is not None:
            _signal(pid, signal.SIGTERM)
            _signal(pid, signal.SIGCONT)
            deadline = time.monotonic() + _STOP_S
            while self._pid() is not None:
                if time.monotonic() > deadline:
                    _signal(pid, signal.SIGKILL)
                await asyncio.sleep(_POLL_S)
        (self._directory / "pid").unlink(missing_ok=True)

    async def set_mode(self, mode: BmcMode | str) -> None:
        """Change how it behaves from now on; raises `ValueError` for an unknown mode."""
        before, wanted = self.mode(), BmcMode(mode)
        _write(self._directory / "mode", f"{wanted}\n")
        restart = {BmcMode.DEAD, BmcMode.WRONG_PASSWORD}
        pid = self._pid()
        if pid is None or before is wanted:
            return
        if before not in restart and wanted is BmcMode.DEAD:
            os.kill(pid, signal.SIGSTOP)
        elif before in restart or wanted in restart:
            # Commands that waited at a dead BMC are lost with it, as they are in reality.
            await self.stop()
            await self.start()

    # -- parts ----------------------------------------------------------------------------------

    def _write_files(self, mode: BmcMode) -> None:
        folder = self._directory
        (folder / "state").mkdir(parents=True, exist_ok=True)
        password = self._password
        if mode is BmcMode.WRONG_PASSWORD:
            password = "changed" if password != "changed" else "changed-too"  # noqa: S105
        _write(
            folder / "lan.conf",
            _CONFIGURATION.format(
                server=self._server,
                address=self._address,
                port=self._port,
                guid=self._guid,
                script=folder / "chassis",
                user=self._user,
                password=password,
            ),
        )
        _write(folder / "emulator", _EMULATOR)
        _write(folder / "mode", f"{mode}\n")
        script = _SCRIPT.format(
            program=shlex.join(self._power_program),
            mode_file=shlex.quote(str(folder / "mode")),
            slow=SLOW_S,
        )
        _write(folder / "chassis", script, mode=0o700)

    def _spawn(self) -> int:
        folder = self._directory
        argv = [*self._launch_prefix, "ipmi_sim", "-n", "-c", str(folder / "lan.conf")]
        argv += ["-f", str(folder / "emulator"), "-s", str(folder / "state")]
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        pid = os.posix_spawnp(
            argv[0],
            argv,
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(folder / "log"), flags, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        _write(folder / "pid", f"{pid} {_start_time(pid)}\n")
        return pid

    def _pid(self) -> int | None:
        """Its pid if that process still is the one that was started."""
        try:
            pid, started = (self._directory / "pid").read_text(encoding="ascii").split()
        except (FileNotFoundError, ValueError):
            return None
        _reap(int(pid))
        return int(pid) if _start_time(int(pid)) == int(started) else None

    def _is_bound(self, pid: int) -> bool:
        """Read in the process's own network namespace."""
        try:
            table = Path(f"/proc/{pid}/net/udp").read_text(encoding="ascii")
            image = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
        except OSError:
            return False
        local = [line.split()[1] for line in table.splitlines()[1:]]
        return image == "ipmi_sim" and f"{_hex_address(self._address)}:{self._port:04X}" in local


def _hex_address(address: str) -> str:
    """As /proc/net/udp shows it: 127.0.0.1 is 0100007F on a little-endian machine."""
    number = int.from_bytes(bytes(int(part) for part in address.split(".")), "big")
    return number.to_bytes(4, "little").hex().upper()


def _start_time(pid: int) -> int:
    """Field 22 of /proc/PID/stat; -1 when the process is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return -1
    fields = stat.rpartition(")")[2].split()
    return -1 if fields[0] in "ZX" else int(fields[19])


def _reap(pid: int) -> None:
    """Collect it if it is our own child and has ended."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _write(path: Path, text: str, mode: int = 0o600) -> None:
    """Whole or not at all: the script may read it at any moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)
