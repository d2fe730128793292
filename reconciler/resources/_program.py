"""What the types that run programs have in common: their fields, how programs ended, their last
words."""

import signal
from typing import Annotated

from pydantic import Field

from reconciler.plugin import Place, ResourceType
from specs.program import Argument, Directory, VariableName
from specs.scalars import ByteSize, impact


class Program(ResourceType):
    """Where and how something is executed."""

    cwd: Directory = Field(
        default="/",
        description="Directory that it starts in.",
        json_schema_extra=impact("resource", example="/srv"),
    )
    env: dict[VariableName, Argument] = Field(
        default_factory=dict,
        repr=False,
        description="Environment variables. Nothing is inherited from the agent.",
        json_schema_extra=impact("resource", example={"LANG": "C.UTF-8"}),
    )
    log_limit: Annotated[ByteSize, Field(ge=4096, le=2**30)] = Field(
        default=2**20,
        description="Size of a log file; one or more older ones are kept beside it.",
        json_schema_extra=impact("resource", example="1MiB"),
    )


def ended(exit_code: int | None) -> str:
    if exit_code is None:
        return "ended in an unknown way"
    if exit_code < 0:
        return f"was ended by {signal.Signals(-exit_code).name}"
    return f"exited with code {exit_code}"


def last_words(place: Place) -> str:
    return last_line(place.host.runners.log_tail(place.name, 1000))


def last_line(output: str) -> str:
    """To append to a reason; "" without any output."""
    lines = output.strip().splitlines()
    return f"; its last words: {lines[-1][:200]}" if lines else ""
