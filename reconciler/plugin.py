"""Bases of all types, and the registry that finds them by their place.

One file under `reconciler/resources`, `reconciler/monitors` or `reconciler/fences` is one type: its
model, its driver and, in the class docstring, its example. The module's name is the type's name
with `_`. Called by the agent (drivers), the loader of specs (models) and the reference generator.
"""

import importlib
import pkgutil
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, ClassVar, Literal, Self, TypeVar, get_args

from pydantic import BaseModel, Field, field_validator

from reconciler.decide.circumstances import Circumstances
from reconciler.ports.clock import Clock
from reconciler.ports.disks import Consents, NoConsents
from reconciler.ports.driver import Observation, Permit
from reconciler.ports.events import Events
from reconciler.ports.host import Host
from reconciler.ports.mirrors import MirrorRecords, NoRecords
from reconciler.ports.power import FenceDevice
from reconciler.ports.probes import Probes, Sample
from specs.document import Model
from specs.monitor import MonitorSpec
from specs.resource import Resource, ResourceSpec
from specs.scalars import impact
from specs.script import Script

OBSERVE_TIMEOUT_S = 5.0

TypeKind = Literal["resource", "monitor", "fence"]
PACKAGES: Mapping[TypeKind, str] = MappingProxyType(
    {
        "resource": "reconciler.resources",
        "monitor": "reconciler.monitors",
        "fence": "reconciler.fences",
    }
)


class TypeDefinitionError(Exception):
    """A type's file breaks a rule of this module; raised when the types are discovered."""


class StartLevel(IntEnum):
    """Without `dependsOn` a resource starts after everything of a lower level."""

    ADDRESS = 10
    NAME = 20
    DISK = 30
    SHARE = 40
    CONFIG = 50
    WORKLOAD = 60


@dataclass(frozen=True, slots=True)
class Place:
    """Where one resource runs: its names, and this server as its driver may touch it. `probes` runs
    short commands; `circumstances` says why the group is being started or stopped now. `servers`
    are those that may run the group, each with its addresses by network, `server_groups` those of
    each server group; `records` say which of them have all data of a mirrored disk."""

    name: str
    group: str
    server: str
    host: Host
    clock: Clock
    events: Events
    run_directory: Path
    probes: Probes
    circumstances: Callable[[], Circumstances] = Circumstances
    servers: Callable[[], Mapping[str, Mapping[str, str]]] = dict
    server_groups: Callable[[], Mapping[str, tuple[str, ...]]] = dict
    records: MirrorRecords = NoRecords()  # noqa: RUF009 - it has no state
    consents: Consents = NoConsents()  # noqa: RUF009 - it has no state


@dataclass(frozen=True, slots=True)
class StandbyScript:
    """What a standby server runs for a resource of another server's group."""

    script: Script
    timeout_s: float
    environment: Mapping[str, str]
    directory: str


class _Typed(Model):
    """What all types share: the literal tag, and other names for it that files may use."""

    aliases: ClassVar[tuple[str, ...]] = ()

    @field_validator("type", mode="before", check_fields=False)
    @classmethod
    def _canonical_type(cls, value: Any) -> Any:
        return cls.tag() if value in cls.aliases else value

    @classmethod
    def tag(cls) -> str:
        """The type's name, such as "floating-ip"."""
        names = get_args(cls.model_fields["type"].annotation)
        if len(names) != 1 or not isinstance(names[0], str):
            raise TypeDefinitionError(f"{cls.__name__}.type must be a Literal of one name")
        return names[0]


class ResourceType(_Typed, ResourceSpec):
    """Base of resource types. Drivers keep no state of their own: what runs is asked of the host.

    The methods see one `Place`; `bind` makes a `ports.driver.Driver` of both, adds the time-outs
    and turns `HostError` into `ResourceError`.
    """

    level: ClassVar[StartLevel]
    follows: ClassVar[bool] = False
    """Whether `follow` is to run on every server that may run the group."""

    async def follow(self, place: Place) -> None:
        """What a server does for the resource whether it owns the group or not, as long as the
        specs have it; ended by cancelling. Needs no permit, because it changes nothing by itself:
        it obeys the owner, whose epoch it checks. Reports its failures and goes on."""

    async def unfollow(self, place: Place) -> None:
        """The specs do not have it any more, or this server may not run the group any more: end
        what `follow` started. Raises `HostError`; then it is called again."""

    @property
    def has_standby(self) -> bool:
        """Whether it has any script for standby servers."""
        return False

    def standby(self, action: str) -> StandbyScript | None:  # noqa: ARG002 - most have none
        """The script for an action of `decide.standby`; None without one."""
        return None

    @property
    def observe_timeout(self) -> float:
        """Seconds that one `observe` may take; afterwards the state is unknown."""
        return OBSERVE_TIMEOUT_S

    @abstractmethod
    async def observe(self, place: Place) -> Observation:
        """What the host shows now; changes nothing."""

    async def prepare(self, place: Place) -> None:
        """What can be checked or made ready before the permit exists, in parallel with the grant.
        Starts nothing. Raises `ResourceError` when `activate` could not succeed."""

    @abstractmethod
    async def activate(self, place: Place, permit: Permit) -> None:
        """Start; returns when the resource serves. `permit.check()` right before each irreversible
        step. Idempotent; `prepare` ran before it, unless the resource was active already."""

    async def give_up(self, place: Place, epoch: int) -> str:  # noqa: ARG002 - most need not
        """`activate` was cancelled at its time-out: end what still works on the start. What it says
        is added to the reason. Bounded; raises `HostError`."""
        return ""

    @abstractmethod
    async def deactivate(self, place: Place, epoch: int) -> None:
        """Stop what was started at an epoch <= `epoch`; returns when it is gone. Idempotent."""

    @abstractmethod
    async def changed(self, place: Place) -> None:
        """Returns when the kernel reports something that may have changed the state."""

    async def keep(self, place: Place, permit: Permit) -> None:
        """Periodic work while active (such as announcing an address), run after `activate` until
        `deactivate`. Does nothing while the permit is not valid."""


class FenceType(_Typed):
    """Base of fence types: one entry of a Server's `fencing.levels`."""

    type: str = Field(
        description="Type of the fence device; it decides the other fields.",
        json_schema_extra=impact("none", example="ipmi"),
    )

    @abstractmethod
    def device(self, clock: Clock) -> FenceDevice:
        """The device; nothing is opened before its first call."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where one monitor probes: its name, this server, and the resources of the specs."""

    name: str
    server: str
    host: Host
    probes: Probes
    resources: Mapping[str, Resource]


class MonitorType(_Typed, MonitorSpec):
    """Base of monitor types: `sample` only; thresholds, timing and recovery are common."""

    @abstractmethod
    async def sample(self, site: Site) -> Sample:
        """One look, within `timeout`; changes nothing. What can hang goes through `site.probes`.
        Raises `ProbeUnavailable` or `HostError` when it could not look."""


_Base = TypeVar("_Base", bound=_Typed)


class Registry:
    """All types that are installed; implements `specs.load.TypeCatalogue`. Immutable."""

    def __init__(
        self,
        resources: Iterable[type[ResourceType]] = (),
        monitors: Iterable[type[MonitorType]] = (),
        fences: Iterable[type[FenceType]] = (),
    ) -> None:
        self._resources = _by_name(resources)
        self._monitors = _by_name(monitors)
        self._fences = _by_name(fences)

    @classmethod
    def discover(cls) -> Self:
        """Import every type's module, in name order. Raises `TypeDefinitionError`."""
        # mypy wants concrete classes here; the abstract bases only filter what is found.
        return cls(
            resources=_found("resource", ResourceType),  # type: ignore[type-abstract]
            monitors=_found("monitor", MonitorType),  # type: ignore[type-abstract]
            fences=_found("fence", FenceType),  # type: ignore[type-abstract]
        )

    def resource_types(self) -> tuple[type[ResourceType], ...]:
        return _distinct(self._resources)

    def monitor_types(self) -> tuple[type[MonitorType], ...]:
        return _distinct(self._monitors)

    def resource_model(self, type_or_alias: str) -> type[ResourceSpec] | None:
        return self._resources.get(type_or_alias)

    def monitor_model(self, type_or_alias: str) -> type[MonitorSpec] | None:
        return self._monitors.get(type_or_alias)

    def fence_model(self, type_or_alias: str) -> type[BaseModel] | None:
        return self._fences.get(type_or_alias)

    def names(self, kind: TypeKind) -> tuple[str, ...]:
        """Names of all types of a kind, without aliases, sorted."""
        tables: dict[str, Mapping[str, type[_Typed]]] = {
            "resource": self._resources,
            "monitor": self._monitors,
            "fence": self._fences,
        }
        return tuple(sorted({found.tag() for found in tables[kind].values()}))

    def fence_device(self, level: Mapping[str, Any], clock: Clock) -> FenceDevice:
        """The device of one `fencing.levels` entry. Raises `KeyError` for an unknown type and
        pydantic's `ValidationError` for wrong fields."""
        return self._fences[str(level.get("type"))].model_validate(dict(level)).device(clock)


def _distinct(table: Mapping[str, type[_Base]]) -> tuple[type[_Base], ...]:
    return tuple(table[name] for name in sorted({found.tag() for found in table.values()}))


def _by_name(types: Iterable[type[_Base]]) -> dict[str, type[_Base]]:
    table: dict[str, type[_Base]] = {}
    for found in types:
        for name in (found.tag(), *found.aliases):
            if name in table:
                raise TypeDefinitionError(
                    f"type name {name!r} is used by {table[name].__name__} and {found.__name__}"
                )
            table[name] = found
    return table


def _found(kind: TypeKind, base: type[_Base]) -> list[type[_Base]]:
    package = importlib.import_module(PACKAGES[kind])
    found = (info.name for info in pkgutil.iter_modules(package.__path__))
    names = sorted(name for name in found if not name.startswith("_"))
    modules = (importlib.import_module(f"{package.__name__}.{name}") for name in names)
    return [_type_of(module, base) for module in modules]


def _type_of(module: ModuleType, base: type[_Base]) -> type[_Base]:
    """The module's one type."""
    stem = module.__name__.rpartition(".")[2]
    types = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, base) and value is not base
        if value.__module__ == module.__name__ and not value.__name__.startswith("_")
    ]
    if len(types) != 1:
        raise TypeDefinitionError(f"{module.__name__} must define one type, it has {len(types)}")
    if types[0].tag().replace("-", "_") != stem:
        raise TypeDefinitionError(
            f"{module.__name__} defines type {types[0].tag()!r}: name the module after the type"
        )
    return types[0]
