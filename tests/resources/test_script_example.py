"""The specs of examples/04-script are whole, and a change of a script there is a change of them."""

import shutil
from pathlib import Path

from clusterctl.changes import change_lines
from specs.check import check, errors_of
from specs.diff import diff
from specs.load import SpecSet, load
from specs.sources import read_sources
from tests.resources.places import REGISTRY

EXAMPLE = Path(__file__).parents[2] / "examples/04-script"


def specs_of(directory: Path) -> SpecSet:
    return load(read_sources([str(directory)], None), REGISTRY)


def test_the_example_has_what_it_names() -> None:
    specs = specs_of(EXAMPLE)
    assert [ref.kind for ref in specs.objects] == ["Group", "Monitor", "Resource"]
    found = errors_of(check(specs, REGISTRY))
    # The lab brings its own Cluster and Servers; everything else must be in the example.
    assert {problem.code for problem in found} <= {"E0204", "E0201", "E0205"}
    files = {name for item in specs.objects.values() for name in item.files}
    assert files == {path.name for path in EXAMPLE.glob("*.sh")}


def test_a_diff_shows_the_lines_of_a_script_that_change(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE, tmp_path / "new")
    for name in ("start.sh", "stop.sh"):
        path = tmp_path / "new" / name
        path.write_text(path.read_text().replace("mkdir -p /run/queue", "mkdir -p /run/queue2"))
    changes = diff(specs_of(EXAMPLE), specs_of(tmp_path / "new"))
    assert [(f.path, f.impact) for change in changes for f in change.fields] == [
        ("spec.start.text", "resource"),
        ("spec.stop.text", "none"),
    ]
    lines = [line.strip() for _, line in change_lines(changes)]
    assert "~ spec.start.text:   (resource is disturbed)" in lines
    assert "-mkdir -p /run/queue" in lines
    assert "+mkdir -p /run/queue2" in lines
