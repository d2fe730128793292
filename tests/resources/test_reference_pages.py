"""The reference pages say what the models say, and nothing is left out."""

from pathlib import Path

import pytest

from reconciler.reference import DIRECTORY, main, pages, stale
from tests.resources.places import REGISTRY

ROOT = Path(__file__).parents[2]


def test_the_pages_in_the_repository_are_up_to_date() -> None:
    assert stale(ROOT / DIRECTORY, pages(REGISTRY)) == [], "run: python -m reconciler.reference"


def test_each_type_has_a_page_with_its_example_and_all_its_fields() -> None:
    made = pages(REGISTRY)
    for found in REGISTRY.resource_types():
        page = made[f"resource-{found.tag()}.md"]
        assert "```yaml" in page
        for info in found.model_fields.values():
            assert f"`{info.alias}`" in page


def test_a_stale_page_is_named_and_written_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--directory", str(tmp_path)]
    assert main(place) == 0
    assert main([*place, "--check"]) == 0
    (tmp_path / "group.md").write_text("old")
    (tmp_path / "resource-gone.md").write_text("old")
    assert main([*place, "--check"]) == 1
    said = capsys.readouterr().out
    assert "group.md is stale" in said
    assert "resource-gone.md is stale" in said
    assert main(place) == 0
    assert main([*place, "--check"]) == 0
