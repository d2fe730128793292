"""Scripts in specs: read beside their YAML, checked there, kept as text."""

import os
from pathlib import Path

import pytest

from specs.document import Model
from specs.errors import SpecErrors
from specs.load import Source, load_one, read_sources
from specs.script import MAX_SCRIPT_BYTES, QuietScript, Script, interpreter
from specs.sources import read_beside

SCRIPT = "#!/bin/sh\necho 'größer'\n"


class Holder(Model):
    start: Script
    status: QuietScript | None = None


def holder(directory: Path, text: str) -> Holder:
    path = directory / "specs.yaml"
    path.write_text(text)
    (source,) = read_sources([str(path)], None)
    return load_one(source, Holder)


def problem(directory: Path, text: str) -> str:
    with pytest.raises(SpecErrors) as caught:
        holder(directory, text)
    (found,) = caught.value.problems
    return str(found)


def test_a_script_is_read_beside_the_file_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "größe.sh").write_text(SCRIPT)
    found = holder(tmp_path, "start:\n  file: scripts/größe.sh\n").start
    assert found.text == SCRIPT
    assert found.interpreter == ("/bin/sh",)


def test_a_script_may_be_written_in_place(tmp_path: Path) -> None:
    found = holder(tmp_path, "start:\n  text: |\n    #!/bin/sh\n    exit 0\n").start
    assert found.text == "#!/bin/sh\nexit 0\n"


def test_the_same_text_is_the_same_script_wherever_it_is_from(tmp_path: Path) -> None:
    (tmp_path / "a.sh").write_text(SCRIPT)
    one = holder(tmp_path, "start: {file: a.sh}\n").start
    assert one.digest == Script(text=SCRIPT).digest


def test_what_was_dumped_needs_no_file_any_more(tmp_path: Path) -> None:
    (tmp_path / "a.sh").write_text(SCRIPT)
    found = holder(tmp_path, "start: {file: a.sh}\n")
    assert Holder.model_validate(found.model_dump(mode="json", by_alias=True)) == found


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"#!/bin/sh\r\nexit 0\r\n", "line 1 of the script ends with CR LF"),
        (b"#!/bin/sh\ntrue\nexit 0\r\n", "line 3 of the script ends with CR LF"),
        (b"echo hello\n", "must name its interpreter, such as #!/bin/sh"),
        (b"#!python3\n", "must name its interpreter"),
        (b"", "must name its interpreter"),
        (b"\xef\xbb\xbf#!/bin/sh\n", "must name its interpreter"),
        (b"#!/bin/sh\n\0", "NUL"),
        (b"#!/bin/sh\n# gr\xf6sse\n", "not UTF-8 text (its line 2)"),
        (b"#!/bin/sh\n" + b"#" * 2**20, "larger than 256KiB"),
    ],
)
def test_what_is_no_script_is_refused_at_its_line(
    tmp_path: Path, content: bytes, said: str
) -> None:
    (tmp_path / "a.sh").write_bytes(content)
    text = problem(tmp_path, "# first\nstart:\n  file: a.sh\n")
    assert "specs.yaml:3:9" in text
    assert said in text


def test_the_largest_script_is_taken(tmp_path: Path) -> None:
    content = b"#!/bin/sh\n" + b"#" * (MAX_SCRIPT_BYTES - 10)
    (tmp_path / "a.sh").write_bytes(content)
    assert len(holder(tmp_path, "start: {file: a.sh}\n").start.text) == MAX_SCRIPT_BYTES


@pytest.mark.parametrize("name", ["../a.sh", "/etc/passwd", "x/../../a.sh", "link.sh"])
def test_a_file_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "a.sh").write_text(SCRIPT)
    (inside / "link.sh").symlink_to("../a.sh")
    text = problem(inside, f"start: {{file: {name}}}\n")
    assert "specs.yaml:1" in text
    assert "directory" in text


@pytest.mark.parametrize("name", ["missing.sh", "pipe", "."])
def test_what_cannot_be_read_is_said(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    text = problem(tmp_path, f"start: {{file: {name}}}\n")
    assert "cannot be read" in text or "is not a file" in text


def test_a_file_cannot_be_named_by_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(SpecErrors, match="write the script as text"):
        load_one(Source("<stdin>", b"start: {file: a.sh}\n"), Holder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("start: {}\n", "write file: NAME, or the script as text"),
        ("start: {file: a.sh, text: '#!/bin/sh'}\n", "not both"),
        ("start: {text: exit 0}\n", "must name its interpreter"),
        ("start: {file: 7}\n", "expected text"),
        ("start: a.sh\n", "expected a mapping"),
    ],
)
def test_one_problem_for_one_fault(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.sh").write_text(SCRIPT)
    assert said in problem(tmp_path, text)


def test_the_first_line_is_read_as_the_kernel_reads_it() -> None:
    assert interpreter("#! /usr/bin/env -S python3 -u\n") == ("/usr/bin/env", "-S python3 -u")
    assert interpreter("#!/bin/sh\n") == ("/bin/sh",)
    assert interpreter("# /bin/sh\n") == ()


def test_no_more_than_needed_is_read(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * (MAX_SCRIPT_BYTES * 2))
    assert len(read_beside(tmp_path / "specs.yaml", "big")) == MAX_SCRIPT_BYTES + 1
