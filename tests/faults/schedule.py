"""Which faults come when: everything out of a seed, nothing looked at. Used by the campaign."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.faults.kinds.kind import Kind

SECOND_CHANCE = 0.3
MOVE_CHANCE = 0.2
LATER_S = 3.0


@dataclass(frozen=True, slots=True)
class Planned:
    """One fault of a round, in seconds after the round's begin. `seed` decides its targets."""

    kind: str
    begin_s: float
    hold_s: float
    seed: str


@dataclass(frozen=True, slots=True)
class Round:
    """`move_s`: when an operator asks to move a group, or None."""

    number: int
    faults: tuple[Planned, ...]
    move_s: float | None = None


def rounds(seed: int, kinds: Sequence[Kind], servers: int) -> Iterator[Round]:
    """For ever. Every kind comes once before one comes again; a third of the rounds have two."""
    rng = random.Random(f"{seed}/{servers}")
    usable = [kind for kind in kinds if kind.needs <= servers]
    deck: list[Kind] = []
    number = 0
    while usable:
        number += 1
        first = _draw(deck, usable, rng)
        chosen = [first]
        others = [kind for kind in usable if not kind.alone and kind is not first]
        if not first.alone and others and rng.random() < SECOND_CHANCE:
            chosen.append(rng.choice(others))
        faults = tuple(
            Planned(
                kind.name,
                0.0 if index == 0 else round(rng.uniform(0.0, LATER_S), 3),
                round(rng.uniform(*kind.hold_s), 3),
                f"{seed}/{servers}/{number}/{index}",
            )
            for index, kind in enumerate(chosen)
        )
        moves = rng.random() < MOVE_CHANCE
        yield Round(number, faults, round(rng.uniform(0.0, LATER_S), 3) if moves else None)


def _draw(deck: list[Kind], usable: Sequence[Kind], rng: random.Random) -> Kind:
    if not deck:
        deck += rng.sample(list(usable), len(usable))
    return deck.pop()
