"""What one side of a mirror knows of itself for good: page 0 of its metadata, as JSON."""

import json
from dataclasses import dataclass, fields, replace
from typing import Any, Self

KEPT = 16
"""Generations that are remembered in `bases` and in `history`."""


@dataclass(frozen=True, slots=True)
class Header:
    """`current` is the id of the generation of data that this side holds, `pending` those that it
    asked to begin: the record may name one of them. `bases` are generations at which the peer may
    be so that the dirty bitmap says what it lacks; `history` all older ones. `floor` is the
    highest epoch seen: no writer below it is ever accepted. `consistent` is False while this side
    is the target of a copy. `clean`: it was stopped in order. `primary`: it served when the header
    was written. `boot`: the boot in which it was not clean. `fresh`: nothing was ever written to
    it. `discard`: an operator gave its data up. `isolated`: it was detached as a snapshot, until
    the wall-clock second `isolated_until`.
    `order_kept`: it follows an asynchronous mirror. `as_of`: wall-clock second of its newest data.
    """

    resource: str
    size: int
    current: str
    pending: tuple[str, ...] = ()
    bases: tuple[str, ...] = ()
    history: tuple[str, ...] = ()
    floor: int = 0
    consistent: bool = True
    clean: bool = True
    primary: bool = False
    boot: str = ""
    fresh: bool = True
    discard: bool = False
    isolated: bool = False
    isolated_until: float = 0.0
    order_kept: bool = False
    as_of: float = 0.0

    def with_generation(self, generation: str) -> "Header":
        """Begin a generation: the peer may still be at the old one, or at an older base."""
        bases = (*(b for b in self.bases if b != self.current), self.current)
        if len(bases) > KEPT:
            bases = (bases[0], *bases[-KEPT + 1 :])  # the first is where the peer most likely is
        history = (self.current, *(h for h in self.history if h != self.current))[:KEPT]
        return replace(
            self, current=generation, pending=(), bases=bases, history=history, fresh=False
        )

    def to_bytes(self) -> bytes:
        return json.dumps(self.to_json(), separators=(",", ":")).encode()

    def to_json(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Raises `ValueError` for what is no header."""
        known = {f.name for f in fields(cls)}
        kept = {key: value for key, value in data.items() if key in known}
        for name in ("pending", "bases", "history"):
            kept[name] = tuple(str(one) for one in kept.get(name, ()))
        try:
            return cls(**kept)
        except TypeError as error:
            raise ValueError(f"no header of a mirror: {error}") from None

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        return cls.from_json(json.loads(data.rstrip(b"\0")))
