"""Clients that apply numbered specs while faults are in force, each from a thread and with a
`clusterctl` of its own, and note what they were answered. Used by the campaign."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.faults.collecting import note
from tests.faults.history import Line
from tests.faults.shell import Shell

EVERY_S = 2.0
COMMAND_TIMEOUT_S = 40.0
JOIN_S = 60.0
UNANSWERED = (3, 7)  # what was written may have happened, or happen yet

# Objects that nothing uses: only their annotation counts.
SPEC = """\
apiVersion: clusterctl/v1
kind: ServerGroup
metadata: {{name: {client}-{part}, annotations: {{number: "{number}"}}}}
spec: {{servers: [n1]}}
---
"""


class SpecClient:
    """Applies 1, 2, 3, … to its two objects, each time both at once."""

    def __init__(self, name: str, directory: Path, write: Callable[[Line], None]) -> None:
        self.name, self._write = name, write
        self._path = directory / f"{name}.yaml"
        self._shell = Shell({"CLUSTERCTL_CONTEXT": str(directory / "context.yaml")})
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when its last command has been answered."""
        self._ending.set()
        self._thread.join(JOIN_S)
        self._shell.close()

    def _run(self) -> None:
        number = 0
        while not self._ending.wait(EVERY_S):
            number += 1
            self._apply(number)

    def _apply(self, number: int) -> None:
        parts = [SPEC.format(client=self.name, part=part, number=number) for part in "ab"]
        self._path.write_text("".join(parts))
        source, message = ("--source", self.name), ("--message", f"{self.name} {number}")
        words = ("apply", str(self._path), *source, *message, "-o", "json")
        answer = self._shell.run(*words, timeout_s=COMMAND_TIMEOUT_S)
        known = {"client": self.name, "number": number}
        if answer.status == 0:
            revision = json.loads(answer.out)["revision"]
            self._write(note("applied", **known, revision=revision))
            return
        event = "apply_unanswered" if answer.status in UNANSWERED else "apply_refused"
        why = (answer.err.strip().splitlines() or [""])[0]
        self._write(note(event, **known, status=answer.status, why=why))


def read_back(clients: list[SpecClient], shell: Callable[..., str]) -> list[Line]:
    """What is there now, one `read` line for each client, of the time before the look: what was
    acknowledged until then must be there. `shell` runs a command and returns its output."""
    now = note("read")
    objects = json.loads(shell("get", "servergroup", "-o", "json"))
    numbers = {
        each["metadata"]["name"]: int(each["metadata"]["annotations"].get("number", 0))
        for each in objects
    }
    history = json.loads(shell("history", "-o", "json"))
    revisions = {each["revision"]: each["message"] for each in history}
    return [
        replace(
            now,
            more={
                "client": client.name,
                "numbers": [numbers.get(f"{client.name}-{part}", 0) for part in "ab"],
                "revisions": revisions,
            },
        )
        for client in clients
    ]
