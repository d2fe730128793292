"""Where texts come from: files, directories, pipes; every path that fails is named."""

import io
import os
from pathlib import Path

import pytest

from specs.errors import SpecErrors
from specs.load import read_sources
from specs.sources import MAX_FILE_BYTES


def test_directories_are_read_in_order_and_other_files_left_alone(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yml", "sub/c.yaml", "notes.txt", ".hidden.yaml", ".git/d.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    found = read_sources([str(tmp_path)], None)
    assert [source.text for source in found] == [b"a.yml", b"b.yaml", b"sub/c.yaml"]
    assert found[0].name == str(tmp_path / "a.yml")


def test_a_file_given_twice_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a")
    (tmp_path / "loop").symlink_to(tmp_path)
    found = read_sources([str(tmp_path), str(tmp_path / "a.yaml"), str(tmp_path / "loop")], None)
    assert len(found) == 1


def test_a_dash_is_standard_input() -> None:
    (source,) = read_sources(["-"], io.BytesIO(b"text"))
    assert (source.name, source.text) == ("<stdin>", b"text")
    with pytest.raises(SpecErrors, match="no standard input"):
        read_sources(["-"], None)


def test_a_pipe_is_a_file() -> None:
    reading, writing = os.pipe()
    try:
        os.write(writing, b"text")
        os.close(writing)
        (source,) = read_sources([f"/dev/fd/{reading}"], None)
        assert source.text == b"text"
    finally:
        os.close(reading)


def test_every_path_that_fails_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with (tmp_path / "large.yaml").open("wb") as file:
        file.truncate(10 * 2**20)
    with pytest.raises(SpecErrors) as caught:
        read_sources(
            [
                str(tmp_path / "absent.yaml"),
                str(tmp_path / "empty"),
                str(tmp_path / "large.yaml"),
                "nul\0",
            ],
            None,
        )
    lines = str(caught.value).splitlines()
    assert [line.split("  ")[1] for line in lines] == [
        "cannot be read: no such file or directory [E0001]",
        "no *.yaml or *.yml file in this directory [E0009]",
        "larger than 8 MiB [E0002]",
        "is not a file name [E0001]",
    ]


def test_an_endless_file_is_refused() -> None:
    with pytest.raises(SpecErrors, match="larger than 8 MiB"):
        read_sources(["/dev/zero"], None)
    with pytest.raises(SpecErrors, match="larger than 8 MiB"):
        read_sources(["-"], io.BytesIO(b"x" * (MAX_FILE_BYTES + 1)))
