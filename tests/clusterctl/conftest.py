"""A cluster in memory, and the command line as a user types it: exit code, stdout, stderr."""

import asyncio
import io
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field

from clusterctl.app import run
from clusterctl.connection import CliContext
from clusterctl.settings import Choice, Settings
from reconciler.adapters.memory import MemoryStore
from reconciler.adapters.memory.state import MemoryState
from reconciler.decide.keys import Keys
from reconciler.decide.records import (
    Coordinator,
    GroupStatus,
    Operation,
    OperationPhase,
    Ownership,
    Phase,
    Record,
    ResourceStatus,
    ServerStatus,
    Session,
)
from reconciler.plugin import FenceType, Registry
from reconciler.ports.clock import Clock
from reconciler.ports.power import (
    FenceDevice,
    FenceError,
    PowerOffReport,
    PowerState,
    SelfTest,
    Wanted,
    always,
)
from reconciler.ports.store import Delete, Put, Store, Transaction

WALL = 1_800_000_000.0
KEYS = Keys("demo")

SPECS = """\
# the whole cluster
apiVersion: clusterctl/v1
kind: Cluster
metadata: {name: demo}
spec:
  networks:
    - {name: private, cidr: 10.77.1.0/24, heartbeat: true}
    - {name: public, cidr: 10.77.2.0/24, heartbeat: true}
---
apiVersion: clusterctl/v1
kind: Server
metadata: {name: n1}
spec:
  addresses: {private: 10.77.1.11, public: 10.77.2.11}
  fencing: {levels: [{type: test-pdu, outlet: 1}]}
---
apiVersion: clusterctl/v1
kind: Server
metadata: {name: n2}
spec:
  addresses: {private: 10.77.1.12, public: 10.77.2.12}
  fencing: {levels: [{type: test-pdu, outlet: 2}]}
---
apiVersion: clusterctl/v1
kind: Server
metadata: {name: n3}
spec:
  addresses: {private: 10.77.1.13, public: 10.77.2.13}
  fencing: {levels: [{type: test-pdu, outlet: 3}]}
---
apiVersion: clusterctl/v1
kind: Group
metadata: {name: web}   # the shop
spec:
  servers: [n1, n2]
---
apiVersion: clusterctl/v1
kind: Resource
metadata: {name: web-ip}
spec: {group: web, type: floating-ip, address: 10.77.2.100/24}
---
apiVersion: clusterctl/v1
kind: Resource
metadata: {name: web-server}
spec: {group: web, type: application, command: [python3, -m, http.server]}
"""


class SteadyClock:
    """Real monotonic time, so that deadlines work; a wall clock that stands still."""

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return WALL

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def after(self, seconds: float, act: Callable[[], None]) -> Callable[[], None]:
        return asyncio.get_running_loop().call_later(seconds, act).cancel


class TestPdu(FenceType):
    """A power switch that answers, unless its outlet is 9."""

    __test__ = False

    type: Literal["test-pdu"] = Field(
        default="test-pdu", description="Type.", json_schema_extra={"impact": "none"}
    )
    outlet: int = Field(description="Outlet.", json_schema_extra={"impact": "none"})

    def device(self, clock: Clock) -> FenceDevice:
        return _Pdu(self.outlet)


class _Pdu:
    def __init__(self, outlet: int) -> None:
        self._outlet = outlet

    async def self_test(self) -> SelfTest:
        if self._outlet == 9:
            raise FenceError("login refused")
        return SelfTest(True, f"outlet {self._outlet} is on", 12.0, None, PowerState.ON)

    async def power_off(
        self, valid_until: float, boots: tuple[str, ...] = (), wanted: Wanted = always
    ) -> PowerOffReport:
        raise NotImplementedError

    async def power_on(self) -> None:
        if self._outlet == 9:
            raise FenceError("the outlet is broken")

    async def power_cycle(self) -> None: ...

    async def status(self) -> PowerState:
        return PowerState.ON

    async def identify(self, seconds: int) -> None: ...

    async def prepare(self) -> None: ...


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


def types() -> Registry:
    return Registry(resources=Registry.discover().resource_types(), fences=[TestPdu])


Answer = tuple[bool, str]


@dataclass
class FakeCluster:
    """Store contents set by the test; `answers` end operations as a coordinator would: (ok,
    result), by kind. `refuses` end them before they ever ran."""

    directory: Path
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch
    state: MemoryState = field(default_factory=lambda: MemoryState(SteadyClock()))
    answers: dict[str, Answer] = field(default_factory=dict)
    refuses: dict[str, str] = field(default_factory=dict)
    store_errors: list[Exception] = field(default_factory=list)
    interrupt_when: Callable[[], bool] | None = None
    background: list[Callable[[], Any]] = field(default_factory=list)
    catalogue: Registry = field(default_factory=types)

    def open_store(self, settings: Settings, clock: Clock) -> Store:
        if self.store_errors:
            raise self.store_errors[0]
        store = MemoryStore(self.state, clock)
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._coordinate(store))]
        self._tasks += [loop.create_task(work()) for work in self.background]
        return store

    async def _coordinate(self, store: Store) -> None:
        async for batch in store.watch(KEYS.operations):
            for key, item in batch.changes:
                if item is None:
                    continue
                operation = Operation.from_bytes(item.value)
                if operation.phase is OperationPhase.PENDING:
                    self._end(key, operation)

    def _end(self, key: str, operation: Operation) -> None:
        kind = str(operation.kind)
        if kind in self.refuses:
            self._finish(key, operation, OperationPhase.FAILED, self.refuses[kind])
        elif kind in self.answers:
            ok, result = self.answers[kind]
            self._finish(key, operation, OperationPhase.RUNNING, "")
            phase = OperationPhase.DONE if ok else OperationPhase.FAILED
            self._finish(key, operation, phase, result)

    def _finish(self, key: str, operation: Operation, phase: OperationPhase, result: str) -> None:
        begun = str(operation.kind) in self.answers
        update: dict[str, Any] = {"phase": phase, "result": result, "begun": begun}
        if phase in (OperationPhase.DONE, OperationPhase.FAILED):
            update["finished_wall"] = WALL
        self.put(key, operation.model_copy(update=update))

    def put(self, key: str, record: Record | bytes) -> None:
        value = record if isinstance(record, bytes) else record.to_bytes()
        self.state.commit(Transaction((), (Put(key, value),)))

    def remove(self, key: str) -> None:
        self.state.commit(Transaction((), (Delete(key),)))

    def records(self, prefix: str) -> Mapping[str, bytes]:
        return {item.key: item.value for item in self.state.list(prefix).items}

    def operations(self) -> list[Operation]:
        return [Operation.from_bytes(value) for value in self.records(KEYS.operations).values()]

    def file(self, name: str, text: str | bytes) -> str:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    def run(self, *args: str, stdin: bytes = b"") -> Result:
        context = CliContext(
            choice=Choice(cluster="demo", endpoints="http://memory:1", timeout_s=1.0),
            open_store=self.open_store,
            clock=SteadyClock(),
            types=lambda: self.catalogue,
        )
        self.monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        self.capsys.readouterr()
        code = run(args, context)
        out, err = self.capsys.readouterr()
        return Result(code, out, err)

    def run_until_interrupted(
        self, *args: str, then: Callable[[], None] | None = None, lines: int = 2
    ) -> Result:
        """Ctrl-C after `lines` lines (or `interrupt_when`); `then` happens after the first line."""
        out: list[str] = []
        err: list[str] = []

        async def interrupt() -> None:
            told = then is None
            deadline = time.monotonic() + 10.0
            while time.monotonic() < deadline:
                await asyncio.sleep(0.005)
                more = self.capsys.readouterr()
                out.append(more.out)
                err.append(more.err)
                seen = "".join(out).count("\n")
                if seen and not told and then is not None:
                    then()
                    told = True
                if self.interrupt_when() if self.interrupt_when else told and seen >= lines:
                    break
            signal.raise_signal(signal.SIGINT)

        self.background.append(interrupt)
        result = self.run(*args)
        self.background.remove(interrupt)
        return Result(result.code, "".join(out) + result.out, "".join(err) + result.err)

    def applied(self) -> "FakeCluster":
        """With SPECS as revision 1."""
        result = self.run("apply", "-f", self.file("specs.yaml", SPECS))
        assert result.code == 0, result.err
        return self

    def online(self) -> "FakeCluster":
        """With three servers, and group web running on n1 at epoch 3."""
        self.applied()
        for number, name in enumerate(("n1", "n2", "n3"), start=1):
            heartbeats = {
                peer: {"private": "heard", "public": "heard"}
                for peer in ("n1", "n2", "n3")
                if peer != name
            }
            self.put(
                KEYS.session(name),
                Session(
                    server=name, boot_id=f"boot-{name}", incarnation=f"i{number}", lease=number
                ),
            )
            self.put(
                KEYS.server_status(name),
                ServerStatus(
                    server=name,
                    boot_id=f"boot-{name}",
                    incarnation=f"i{number}",
                    heartbeats=heartbeats,
                ),
            )
        self.put(KEYS.coordinator, Coordinator(server="n2", incarnation="i2"))
        self.put(
            KEYS.group("web"),
            Ownership(
                group="web",
                epoch=3,
                owner="n1",
                boot_id="boot-n1",
                incarnation="i1",
                previous_owner="n2",
                cause="n2 was fenced",
                since_wall=WALL - 600,
            ),
        )
        self.put(
            KEYS.group_status("n1", "web"),
            GroupStatus(
                group="web",
                server="n1",
                epoch=3,
                phase=Phase.ONLINE,
                since_wall=WALL - 300,
                resources=(
                    ResourceStatus(name="web-ip", type="floating-ip", state="active"),
                    ResourceStatus(name="web-server", type="application", state="active"),
                ),
            ),
        )
        return self


@pytest.fixture
def cluster(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> FakeCluster:
    for name in ("ENDPOINTS", "CLUSTER", "CONTEXT", "TIMEOUT", "DEBUG"):
        monkeypatch.delenv(f"CLUSTERCTL_{name}", raising=False)
    return FakeCluster(tmp_path, capsys, monkeypatch)
