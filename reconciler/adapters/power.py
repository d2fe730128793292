"""`ports.power.Power`: fence devices from the `fencing.levels` of Server specs."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from reconciler.plugin import Registry
from reconciler.ports.clock import Clock
from reconciler.ports.power import FenceDevice, FenceError

_MOST_DEVICES = 1024


class RegisteredPower:
    """Picks the type by the level's `type`; equal levels share one device, so that a session
    opened by `prepare` is there when it is needed."""

    def __init__(self, registry: Registry, clock: Clock) -> None:
        self._registry = registry
        self._clock = clock
        self._devices: dict[str, FenceDevice] = {}

    def device(self, level: Mapping[str, Any]) -> FenceDevice:
        """Raises `FenceError` for an unknown type or wrong fields."""
        key = json.dumps(dict(level), sort_keys=True, default=str)
        if key not in self._devices:
            if len(self._devices) >= _MOST_DEVICES:
                self._devices.clear()  # levels that no spec names any more
            self._devices[key] = self._made(level)
        return self._devices[key]

    def _made(self, level: Mapping[str, Any]) -> FenceDevice:
        try:
            return self._registry.fence_device(level, self._clock)
        except KeyError:
            raise FenceError(f"there is no fence type {level.get('type')!r}") from None
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise FenceError(f"fence level {level.get('type')!r}: {where} {first['msg']}") from None
