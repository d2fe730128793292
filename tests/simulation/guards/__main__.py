"""`python -m tests.simulation.guards [--write FILE] [--jobs 2]`: takes out one guard after the
other and prints what noticed it, at the end the rows that nothing noticed; then it ends with 1."""

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.simulation.guards.table import GUARDS, Caught, catch

HEAD = """# Guards, and what notices when one is missing

Written by `python -m tests.simulation.guards --write docs/evidence/guards.md`. Each row is the
product with one guard (or the smallest set that is missed) taken out, played in the simulator: the
invariant that broke first, and the story and seed that broke it. With all guards in place every
story holds.

| Guard | What it promises | Broken without it | Story | Seed |
|---|---|---|---|---|
"""

# How `expect`, `never` and `until` begin their sentences.
STORY_WORDS = ("expected", "never promised", "not within")


def row(caught: Caught) -> str:
    broken = (caught.violation or "**nothing**").partition(":")[0]
    if broken.startswith(STORY_WORDS):
        broken = "the story's promise"
    where = caught.where.replace("_", " ") or "none"
    seed = caught.seed if caught.seed is not None else ""
    return f"| {caught.guard.name} | {caught.guard.promise} | {broken} | {where} | {seed} |"


def _row(number: int) -> tuple[str, str, bool]:
    """The table's row, what to print, and whether it was noticed."""
    caught = catch(GUARDS[number])
    found = f"{caught.where}, seed {caught.seed}" if caught.violation else ""
    text = f"{caught.guard.name:28} {found:58} {caught.violation or 'NOT NOTICED'}"
    return row(caught), text, caught.violation is not None


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", type=Path, help="a Markdown file")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    rows, missed = [], []
    with ProcessPoolExecutor(options.jobs) as pool:
        for guard, (made, text, noticed) in zip(
            GUARDS, pool.map(_row, range(len(GUARDS))), strict=True
        ):
            rows.append(made)
            if not noticed:
                missed.append(guard.name)
            print(text, flush=True)
    if options.write:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text(HEAD + "\n".join(rows) + "\n")
    print(f"{len(GUARDS)} guards, {len(missed)} not noticed")
    for name in missed:
        print(f"NOT NOTICED: {name}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
