"""A lab with a cluster that runs a witness: break it with the lab's commands, look at it with a
user's, and judge it by what the witness wrote. Used by all fault tests."""

import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from clusterctl.lab import inside
from tests.faults import checks, witness
from tests.faults.history import Line, Reader, Run, runs, witnessed
from tests.faults.shell import Answer, Shell
from tests.integration.lab_under_test import LabUnderTest

SERVERS = ("n1", "n2", "n3")
ADDRESS = "10.77.2.100"
WAIT_S = 30.0
LOOK_EVERY_S = 0.1
# A fence is stamped when its record is stored; whoever acts on it may be a little faster.
FENCE_STAMP_SLACK_S = 0.25

GROUP = """\
apiVersion: clusterctl/v1
kind: Group
metadata: {{name: {name}}}
spec:
  servers: [{servers}]
  {group}
---
apiVersion: clusterctl/v1
kind: Resource
metadata: {{name: {name}-address}}
spec: {{group: {name}, type: floating-ip, address: {address}/24}}
---
apiVersion: clusterctl/v1
kind: Resource
metadata: {{name: {name}-witness}}
spec:
  group: {name}
  type: application
  command: [{python}, -S, {witness}, /srv]
  {application}
"""


def now_wall() -> float:
    """The clock that events are stamped with."""
    return time.time()


class ClusterUnderTest:
    """`lab` are the plain lab's abilities. Commands of the cluster and of the lab have a process
    each: those of the lab fork, which a process with gRPC in it should not."""

    def __init__(self, lab: LabUnderTest) -> None:
        self.lab = lab
        environment = {"CLUSTERCTL_CONTEXT": str(lab.directory / "context.yaml")}
        self._users, self._lab_commands = Shell(environment), Shell({})
        self.servers = tuple(node.name for node in lab.plan.servers)
        self.shared = lab.directory / "shared"
        self._reader = Reader(self.shared / "history")
        self.began_wall = time.time()

    @classmethod
    def start(cls, directory: Path, servers: int = 3, *options: str) -> "ClusterUnderTest":
        return cls(LabUnderTest.start(directory, "--servers", str(servers), *options))

    def down(self, *, keep: Path | None = None) -> None:
        """End the lab; `keep` is where its logs are copied to first."""
        self._users.close()
        self._lab_commands.close()
        if keep is not None:
            shutil.copytree(self.lab.directory / "servers", keep, ignore=_only_logs)
        self.lab.down()

    # -- what a user types -------------------------------------------------------------------

    def ctl(self, *words: str, check: bool = True) -> Answer:
        answer = self._users.run(*words)
        assert not check or answer.status == 0, f"{words}: {answer.err}{answer.out}"
        return answer

    def break_(self, command: str, *words: str, check: bool = True) -> Answer:
        """`clusterctl lab COMMAND …`; also what repairs (`heal`, `power … on`)."""
        options = ("--dir", str(self.lab.directory), "-o", "json")
        answer = self._lab_commands.run("lab", command, *options, *words)
        assert not check or answer.status == 0, f"lab {command} {words}: {answer.err}"
        return answer

    def on(self, server: str, *argv: str) -> str:
        """Output of a program on a server; its exit status is not looked at."""
        answer = self.break_("exec", server, "--", *argv, check=False)
        assert answer.out, answer.err
        return str(json.loads(answer.out)["stdout"])

    def lab_server(self, name: str) -> dict[str, Any]:
        found = json.loads(self.break_("status").out)["servers"]
        server: dict[str, Any] = next(each for each in found if each["name"] == name)
        return server

    # -- looking -----------------------------------------------------------------------------

    def status(self, ref: str) -> dict[str, Any]:
        found = json.loads(self.ctl("get", ref, "-o", "json").out)
        status: dict[str, Any] = found[0]["status"]
        return status

    def group(self, name: str = "web") -> dict[str, Any]:
        return self.status(f"group/{name}")

    def owner(self, name: str = "web") -> str:
        return str(self.group(name)["owner"] or "")

    def coordinator(self) -> str:
        found = json.loads(self.ctl("get", "server", "-o", "json").out)
        names = [each["metadata"]["name"] for each in found if each["status"]["coordinator"]]
        return str(names[0]) if names else ""

    def store_leader(self) -> str:
        for line in self.ctl("status").out.splitlines():
            words = line.split()
            if words and words[0] in self.servers and "leader" in words:
                return words[0]
        return ""

    def events(self, *names: str, since: float | None = None) -> list[dict[str, Any]]:
        """Events of these names (default: all) since a wall time (default: the lab's start), in
        order, flat: {event, by, at_wall, and the event's own fields}. They are read from the
        servers' own files: the store gets them later, and may be what was broken."""
        begin = self.began_wall if since is None else since
        found = []
        for server in self.servers:
            file = self.state_directory(server) / "events.jsonl"
            if file.exists():
                found += [json.loads(line) for line in file.read_text().split("\n")[:-1]]
        flat = [
            {"event": e["name"], "by": e["server"], "at_wall": e["at_wall"], **e["fields"]}
            for e in found
            if e["at_wall"] >= begin and (not names or e["name"] in names)
        ]
        return sorted(flat, key=lambda event: event["at_wall"])

    def state_directory(self, server: str) -> Path:
        """As the lab sees it: it may be a mount of its own there."""
        lab = self.lab.plan
        directory = lab.node_directory(server) / "state"
        return Path(f"/proc/{inside.root_pid(lab)}/root{directory}")

    # -- waiting -----------------------------------------------------------------------------

    def eventually(self, done: Callable[[], object], what: str, timeout_s: float = WAIT_S) -> float:
        """Wait until it holds and return how long that was; fails with the cluster's own words."""
        began = time.monotonic()
        while not done():
            if time.monotonic() - began > timeout_s:
                said = self._users.run("status")
                raise AssertionError(
                    f"not within {timeout_s:.0f} s: {what}\n{said.out}{said.err}\n{self.story()}"
                )
            time.sleep(LOOK_EVERY_S)
        return time.monotonic() - began

    def wait_group(
        self,
        phase: str = "online",
        *,
        on: str | None = None,
        not_on: str | None = None,
        name: str = "web",
        timeout_s: float = WAIT_S,
    ) -> float:
        def there() -> bool:
            answer = self.ctl("get", f"group/{name}", "-o", "json", check=False)
            if answer.status:
                return False  # the store may be electing
            status = json.loads(answer.out)[0]["status"]
            owner = status["owner"]
            fits = on in (None, owner) and (not_on is None or not_on != owner)
            return status["phase"] == phase and fits

        where = f" on {on}" if on else f" elsewhere than on {not_on}" if not_on else ""
        return self.eventually(there, f"group {name} is {phase}{where}", timeout_s)

    def wait_reason(self, *words: str, name: str = "web", timeout_s: float = WAIT_S) -> float:
        """Until one reason of the group's state has all these words."""

        def there() -> bool:
            answer = self.ctl("get", f"group/{name}", "-o", "json", check=False)
            reasons = [] if answer.status else json.loads(answer.out)[0]["status"]["reasons"]
            return any(all(word in reason for word in words) for reason in reasons)

        return self.eventually(there, f"a reason of group {name} has {words}", timeout_s)

    def wait_servers(
        self, *names: str, state: str = "online", timeout_s: float = 2 * WAIT_S
    ) -> float:
        def there() -> bool:
            answer = self.ctl("get", "server", "-o", "json", check=False)
            if answer.status:
                return False
            states = {e["metadata"]["name"]: e["status"]["state"] for e in json.loads(answer.out)}
            return all(states[name] == state for name in names or self.servers)

        return self.eventually(there, f"{names or self.servers} are {state}", timeout_s)

    def wait_event(self, name: str, since: float, timeout_s: float = WAIT_S, **fields: Any) -> Any:
        """The first event of this name since then whose fields are these."""
        found: list[dict[str, Any]] = []

        def there() -> bool:
            for event in self.events(name, since=since):
                if all(event.get(key) == value for key, value in fields.items()):
                    found.append(event)
                    return True
            return False

        self.eventually(there, f"event {name} {fields}", timeout_s)
        return found[0]

    def wait_session_end(self, server: str) -> float:
        def there() -> bool:
            answer = self.ctl("get", f"server/{server}", "-o", "json", check=False)
            reasons = [] if answer.status else json.loads(answer.out)[0]["status"]["reasons"]
            return any(reason.startswith("no session") for reason in reasons)

        return self.eventually(there, f"the session of {server} ends")

    def wait_new_boot(self, server: str, boot: str) -> float:
        """Until the server is online again after having been switched off and on."""

        def there() -> bool:
            answer = self.ctl("get", f"server/{server}", "-o", "json", check=False)
            status = {} if answer.status else json.loads(answer.out)[0]["status"]
            return status.get("state") == "online" and status["bootId"] != boot

        return self.eventually(there, f"{server} is back after a power cycle", 2 * WAIT_S)

    def paths(self, observer: str, server: str) -> dict[str, str]:
        """What `observer` hears of `server` on each network; empty when it can not be asked."""
        answer = self.ctl("get", f"server/{observer}", "-o", "json", check=False)
        heard = {} if answer.status else json.loads(answer.out)[0]["status"]["heartbeats"]
        return dict(heard.get(server, {}))

    # -- the witness -------------------------------------------------------------------------

    def apply_group(
        self,
        name: str = "web",
        address: str = ADDRESS,
        *,
        group: str = "",
        application: str = "",
        servers: Sequence[str] = (),
    ) -> None:
        """A floating address and a witness; `group` and `application` are more lines of spec,
        `servers` where it may run (default: anywhere)."""
        text = GROUP.format(
            name=name,
            address=address,
            python=sys.executable,
            witness=witness.__file__,
            servers=", ".join(servers or self.servers),
            group=group,
            application=application,
        )
        path = self.lab.directory / f"{name}.yaml"
        path.write_text(text)
        self.ctl("apply", str(path))

    def history(self, name: str = "web") -> list[Line]:
        """What the witness of a group wrote so far."""
        return witnessed(self._reader.read(), name)

    def whole_history(self) -> list[Line]:
        """Every line, of witnesses and others."""
        return self._reader.read()

    def last_run(self, name: str = "web") -> Run:
        return runs(self.history(name))[-1]

    def beats_on(self, server: str, name: str = "web", timeout_s: float = WAIT_S) -> float:
        """Wait until the witness writes there; from the call on, in seconds."""
        called = time.monotonic()

        def there() -> bool:
            lines = self.history(name)
            return bool(lines) and lines[-1].server == server and lines[-1].t > called

        return self.eventually(there, f"the witness of {name} writes on {server}", timeout_s)

    def beats_for(self, seconds: float, name: str = "web") -> None:
        """The same life of the witness goes on for so long."""
        life, called = self.last_run(name), time.monotonic()
        self.eventually(
            lambda: self.history(name)[-1].t >= called + seconds, f"it beats for {seconds} s"
        )
        now = self.last_run(name)
        assert (now.server, now.pid, now.began) == (life.server, life.pid, life.began), self.story()

    def assert_safe(self, name: str = "web") -> None:
        """Nothing ever ran twice, and each takeover had its proof first: since the lab began."""
        lines = self.history(name)
        assert lines, "the witness never ran"
        complaints = checks.complaints(lines)
        complaints += checks.unproven_takeovers(
            lines, self.events(*checks.PROOFS), FENCE_STAMP_SLACK_S
        )
        assert not complaints, "\n".join([*complaints, self.story()])

    def gap(self, name: str = "web") -> float:
        """Seconds without a beat between the last two lives of the witness."""
        before, after = runs(self.history(name))[-2:]
        return after.began - before.ended

    def story(self) -> str:
        """The last events in text, for a person who reads why a test failed."""
        lines = []
        for event in self.events(since=time.time() - 90)[-80:]:
            at, by, name = event.pop("at_wall"), event.pop("by"), event.pop("event")
            told = {key: value for key, value in event.items() if key != "candidates"}
            lines.append(f"{at % 1000:7.3f} {by} {name} {told}")
        return "\n".join(lines)

    # -- before each test --------------------------------------------------------------------

    def make_whole(self) -> None:
        """Every fault taken back, every server online, `web` online."""
        for server in json.loads(self.break_("status").out)["servers"]:
            name = server["name"]
            if server["bmc"]["mode"] != "ok":
                self.break_("bmc", name, "ok")
            if server["state"] == "paused":
                self.break_("resume", name)
            if server["state"] in ("off", "crashed"):
                self.break_("power", name, "on")
        self.break_("heal")
        self.wait_servers()
        if self.group()["wanted"] == "offline":
            self.ctl("start", "group/web")
        self.wait_group()


def _only_logs(directory: str, names: list[str]) -> set[str]:
    return {
        name
        for name in names
        if not (Path(directory) / name).is_dir() and not name.endswith((".log", ".jsonl"))
    } | {"etcd"}
