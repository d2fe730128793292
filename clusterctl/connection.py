"""What every command gets through `click`'s context: the chosen cluster and a way to its store."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clusterctl.exit_codes import ExitCode
from clusterctl.failure import Failure
from clusterctl.render.style import Style, style_for
from clusterctl.settings import Choice, Settings, resolve
from reconciler.adapters.clock import MonotonicClock
from reconciler.decide.keys import Keys
from reconciler.ports.clock import Clock
from reconciler.ports.store import Store, Unavailable

if TYPE_CHECKING:
    from reconciler.repository import SpecRepository
    from specs.load import TypeCatalogue

StoreFactory = Callable[[Settings, Clock], Store]


def open_etcd(settings: Settings, clock: Clock) -> Store:
    """The real store; importing it costs about 100 ms, so only commands that need it do.

    Raises `Failure` (2) for a malformed endpoint."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its C core would write into our output
    from reconciler.adapters.etcd import EtcdStore, TlsFiles

    tls = None
    if settings.tls is not None:
        tls = TlsFiles(settings.tls.ca, settings.tls.cert, settings.tls.key)
    try:
        return EtcdStore.connect(settings.endpoints, tls, clock)
    except ValueError as error:
        raise Failure(f"--endpoints: {error}", ExitCode.USAGE) from None


def discover_types() -> "TypeCatalogue":
    """All installed types; imports every type's module."""
    from reconciler.plugin import Registry

    return Registry.discover()


@dataclass(slots=True)
class CliContext:
    """`ctx.obj` of every command. Tests put their own store and clock in."""

    choice: Choice = field(default_factory=Choice)
    open_store: StoreFactory = open_etcd
    clock: Clock = field(default_factory=MonotonicClock)
    types: Callable[[], "TypeCatalogue"] = discover_types
    no_color: bool = False
    ascii_only: bool = False
    debug: bool = False
    fixed: Settings | None = None  # a command's own choice, instead of a context file

    @property
    def style(self) -> Style:
        return style_for(sys.stdout, no_color=self.no_color, ascii_only=self.ascii_only)

    def settings(self) -> Settings:
        return self.fixed or resolve(self.choice)


@dataclass(frozen=True, slots=True)
class Connection:
    """One open store and the keys of the chosen cluster."""

    store: Store
    keys: Keys
    settings: Settings
    clock: Clock

    @property
    def repository(self) -> "SpecRepository":
        from reconciler.repository import SpecRepository

        return SpecRepository(self.store, self.keys, self.clock.wall)


@asynccontextmanager
async def connected(cli: CliContext) -> AsyncIterator[Connection]:
    """Open the chosen cluster's store, and see within the time-out that it answers.

    Raises `Failure` or a `StoreError`; `Unavailable` names the endpoints that were tried.
    """
    settings = cli.settings()
    places = ", ".join(settings.endpoints)
    store = cli.open_store(settings, cli.clock)
    try:
        connection = Connection(store, Keys(settings.cluster), settings, cli.clock)
        await _first_answer(connection, places)
        yield connection
    finally:
        await _close(store)


async def _first_answer(connection: Connection, places: str) -> None:
    timeout_s = connection.settings.timeout_s
    try:
        async with asyncio.timeout(timeout_s + 0.5):
            await connection.store.get(connection.keys.head, timeout_s=timeout_s)
    except TimeoutError:
        raise Unavailable(f"{places}: nothing within {timeout_s:g} s") from None
    except Unavailable as error:
        raise type(error)(f"{places}: {error}") from error


async def _close(store: Store) -> None:
    # A store that hangs while closing must not hold the prompt; the process ends anyway.
    try:
        async with asyncio.timeout(1.0):
            await store.close()
    except TimeoutError:
        return
