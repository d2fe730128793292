"""`python -m tests.simulation.guards [--write FILE]`: takes out one guard after the other and
prints what noticed it."""

import argparse
import sys
from pathlib import Path

from tests.simulation.guards.table import GUARDS, Caught, catch

HEAD = """# Guards, and what notices when one is missing

Written by `python -m tests.simulation.guards --write docs/evidence/guards.md`. Each row is the
product with one guard (or the smallest set that is missed) taken out, played in the simulator: the
invariant that broke first, and the story and seed that broke it. With all guards in place every
story holds.

| Guard | What it promises | Broken without it | Story |
|---|---|---|---|
"""

# How `expect`, `never` and `until` begin their sentences.
STORY_WORDS = ("expected", "never promised", "not within 60.0 s")


def row(caught: Caught) -> str:
    broken = (caught.violation or "**nothing**").partition(":")[0]
    if broken in STORY_WORDS:
        broken = "the story's promise"
    where = caught.where.replace("_", " ") or "none"
    return f"| {caught.guard.name} | {caught.guard.promise} | {broken} | {where} |"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", type=Path, help="a Markdown file")
    options = parser.parse_args()
    rows, missed = [], 0
    for guard in GUARDS:
        caught = catch(guard)
        missed += caught.violation is None
        rows.append(row(caught))
        print(f"{guard.name:28} {caught.where:58} {caught.violation or 'NOT NOTICED'}", flush=True)
    if options.write:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text(HEAD + "\n".join(rows) + "\n")
    print(f"{len(GUARDS)} guards, {missed} not noticed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
