"""What `clusterctl demo` does, step by step, against a real lab; every step is a user's command.

Called by `commands/demo.py` and by the benchmarks, which use `Lab` and `Client` alone.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clusterctl.demo import client as client_program
from clusterctl.demo.telling import Telling
from clusterctl.exit_codes import ExitCode
from clusterctl.failure import Failure

ADDRESS, PORT = "10.77.2.100", 8080
STEP_S = 60.0


@dataclass(frozen=True, slots=True)
class Outage:
    """Time without an answer, as the client saw it; `began` and `ended` are wall seconds."""

    ms: float
    began: float
    ended: float
    before: str
    after: str


@dataclass(slots=True)
class Lab:
    """A lab in a directory, driven by its commands."""

    directory: Path
    say: bool = True

    def clusterctl(self, *words: str, timeout_s: float = 180.0, check: bool = True) -> str:
        """Run one command and return its output. Raises `Failure` with its last line."""
        environment = {**os.environ, "CLUSTERCTL_CONTEXT": str(self.directory / "context.yaml")}
        done = subprocess.run(
            [sys.executable, "-m", "clusterctl", *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if check and done.returncode:
            lines = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
            said = "\n".join(lines[-3:])
            raise Failure(f"clusterctl {' '.join(words)}: {said}", ExitCode.FAILED)
        return done.stdout

    def lab(self, *words: str, timeout_s: float = 180.0) -> str:
        verb, *rest = words
        directory = ("--dir", str(self.directory))
        return self.clusterctl("lab", verb, *directory, *rest, timeout_s=timeout_s)

    def up(self, servers: int, say: Callable[[str], None]) -> None:
        """Build it; `say` gets each line of its progress. Raises `Failure`."""
        command = [sys.executable, "-m", "clusterctl", "lab", "up", "--detach"]
        command += ["--dir", str(self.directory), "--servers", str(servers)]
        lines: list[str] = []
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                for line in process.stderr or ():
                    lines.append(line.rstrip())
                    say(lines[-1])
            except BaseException:  # Ctrl-C as well: it goes on after the clean-up
                hear_no_more()
                process.wait(STEP_S)  # it was told to end as well, and cleans up
                raise
        if process.returncode:
            said = "\n".join(lines[-3:]) or "no output"
            raise Failure(f"clusterctl lab up: {said}", ExitCode.FAILED)

    def owner(self, group: str = "web") -> str:
        found = json.loads(self.clusterctl("get", f"group/{group}", "-o", "json"))
        return str(found[0]["status"].get("owner") or "")

    def wait_servers(self, count: int, timeout_s: float = STEP_S) -> None:
        """Until so many servers are online."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = json.loads(self.clusterctl("get", "server", "-o", "json"))
            online = sum(server["status"].get("state") == "online" for server in found)
            if online >= count:
                return
            if time.monotonic() > deadline:
                raise Failure(f"only {online} of {count} servers are online", ExitCode.TIMEOUT)
            time.sleep(0.2)


class Client(Telling):
    """The client program inside the lab; `outages` grows as it reports them, those longer than
    `gap_ms`."""

    def __init__(self, lab: Lab, gap_ms: int = 50) -> None:
        program = [client_program.__file__, ADDRESS, str(PORT), str(gap_ms)]
        super().__init__(lab.directory, program, STEP_S)
        self.outages: list[Outage] = []

    def hear(self, event: str, said: dict[str, Any]) -> None:  # noqa: ARG002
        self.outages.append(Outage(**said))

    async def next_outage(
        self, seen: int, *, same_server: bool = False, timeout_s: float = STEP_S
    ) -> Outage:
        """The first outage after the `seen` ones at whose end another server answers, or with
        `same_server` the same one again; raises `Failure` when there is none in time."""

        def found() -> list[Outage]:
            return [o for o in self.outages[seen:] if (o.before == o.after) is same_server]

        await self.until(lambda: bool(found()), "the client was not answered again", timeout_s)
        return found()[0]


ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def hear_no_more() -> None:
    """A second order to end must not leave half of what the first one cleans up."""
    for number in ENDS:
        signal.signal(number, signal.SIG_IGN)


def example_files() -> Sequence[str]:
    """The specs of the example beside the code; raises `Failure` in an installation without."""
    folder = Path(__file__).resolve().parents[2] / "examples" / "01-web"
    if not (folder / "web.yaml").exists():
        raise Failure(f"{folder} is missing: run the demo from a checkout", ExitCode.FAILED)
    return ("-f", str(folder / "web.yaml"))


def events_since(lab: Lab, wall: float) -> list[dict[str, Any]]:
    """Events of the cluster from this wall time on."""
    seconds = max(1, int(time.time() - wall) + 2)
    found = json.loads(lab.clusterctl("events", "--since", f"{seconds}s", "-o", "json"))
    return [event for event in found if event["at_wall"] >= wall - 1] if found else []
