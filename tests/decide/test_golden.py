"""Whole decisions, one file a case: the cluster in a few words and everything that is decided.

A file has `case` (a sentence), `me` (who decides; n1), `scene` (calls of `build.Scene`, in order)
and `decides` (the lines). After a wanted change of decisions `python -m tests.decide.test_golden`
writes `decides` anew; read the difference before it is committed.
"""

import io
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import LiteralScalarString

from reconciler.decide.decide import decide
from reconciler.decide.records import OperationKind, OperationPhase, Phase
from tests.decide.build import Scene
from tests.decide.told import decision_lines

FOLDER = Path(__file__).parent / "golden"
FILES = sorted(FOLDER.glob("*.yaml"))


def read(path: Path) -> Any:
    return YAML().load(path.read_text(encoding="utf-8"))


def scene_of(case: Any) -> Scene:
    """Each step is one method: a list is its arguments (a mapping at the end is named ones)."""
    scene = Scene(me=case.get("me", "n1"))
    for step in case["scene"]:
        ((method, given),) = step.items()
        if method == "clear_groups":
            scene.groups.clear()
            continue
        arguments = list(given) if isinstance(given, list) else [given]
        named = dict(arguments.pop()) if isinstance(arguments[-1], dict) else {}
        if method == "local":
            arguments[1] = Phase(arguments[1])
        if method == "operation":
            arguments[0] = OperationKind(arguments[0])
            named["phase"] = OperationPhase(named.get("phase", "pending"))
        getattr(scene, method)(*arguments, **named)
    return scene


def decided(case: Any) -> str:
    lines = decision_lines(decide(scene_of(case).snapshot()))
    return "".join(f"{line}\n" for line in lines) or "nothing\n"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_decision(path: Path) -> None:
    case = read(path)
    assert decided(case) == case["decides"], f"{path.name}: {case['case']}"


def test_there_are_cases_for_each_kind_of_decision() -> None:
    assert len(FILES) >= 10


def write_all() -> None:
    yaml = YAML()
    yaml.width = 96
    for path in FILES:
        case = read(path)
        case["decides"] = LiteralScalarString(decided(case))
        text = io.StringIO()
        yaml.dump(case, text)
        path.write_text(text.getvalue(), encoding="utf-8")


if __name__ == "__main__":
    write_all()
