"""What a kind of fault is, and their registry. Used by the files beside it and by the campaign."""

import importlib
import pkgutil
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.faults.bed import Bed

Heal = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault in force. `targets` are the servers that it hits; `heal` takes it back and may be
    called when they were switched off and on meanwhile. `blocked`: why a group of a target may
    have to wait until then, because no proof is to be had before."""

    targets: tuple[str, ...]
    heal: Heal
    detail: str = ""
    blocked: str = ""


Inject = Callable[[Bed, random.Random], Fault]


@dataclass(frozen=True, slots=True)
class Kind:
    """`hold_s`: shortest and longest time in force. `needs`: servers that the lab must have.
    `alone`: not together with another fault, because it leaves too little or makes it moot."""

    name: str
    text: str
    hold_s: tuple[float, float]
    inject: Inject
    needs: int = 3
    alone: bool = False


@dataclass
class _Registry:
    kinds: dict[str, Kind] = field(default_factory=dict)


_REGISTRY = _Registry()


def kind(
    name: str, text: str, hold_s: tuple[float, float], *, needs: int = 3, alone: bool = False
) -> Callable[[Inject], Inject]:
    """Register the decorated function under a name; a name taken is a mistake."""

    def register(inject: Inject) -> Inject:
        assert name not in _REGISTRY.kinds, f"two kinds of fault are called {name}"
        _REGISTRY.kinds[name] = Kind(name, text, hold_s, inject, needs, alone)
        return inject

    return register


def all_kinds() -> dict[str, Kind]:
    """Every kind, in order of their names."""
    import tests.faults.kinds as here

    for module in sorted(each.name for each in pkgutil.iter_modules(here.__path__)):
        importlib.import_module(f"{here.__name__}.{module}")
    return dict(sorted(_REGISTRY.kinds.items()))
