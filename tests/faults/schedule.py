"""Which faults come when: everything out of a seed, nothing looked at. Used by the campaign."""

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.faults.kinds.kind import Kind

COMBINED_CHANCE = 0.25
MOVE_CHANCE = 0.5  # of combined rounds
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


def rounds(
    seed: int, kinds: Sequence[Kind], servers: int, combined: float = COMBINED_CHANCE
) -> Iterator[Round]:
    """For ever. Most rounds have one fault, and every kind comes once before one comes again; in
    between (`combined`: their share) two kinds come together, out of a deck of their own, or one of
    them and a move."""
    rng = random.Random(f"{seed}/{servers}")
    usable = [kind for kind in kinds if kind.needs <= servers]
    social = [kind for kind in usable if not kind.alone]
    single, together = _Deck(usable, rng), _Deck(social, rng)
    for number in itertools.count(1):
        chosen, move_s = [], None
        if social and rng.random() < combined:
            chosen.append(together.draw())
            if rng.random() < MOVE_CHANCE:
                move_s = round(rng.uniform(0.0, LATER_S), 3)
            second = together.draw()
            if second is not chosen[0] and (move_s is None or rng.random() < MOVE_CHANCE):
                chosen.append(second)
        else:
            chosen.append(single.draw())
        faults = tuple(
            Planned(
                kind.name,
                0.0 if index == 0 else round(rng.uniform(0.0, LATER_S), 3),
                round(rng.uniform(*kind.hold_s), 3),
                f"{seed}/{servers}/{number}/{index}",
            )
            for index, kind in enumerate(chosen)
        )
        yield Round(number, faults, move_s)


class _Deck:
    """Shuffled; when all cards are drawn it is shuffled again."""

    def __init__(self, kinds: Sequence[Kind], rng: random.Random) -> None:
        self._kinds, self._rng = list(kinds), rng
        self._left: list[Kind] = []

    def draw(self) -> Kind:
        if not self._left:
            self._left = self._rng.sample(self._kinds, len(self._kinds))
        return self._left.pop()
