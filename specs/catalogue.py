"""Which types are installed, as the loader asks; `reconciler.plugin.Registry` answers."""

from typing import Literal, Protocol, get_args

from pydantic import BaseModel

from specs.monitor import MonitorSpec
from specs.resource import ResourceSpec

TypeFamily = Literal["resource", "monitor", "fence"]


class TypeCatalogue(Protocol):
    """Models of the installed types, by name or alias."""

    def resource_model(self, type_or_alias: str) -> type[ResourceSpec] | None: ...

    def monitor_model(self, type_or_alias: str) -> type[MonitorSpec] | None: ...

    def fence_model(self, type_or_alias: str) -> type[BaseModel] | None: ...

    def names(self, kind: TypeFamily) -> tuple[str, ...]:
        """Canonical names of the installed types, sorted."""
        ...


def model_for(types: TypeCatalogue, family: TypeFamily, name: str) -> type[BaseModel] | None:
    """The model of one type, or None when it is not installed."""
    if family == "resource":
        return types.resource_model(name)
    if family == "monitor":
        return types.monitor_model(name)
    return types.fence_model(name)


def canonical_name(model: type[BaseModel], given: str) -> str:
    """The name in the model's literal `type`, which may have been given as an alias."""
    info = model.model_fields.get("type")
    names = get_args(info.annotation) if info else ()
    return str(names[0]) if names else given
