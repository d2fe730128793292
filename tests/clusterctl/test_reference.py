"""The page of commands is what the commands say of themselves."""

from pathlib import Path

from clusterctl.exit_codes import ExitCode
from clusterctl.reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == reference(), "python -m clusterctl.reference > docs/cli.md"


def test_every_exit_code_is_explained() -> None:
    for code in ExitCode:
        assert f"\n| {int(code)} | " in reference()
