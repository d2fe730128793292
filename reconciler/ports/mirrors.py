"""Mirrored disks of this server: the engines (one process for each mirror), and the record that
says which servers have all acknowledged data.

`adapters.linux.mirrors` and `loops.mirror_records` implement them; tests bring their twins.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from reconciler.mirror.decide.promotion import Current
from reconciler.mirror.header import Header


@dataclass(frozen=True, slots=True)
class MirrorPlan:
    """What an engine needs to know. Addresses are best first; `size` in bytes, `limit` in bytes a
    second (0: none). `history` is the file for an asynchronous queue that outgrows the memory.
    `shared`: `data` is a disk that several servers see, `metadata` its begin. `engine` is "own" or
    "drbd"."""

    name: str
    server: str
    peer: str
    data: str
    metadata: str
    size: int
    port: int
    listen: tuple[str, ...]
    peers: tuple[str, ...]
    asynchronous: bool = False
    timeout_s: float = 2.0
    connect_timeout_s: float = 2.0
    limit: int = 0
    queue_limit: int = 256 << 20
    history: str = ""
    shared: bool = False
    engine: str = "own"
    encrypt: bool = False
    compress: bool = False


@dataclass(frozen=True, slots=True)
class EngineView:
    """One engine as it answers. `epoch` is 0 on a side that does not serve; `over` says why a side
    that serves has ended; `details` is its whole status, for people."""

    serves: bool
    epoch: int
    over: str
    suspended: bool
    path: str
    header: Header
    boot: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Question:
    """An engine asks: may it acknowledge `alone`, or are `both` sides current?"""

    kind: str
    generation: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Stopped:
    """How a service ended. `clean`: in order, so that what this side knows of the difference is
    whole. `handed_over`: the other side has everything, flushed, and the record names it."""

    clean: bool
    handed_over: bool


Decide = Callable[[Question], Awaitable[str | None]]
"""None grants, a sentence refuses for good. It waits while neither is known."""


class Mirrors(Protocol):
    """Engines by the mirror's name. Every call ends in bounded time and raises `HostError`."""

    async def ensure(self, plan: MirrorPlan) -> None:
        """Returns once an engine of this mirror answers. One that runs with another plan is started
        anew, unless it serves, or only the size differs: then it is asked to grow."""
        ...

    async def view(self, name: str) -> EngineView | None:
        """None when no engine runs."""
        ...

    async def prepare(self, name: str, named: str) -> str:
        """Follow nobody any more; returns a new generation. `named` is the record's one."""
        ...

    async def promote(self, name: str, epoch: int, generation: str) -> None:
        """Serve: the record names this generation. Afterwards the view's `path` is a file with the
        disk's content."""
        ...

    async def stop(self, name: str, limit_s: float = 5.0) -> Stopped:
        """End the service; the other side has `limit_s` to flush what it was sent."""
        ...

    async def ask(self, name: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """What an operator wants of the engine (`reconciler.mirror.commands`), and its answer."""
        ...

    async def quit(self, name: str) -> None:
        """End an engine that does not serve; returns when its process is gone, also when none was
        there."""
        ...

    async def abort(self, name: str, reason: str) -> None:
        """Let every request fail, so that whoever hangs in one gets on."""
        ...

    async def attend(self, name: str, decide: Decide) -> None:
        """Answer the engine's questions; returns when the engine is gone."""
        ...

    async def changed(self, name: str) -> None:
        """Returns when the engine's role or state changes, or it ends."""
        ...


class RecordUnavailable(Exception):
    """The store could not be asked: nothing is known."""


class RecordLost(Exception):
    """This server does not own the group at this epoch any more, or the record says otherwise."""


class MirrorRecords(Protocol):
    """`run/mirrors/<resource>`, each commit compared with this server's ownership."""

    async def read(self, resource: str) -> Current | None:
        """Raises `RecordUnavailable`."""
        ...

    async def commit(
        self,
        resource: str,
        group: str,
        epoch: int,
        change: Callable[[Current | None], Current | None],
    ) -> Current:
        """Store what `change` makes of the record. Compared in the same transaction: this server
        owns the group at `epoch`, has not released it, and the record is the one that was read.
        Raises `RecordLost` (also when `change` returns None) and `RecordUnavailable`."""
        ...


class NoRecords:
    """Where no store is: nothing can be served."""

    async def read(self, resource: str) -> Current | None:
        raise RecordUnavailable(f"there is no store to ask for {resource}")

    async def commit(
        self,
        resource: str,
        group: str,  # noqa: ARG002
        epoch: int,  # noqa: ARG002
        change: Callable[[Current | None], Current | None],  # noqa: ARG002
    ) -> Current:
        raise RecordUnavailable(f"there is no store to ask for {resource}")
