"""The test's end of `drive.py`: drivers in a guest, and the records that the store would hold."""

import itertools
import threading
import time
from pathlib import Path
from typing import Any

from tests.guests.guest import TREE, Guest, GuestError
from tests.guests.line import Line

START_LIMIT_S = 180.0
ORDER_LIMIT_S = 240.0
LOOKS = 5


class Refused(Exception):
    """What a driver raised, as text."""


class Store:
    """Records of mirrors by resource, [servers, generation, epoch]; and who owns the group."""

    def __init__(self) -> None:
        self.records: dict[str, list[Any]] = {}
        self.consents: list[tuple[str, str]] = []
        self.owner = ("", 0)
        self.is_away = False
        self.history: list[list[Any]] = []
        self._lock = threading.Lock()

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            if self.is_away:
                return {"away": "the store does not answer"}
            if asked["ask"] == "read":
                return {"answer": self.records.get(asked["resource"])}
            if asked["ask"] == "consent":
                return self._consent(asked["resource"], asked["consent"])
            return self._swap(asked)

    def _consent(self, resource: str, consent: str) -> dict[str, Any]:
        if (resource, consent) in self.consents:
            return {"lost": "it was used before"}
        self.consents.append((resource, consent))
        return {"answer": None}

    def _swap(self, asked: dict[str, Any]) -> dict[str, Any]:
        if self.owner != (asked["server"], asked["epoch"]):
            return {"lost": f"{self.owner} owns the group"}
        if self.records.get(asked["resource"]) != asked["old"]:
            return {"away": "somebody else wrote at the same time"}
        if asked["old"] != asked["new"]:
            self.records[asked["resource"]] = asked["new"]
            self.history.append(asked["new"])
        return {"answer": None}


class Driving:
    """One guest's drivers. Starts `drive.py` inside; again after each boot."""

    def __init__(self, guest: Guest, store: Store) -> None:
        self.guest, self._store = guest, store
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._numbers = itertools.count(1)
        self._answers: dict[int, dict[str, Any]] = {}
        self._arrived = threading.Condition()
        self._line = self._started()

    def _started(self) -> Line:
        python = Path(TREE / ".venv/bin/python")
        self.guest.shell(
            f"cd {TREE}; PYTHONPATH={TREE} setsid {python} -m tests.guests.drive {self.guest.name}"
            " </dev/null >/run/drive.log 2>&1 &"
        )
        line = Line.to(self.guest.path("drive"), self._heard)
        if line is None:
            raise GuestError(f"{self.guest.name} has no port for drivers")
        deadline = time.monotonic() + START_LIMIT_S
        with self._arrived:
            while not any(name == "ready" for name, _ in self.events):
                if time.monotonic() > deadline:
                    raise GuestError(f"no drivers: {self.log()}")
                self._arrived.wait(1.0)
        return line

    def log(self) -> str:
        return self.guest.attempt("cat", "/run/drive.log").output[-3000:]

    def do(self, what: str, limit_s: float = ORDER_LIMIT_S, **fields: Any) -> Any:
        """Raises `Refused` with what the driver raised."""
        number = next(self._numbers)
        self._line.send({"number": number, "do": what, **fields})
        deadline = time.monotonic() + limit_s
        with self._arrived:
            while number not in self._answers:
                if time.monotonic() > deadline or not self.guest.is_up:
                    raise GuestError(f"{what} {fields} does not end: {self._log_if_up()}")
                self._arrived.wait(1.0)
            answer = self._answers.pop(number)
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["result"]

    def _log_if_up(self) -> str:
        return self.log() if self.guest.is_up else "it is off"

    def open(self, spec: str) -> None:
        self.do("open", spec=spec)

    def activate(self, name: str, epoch: int) -> None:
        self.do("activate", name=name, epoch=epoch)

    def deactivate(self, name: str, epoch: int) -> None:
        self.do("deactivate", name=name, epoch=epoch)

    def observe(self, name: str) -> dict[str, Any]:
        """On a slow machine a look may take longer than it may: then it is made again."""
        for _ in range(LOOKS):
            found: dict[str, Any] = self.do("observe", name=name)
            if found["state"] != "unknown":
                break
        return found

    def state(self, name: str) -> str:
        return str(self.observe(name)["state"])

    def told(self, event: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.events if name == event]

    def close(self) -> None:
        self._line.close()

    def _heard(self, content: dict[str, Any]) -> None:
        if "ask" in content:
            answer = self._store.answer(content)
            self._line.send({"about": content["about"], **answer})
            return
        with self._arrived:
            if "event" in content:
                self.events.append((content["event"], content["fields"]))
            else:
                self._answers[content["number"]] = content
            self._arrived.notify_all()
