"""Rounds of faults on one lab: inject, heal, wait until all is well, judge; until the time is over.

Used by `python -m tests.faults` and by the bounded test of it. Everything that it does and learns
goes into the history that the witnesses write too (`history.py`).
"""

import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.faults import checks, collecting, witness
from tests.faults.bed import Bed
from tests.faults.clients import JOIN_S, SpecClient, read_back
from tests.faults.cluster_under_test import ClusterUnderTest
from tests.faults.collecting import Tail, note
from tests.faults.history import MACHINE, Line
from tests.faults.kinds.kind import Fault, Kind
from tests.faults.schedule import Planned, Round

STATE_MIB = 320  # etcd sets 128 MiB aside for its log
GROUPS = {"web": "10.77.2.100", "mail": "10.77.2.101", "files": "10.77.2.102"}
# Faults that kill programs for an hour are not the program's failure.
PATIENT = "restarts: {max: 100, window: 1m}\n  failover: {maxFailures: 100, window: 1m}"
MONITOR = """\
apiVersion: clusterctl/v1
kind: Monitor
metadata: {{name: {name}-lives}}
spec: {{type: custom, target: group/{name}, command: ["true"], interval: 2s, timeout: 10s}}
"""
CLIENTS = ("clients-x", "clients-y")
PATIENCE_S = 90.0
LOOK_EVERY_S = 0.5
WELL_LOOKS = 4  # a fence that is late comes within a moment
READ_TRIES = 10
BEAT_FRESH_S = 1.0
LOGS = ("agent.log", "etcd.log", "board.log", "enrolment.log", "pulse.log", "runner.log")

Say = Callable[[str], None]


@dataclass(order=True)
class _Step:
    """Something to do at a time of the round."""

    at: float
    index: int
    do: Callable[[], None] = field(compare=False)


class Campaign:
    """One lab's. `run_round` leaves the cluster whole, or has noted that it is not."""

    def __init__(self, cluster: ClusterUnderTest, kinds: dict[str, Kind], say: Say) -> None:
        self.cluster, self._kinds, self._say = cluster, kinds, say
        self.bed = Bed(cluster, tuple(GROUPS))
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._history = os.open(cluster.shared / "history", flags, 0o600)
        self._clients = [SpecClient(n, cluster.lab.directory, self.write) for n in CLIENTS]
        self._waited_for = ""
        self._judged = [0, 0]  # where the last two rounds began, in lines
        self._machine: subprocess.Popen[bytes] | None = None
        self._tails: list[tuple[Callable[[str, Tail], object], str, Tail]] = []

    @classmethod
    def start(cls, directory: Path, servers: int, kinds: dict[str, Kind], say: Say) -> "Campaign":
        """A lab of its own, with two groups that have witnesses and monitors."""
        options = ("--state-size", str(STATE_MIB))
        return cls(ClusterUnderTest.start(directory, servers, *options), kinds, say)

    def prepare(self) -> None:
        """Specs, clients, and all well before the first fault."""
        names = list(self.cluster.servers)
        for number, (name, address) in enumerate(GROUPS.items()):
            order = names[number:] + names[:number]
            self.cluster.apply_group(name, address, group=PATIENT, servers=order)
            path = self.cluster.lab.directory / f"{name}-monitor.yaml"
            path.write_text(MONITOR.format(name=name))
            self.cluster.ctl("apply", str(path))
        self._watch_files()
        self._machine = self._watch_the_machine()
        for client in self._clients:
            client.start()
        what = self._wait_whole(PATIENCE_S)
        assert not what, f"not well before the first fault: {what}"

    def _watch_the_machine(self) -> "subprocess.Popen[bytes]":
        """A witness that no fault hits: when it is silent, the machine below the lab stands."""
        own = {"CLUSTER_SERVER": "", "CLUSTER_GROUP": MACHINE, "CLUSTER_EPOCH": "0"}
        argv = [sys.executable, "-S", witness.__file__, str(self.cluster.shared)]
        return subprocess.Popen(argv, env={**os.environ, **own})

    def close(self) -> None:
        if self._machine is not None:
            self._machine.terminate()
            self._machine.wait(JOIN_S)
        for client in self._clients:
            client.stop()
        os.close(self._history)

    def write(self, line: Line) -> None:
        """Into the shared history; lines of several writers never mix."""
        os.write(self._history, line.to_json().encode() + b"\n")

    # -- one round -------------------------------------------------------------------------------

    def run_round(self, planned: Round) -> bool:
        """False when it ended with something that is not well."""
        words = " + ".join(f"{each.kind} {each.hold_s:.1f}s" for each in planned.faults)
        self._say(f"round {planned.number}: {words}" + (" + move" if planned.move_s else ""))
        self._judged = [self._judged[1], len(self.cluster.whole_history())]
        self.write(note("round_begun", round=planned.number))
        self._do(planned)
        self.write(note("all_healed", round=planned.number))
        healed = time.monotonic()
        what = self._wait_whole(PATIENCE_S)
        last = f", then {self._waited_for}" if self._waited_for else ""
        self._say(f"  settled after {time.monotonic() - healed:.1f} s{last[:300]}")
        if what:
            more = {"what": what, "patience_s": PATIENCE_S}
            self.write(note("not_whole", round=planned.number, **more))
        else:
            self.write(note("whole", round=planned.number))
        self._collect()
        return not what

    def repaired(self) -> bool:
        """After a round that did not end well: whether the lab can be used on."""
        self.bed.heal_everything()
        return not self._wait_whole(2 * PATIENCE_S)

    def _do(self, planned: Round) -> None:
        """The round's steps in order of time; a step that is late does not shorten what follows."""
        steps: list[_Step] = []
        began = time.monotonic()
        for index, each in enumerate(planned.faults):
            action = self._injection(steps, planned.number, index, each)
            steps.append(_Step(began + each.begin_s, index, action))
        if planned.move_s is not None:
            seed = planned.faults[0].seed
            move = self._mover(planned.number, seed)
            steps.append(_Step(began + planned.move_s, 99, move))
        while steps:
            step = min(steps)
            steps.remove(step)
            time.sleep(max(0.0, step.at - time.monotonic()))
            step.do()

    def _injection(
        self, steps: list[_Step], number: int, index: int, planned: Planned
    ) -> Callable[[], None]:
        """Makes the fault, notes it, and adds the step that heals it."""
        of = {"round": number, "index": index, "kind": planned.kind}

        def inject() -> None:
            began = note("fault", **of)
            rng = random.Random(planned.seed)
            try:
                fault = self._kinds[planned.kind].inject(self.bed, rng)
            except (AssertionError, OSError, subprocess.SubprocessError) as error:
                # two faults may be in each other's way; what was half made is taken back
                self.write(note("fault_not_made", **of, why=str(error)[:300]))
                self._say(f"  {planned.kind} could not be made: {error}")
                self.bed.heal_everything()
                return
            known = {"targets": list(fault.targets), "detail": fault.detail}
            if fault.blocked:
                known["blocked"] = fault.blocked
            self.write(replace(began, more={**began.more, **known}))
            steps.append(_Step(time.monotonic() + planned.hold_s, index, lambda: heal(fault)))

        def heal(fault: Fault) -> None:
            try:
                fault.heal()
            except (AssertionError, OSError, subprocess.SubprocessError) as error:
                self._say(f"  {planned.kind} healed by force: {error}")
                self.bed.heal_everything()
            self.write(note("healed", **of))

        return inject

    def _mover(self, number: int, seed: str) -> Callable[[], None]:
        def move() -> None:
            group = random.Random(seed).choice(list(GROUPS))
            words = ("--timeout", "2s", "move", f"group/{group}", "--no-wait")
            answer = self.cluster.ctl(*words, check=False)
            self.write(note("moved", round=number, group_asked=group, status=answer.status))

        return move

    # -- looking ---------------------------------------------------------------------------------

    def _wait_whole(self, patience_s: float) -> str:
        """What is not well when the patience ends; nothing as soon as all is, for some looks."""
        self._waited_for = ""
        deadline = time.monotonic() + patience_s
        well = 0
        members: set[str] = set()  # of the store, that have answered since; each once will do
        while True:
            what = self._not_well(members)
            well = 0 if what else well + 1
            if what and what != self._waited_for:
                self._waited_for = what
                self.write(note("settling", what=what))
            if well >= WELL_LOOKS or (what and time.monotonic() > deadline):
                return what
            if what:
                self._switch_on_idle_ones()
            time.sleep(LOOK_EVERY_S)

    def _switch_on_idle_ones(self) -> None:
        """A server that owns nothing is not fenced again once its session has ended, and so stays
        off if the attempts before failed: whoever repaired its BMC presses its button."""
        for each in self.bed.status().get("servers", []):
            name = each["name"]
            idle = each["state"] == "offline" and not each["groups"]
            if idle and not self.bed.running(name):
                self.write(note("helped", server=name, why="; ".join(each["reasons"])))
                self.bed.power_on(name)

    def _not_well(self, members: set[str]) -> str:
        status = self.bed.status()
        if not status:
            return "the store does not answer"
        found = [
            f"server {each['name']} is {each['state']}: {'; '.join(each['reasons'])}"
            for each in status["servers"]
            if each["state"] != "online"
        ]
        phases = {each["name"]: each for each in status["groups"]}
        for name in GROUPS:
            group = phases.get(name, {"phase": "unknown", "reasons": []})
            if group["phase"] != "online":
                found.append(f"group {name} is {group['phase']}: {'; '.join(group['reasons'])}")
            if self._last_beat(name) < time.monotonic() - BEAT_FRESH_S:
                found.append(f"the witness of {name} is silent")
        answering = status["store"]["members"]
        members |= {each["server"] for each in answering if each["reachable"]}
        missing = [each["server"] for each in answering if each["server"] not in members]
        found += [f"etcd of {server} does not answer" for server in missing]
        return ", ".join(found)

    def _last_beat(self, group: str) -> float:
        lines = reversed(self.cluster.whole_history())
        return next((line.t for line in lines if line.epoch and line.group == group), 0.0)

    def _watch_files(self) -> None:
        for server in self.cluster.servers:
            directory = self.cluster.lab.plan.node_directory(server)
            power = Tail(directory / "power-history.jsonl")
            agent = Tail(directory / "log/agent.log")
            self._tails.append((collecting.power_lines, server, power))
            self._tails.append((collecting.release_lines, server, agent))
            for name in LOGS:
                log = Tail(directory / "log" / name)
                self._tails.append((collecting.traceback_lines, server, log))

    def _collect(self) -> None:
        """What servers, logs, files and clients tell, into the history."""
        for lines_of, server, tail in self._tails:
            for line in lines_of(server, tail):  # type: ignore[attr-defined]
                self.write(line)
        for name in GROUPS:
            self.write(collecting.numbers_in(self.cluster.shared, name))
        for line in self._read_specs():
            self.write(line)

    def _read_specs(self) -> Sequence[Line]:
        def shell(*words: str) -> str:
            answer = self.cluster.ctl(*words, check=False)
            if answer.status:
                raise OSError(answer.err)
            return answer.out

        for _ in range(READ_TRIES):
            with contextlib.suppress(OSError):
                return read_back(self._clients, shell)
            time.sleep(LOOK_EVERY_S)
        return []

    def violations(self) -> list[str]:
        """Of this round and the one before; the whole is judged when all is over."""
        return checks.violations(self.cluster.whole_history()[self._judged[0] :])
