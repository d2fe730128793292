"""Types of fields that describe a program to run; used by resource and monitor types."""

from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, Field

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _argument(text: str) -> str:
    if "\0" in text:
        raise ValueError("a NUL character can't be passed to a program")
    return text


def _directory(text: str) -> str:
    if not PurePosixPath(text).is_absolute():
        raise ValueError(f"{text!r} is not an absolute path")
    return _argument(text)


Argument = Annotated[str, AfterValidator(_argument)]
Command = Annotated[tuple[Argument, ...], Field(min_length=1, max_length=1024)]
Directory = Annotated[str, AfterValidator(_directory)]
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
ExitCodes = Annotated[tuple[Annotated[int, Field(ge=0, le=255)], ...], Field(min_length=1)]
