"""A script in a spec: a file beside the YAML, or its text in place. Read, checked and kept as text.

Used by the types that run scripts and by the recovery of monitors. `loading` is how the loader
hands in the reader of files; a model that was dumped holds the text already and needs none.
"""

import hashlib
from collections.abc import Callable
from typing import Any, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from specs.document import Model
from specs.scalars import Impact, format_size, impact

MAX_SCRIPT_BYTES = 256 * 1024
"""Scripts are kept in the store with the specs, and read by every agent."""

ReadFile = Callable[[str], bytes]
"""Content of a file named in a spec. Raises ValueError with a sentence."""


class Files:
    """What the files that one document names hold. Each is read once; `texts` are kept with it."""

    def __init__(self, read: ReadFile | None) -> None:
        self._read = read
        self.texts: dict[str, str] = {}

    def text(self, path: str) -> str:
        """Raises ValueError with a sentence for the user."""
        if path not in self.texts:
            if self._read is None:
                raise ValueError("there is no file beside this text: write the script as text")
            self.texts[path] = decoded(self._read(path))
        return self.texts[path]


def loading(files: Files) -> dict[str, Any]:
    """Context of a validation of what a user wrote."""
    return {"files": files}


def decoded(data: bytes) -> str:
    """Raises ValueError for what is no script."""
    if len(data) > MAX_SCRIPT_BYTES:
        raise ValueError(
            f"the script is larger than {format_size(MAX_SCRIPT_BYTES)}: install what is large on "
            "the servers, and call it from a short script"
        )
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"the script is not UTF-8 text (its line {line})") from None
    _check(text)
    return text


def _check(text: str) -> None:
    if "\0" in text:
        raise ValueError("the script holds a NUL character: is it a binary file?")
    if "\r" in text:
        line = text.count("\n", 0, text.index("\r")) + 1
        raise ValueError(
            f"line {line} of the script ends with CR LF, as on Windows; Linux needs LF alone "
            "(sed -i 's/\\r$//' FILE)"
        )
    if not interpreter(text)[:1]:
        raise ValueError(
            "the first line of the script must name its interpreter, such as #!/bin/sh"
        )


def interpreter(text: str) -> tuple[str, ...]:
    """Program and at most one argument of the first line, as the kernel reads it; () without."""
    first = text.partition("\n")[0]
    program, _, argument = first.removeprefix("#!").strip().partition(" ")
    if not first.startswith("#!") or not program.startswith("/"):
        return ()
    return (program, argument.strip()) if argument.strip() else (program,)


def _text_field(impact_class: Impact) -> Any:
    return Field(
        default="",
        repr=False,
        validate_default=True,
        description="The script itself; its first line names the interpreter.",
        json_schema_extra=impact(
            impact_class, example="#!/bin/sh\nsystemctl start app\n", default_text="from the file"
        ),
    )


class Script(Model):
    """A script, from a file or as text. It is stored with the specs, at most 256 KiB. It is no
    place for secrets: everybody who reads the specs reads it."""

    file: str | None = Field(
        default=None,
        min_length=1,
        max_length=255,
        description="Name of the file, relative to the YAML file that names it and below its "
        "directory. It is read by apply.",
        json_schema_extra=impact("none", example="start.sh"),
    )
    text: str = _text_field("resource")

    @field_validator("file")
    @classmethod
    def _readable(cls, path: str | None, info: ValidationInfo) -> str | None:
        if path is not None and info.context:
            info.context["files"].text(path)
        return path

    @field_validator("text")
    @classmethod
    def _from_file(cls, text: str, info: ValidationInfo) -> str:
        path = info.data.get("file")
        if "file" not in info.data:
            return text  # the file's own problem is reported
        if path is not None and info.context:
            if text:
                raise ValueError("write file or text, not both")
            return str(info.context["files"].text(path))
        if path is None and text:
            decoded(text.encode())
        return text

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.text:
            raise ValueError("write file: NAME, or the script as text")
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def interpreter(self) -> tuple[str, ...]:
        """Program and at most one argument that run it."""
        return interpreter(self.text)


class QuietScript(Script):
    """A script whose change disturbs nothing: the next run takes the new one."""

    text: str = _text_field("none")


class MonitorScript(Script):
    """A script of a monitor."""

    text: str = _text_field("monitor")
