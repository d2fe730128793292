"""Base of all records, and the versions of them that agents understand."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field

SCHEMA = 1
OLDEST_SCHEMA = max(1, SCHEMA - 1)
"""Agents read this one too, and write nothing newer than the oldest agent in session reads."""


class Record(BaseModel):
    """Base of all records. One of a newer schema is refused: what it means here is not known."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_number: int = Field(default=SCHEMA, alias="schema", le=SCHEMA)
    nonce: str = ""

    def to_bytes(self) -> bytes:
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        return cls.model_validate_json(data)
