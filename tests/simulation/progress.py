"""Finished seeds of a long run in a file, so that it can go on after whatever ended it; used by
`__main__`."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Finished:
    """One line. `without` names the guard that was taken out, `commit` the tree that was played."""

    seed: int
    servers: int
    violation: str | None
    commit: str
    without: str = ""


class Progress:
    """`done` are those of before and of now, by seed and servers. A line that was cut off by the
    end of its writer is none."""

    def __init__(self, path: Path | None, without: str = "") -> None:
        self._path = path
        self.done: dict[tuple[int, int], Finished] = {}
        if path is None or not path.exists():
            return
        text = path.read_text()
        for line in text.splitlines():
            found = _read(line)
            if found is not None and found.without == without:
                self.done[found.seed, found.servers] = found
        if text and not text.endswith("\n"):
            with path.open("a") as file:
                file.write("\n")

    def commits(self) -> list[str]:
        return sorted({finished.commit for finished in self.done.values()})

    def add(self, finished: Finished) -> None:
        self.done[finished.seed, finished.servers] = finished
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps(asdict(finished)) + "\n")


def _read(line: str) -> Finished | None:
    try:
        return Finished(**json.loads(line))
    except (ValueError, TypeError):
        return None
