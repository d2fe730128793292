"""Power control through an installed fence agent: programs `fence_…` of other cluster suites."""

import asyncio
import contextlib
import os
import re
import signal
import stat
import time
from pathlib import Path
from secrets import token_hex
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from reconciler.fences._secret import PasswordSource
from reconciler.plugin import FenceType
from reconciler.ports.clock import Clock
from reconciler.ports.power import FenceError, PowerOffReport, PowerState, SelfTest, Wanted, always
from reconciler.runner.tree import below, signal_all
from specs.scalars import Duration, impact

DIRECTORIES = (Path("/usr/sbin"), Path("/etc/clusterctl/fence-agents"))
"""Only programs in here are started."""

_KEY = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_SECRET = re.compile(r"pass|secret|token|pwd")
_ON, _OFF = 0, 2  # exit status of the action `status`; any other says nothing
_LARGEST_OUTPUT = 64 * 1024
_POLL_S = 0.5
_MARK = "CLUSTERCTL_FENCE_CALL"
_KILL_ROUNDS = 20
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


class Agent(FenceType):
    """An installed fence agent, such as those of the Debian package fence-agents: PDUs,
    hypervisors, clouds, and whatever has no type of its own.

    The program is started for each action and gets its options on standard input, one KEY=VALUE a
    line, as its own manual lists them. It cannot tell whose power it controls: when it reads *off*
    before the command, that proves nothing.

    ```yaml
    apiVersion: clusterctl/v1
    kind: Server
    metadata: {name: n1}
    spec:
      addresses: {private: 10.77.1.11}
      fencing:
        levels:
          - type: agent
            program: fence_apc_snmp
            options: {ip: 10.77.3.50, port: "7"}
            secrets: {snmp_priv_passwd: {file: /etc/clusterctl/secrets/pdu}}
    ```
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    type: Literal["agent"] = Field(
        default="agent",
        description="Type of the fence device.",
        json_schema_extra=impact("none", example="agent"),
    )
    program: Annotated[str, Field(pattern=r"^fence_[a-z0-9_]+$")] = Field(
        description="Name of the program, which lies in /usr/sbin or /etc/clusterctl/fence-agents "
        "and belongs to root, on every server that may fence.",
        json_schema_extra=impact("none", example="fence_apc_snmp"),
    )
    options: dict[str, str] = Field(
        default_factory=dict,
        description="Its options, as its manual names them for standard input. Passwords go to "
        "`secrets`.",
        json_schema_extra=impact("none", example={"ip": "10.77.3.50", "port": "7"}),
    )
    secrets: dict[str, PasswordSource] = Field(
        default_factory=dict,
        description="Options whose values are secret, and where each server finds them.",
        json_schema_extra=impact(
            "none", example={"passwd": {"file": "/etc/clusterctl/secrets/pdu"}}
        ),
    )
    timeout: Annotated[Duration, Field(ge=0.5, le=300)] = Field(
        default=20.0,
        description="Time for one whole operation; then the program and all that it started are "
        "killed.",
        json_schema_extra=impact("none", example="20s"),
    )

    @model_validator(mode="after")
    def _sound_options(self) -> Self:
        for key in (*self.options, *self.secrets):
            if not _KEY.fullmatch(key):
                raise ValueError(f"'{key[:60]}' is not the name of an option")
            if key == "action":
                raise ValueError("'action' is set by each operation")
        for key, value in self.options.items():
            if _SECRET.search(key) and not key.endswith("_script"):
                raise ValueError(
                    f"'{key}' looks like a secret, and everybody can read specs: put it into a "
                    f"file of mode 0600 on each server and write secrets: {{{key}: {{file: PATH}}}}"
                )
            if "\n" in value or "\0" in value:
                raise ValueError(f"the value of '{key}' has a line break")
        if both := set(self.options) & set(self.secrets):
            raise ValueError(f"'{min(both)}' is in both options and secrets")
        return self

    def device(self, clock: Clock) -> "AgentDevice":
        return AgentDevice(self, clock)


class AgentDevice:
    """`ports.power.FenceDevice` by a program for each action."""

    def __init__(self, settings: Agent, clock: Clock) -> None:
        self._settings, self._clock = settings, clock

    async def power_off(
        self, valid_until: float, boots: tuple[str, ...] = (), wanted: Wanted = always
    ) -> PowerOffReport:
        """See the port. Nothing of the program is left once the right to fence is over, so no
        command of its can leave later."""
        del boots  # it ends the power, and all of them
        started, end = time.monotonic(), self._end()
        before = await self._status(end)
        if before is PowerState.OFF:
            if await self._status(end) is not PowerState.OFF:
                raise FenceError(f"{self._name()} reads off and then on: it is not trusted")
        else:
            left = valid_until - self._clock.now()
            if left <= 0:
                raise FenceError("the right to fence ended before the command could leave")
            wanted()
            await self._act("off", min(end, time.monotonic() + left))
            await self._await(PowerState.OFF, end)
        took = (time.monotonic() - started) * 1000
        return PowerOffReport(before, PowerState.OFF, None, took)

    async def power_on(self) -> None:
        end = self._end()
        if await self._status(end) is PowerState.OFF:
            await self._act("on", end)
            await self._await(PowerState.ON, end)

    async def power_cycle(self) -> None:
        """Off and on again; a server that is off is switched on."""
        end = self._end()
        if await self._status(end) is PowerState.ON:
            await self._act("off", end)
            await self._await(PowerState.OFF, end)
        await self._act("on", end)
        await self._await(PowerState.ON, end)

    async def status(self) -> PowerState:
        return await self._status(self._end())

    async def identify(self, seconds: int) -> None:
        """No fence agent can."""
        raise FenceError(f"{self._name()} has no locator LED (asked for {seconds} s)")

    async def self_test(self) -> SelfTest:
        """The action `monitor`, then the power state. Never raises."""
        started, end = time.monotonic(), self._end()
        warnings = [w for s in self._settings.secrets.values() if (w := s.warning())]
        try:
            await self._act("monitor", end)
            power = await self._status(end)
        except FenceError as error:
            took = (time.monotonic() - started) * 1000
            return SelfTest(False, "; ".join([str(error), *warnings]), took)
        parts = [f"{self._name()} answers, power is {power}", *warnings]
        took = (time.monotonic() - started) * 1000
        return SelfTest(True, "; ".join(parts), took, None, power)

    async def prepare(self) -> None:
        """There is nothing to open early."""

    # -- parts ----------------------------------------------------------------------------------

    def _name(self) -> str:
        return self._settings.program

    def _end(self) -> float:
        return time.monotonic() + self._settings.timeout

    async def _status(self, end: float) -> PowerState:
        status, said = await self._call("status", end)
        if status not in (_ON, _OFF):
            raise FenceError(f"{self._name()} status ended with {status}{said}")
        return PowerState.ON if status == _ON else PowerState.OFF

    async def _act(self, action: str, end: float) -> None:
        status, said = await self._call(action, end)
        if status:
            raise FenceError(f"{self._name()} {action} ended with {status}{said}")

    async def _await(self, wanted: PowerState, end: float) -> None:
        while (state := await self._status(end)) is not wanted:
            if time.monotonic() + _POLL_S >= end:
                raise FenceError(f"{self._name()} still reads {state}, not {wanted}")
            await asyncio.sleep(_POLL_S)

    async def _call(self, action: str, end: float) -> tuple[int, str]:
        """(exit status, what it said last, without secrets); raises `FenceError` at `end`."""
        path = _program(self._settings.program)
        secrets = {key: source.read() for key, source in self._settings.secrets.items()}
        options = {**self._settings.options, **secrets, "action": action}
        text = "".join(f"{key}={value}\n" for key, value in options.items())
        mark = token_hex(16)
        try:
            process = await asyncio.create_subprocess_exec(
                str(path),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                env={**_ENVIRONMENT, _MARK: mark},
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise FenceError(f"{path} cannot be started: {error.strerror}") from None
        try:
            said = await asyncio.wait_for(_converse(process, text), end - time.monotonic())
        except TimeoutError:
            raise FenceError(f"{self._name()} {action} took too long and was killed") from None
        finally:
            _kill_tree(process, mark)
            await process.wait()
        for secret in secrets.values():
            said = said.replace(secret, "***")
        return process.returncode or 0, f": {said}" if said else ""


async def _converse(process: asyncio.subprocess.Process, text: str) -> str:
    """Its last line on standard error, once it has ended."""
    if process.stdin is None or process.stderr is None:
        return ""
    with contextlib.suppress(ConnectionError):
        process.stdin.write(text.encode())
        await process.stdin.drain()
    process.stdin.close()
    output = await process.stderr.read(_LARGEST_OUTPUT)
    await process.wait()
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else ""


def _kill_tree(process: asyncio.subprocess.Process, mark: str) -> None:
    """It and everything that it started, also what left its session or lost its parent."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGSTOP)  # it starts nothing more
        signal_all(below(process.pid) | {process.pid}, signal.SIGKILL)
    for _ in range(_KILL_ROUNDS):
        left = _marked(f"{_MARK}={mark}".encode())
        if not left:
            return
        signal_all(left, signal.SIGKILL)


def _marked(mark: bytes) -> set[int]:
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it ended meanwhile
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.add(int(entry.name))
    return found


def _program(name: str) -> Path:
    """The installed program; raises `FenceError` when it is not there or others may change it."""
    for directory in DIRECTORIES:
        path = directory / name
        try:
            found: Any = path.stat()
        except OSError:
            continue
        if found.st_uid != 0 or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise FenceError(f"{path} must belong to root, and only root may write it")
        return path
    places = " or ".join(str(directory) for directory in DIRECTORIES)
    raise FenceError(f"there is no {name} in {places}")
