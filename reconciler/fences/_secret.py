"""Where the password of a fence device is. Types of fence devices have it as a field."""

import os
from pathlib import Path

from pydantic import Field, model_validator

from reconciler.ports.power import FenceError
from specs.document import Model
from specs.scalars import impact


class PasswordSource(Model):
    """Where the password is, on every server that may fence. Exactly one of both."""

    file: Path | None = Field(
        default=None,
        description="File that holds the password and nothing else; mode 0600.",
        json_schema_extra=impact("none", example="/etc/clusterctl/secrets/bmc"),
    )
    env: str | None = Field(
        default=None,
        description="Environment variable of the agent that holds the password.",
        json_schema_extra=impact("none", example="BMC_PASSWORD"),
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> "PasswordSource":
        if (self.file is None) == (self.env is None):
            raise ValueError("give exactly one of 'file' and 'env'")
        if self.file is not None and not self.file.is_absolute():
            raise ValueError(f"'{self.file}' is not an absolute path")
        return self

    def read(self) -> str:
        """The password; raises `FenceError` that names the file or variable, never the content."""
        if self.file is None:
            password = os.environ.get(str(self.env), "")
            if not password:
                raise FenceError(f"environment variable {self.env} with the BMC password is empty")
            return password
        try:
            password = self.file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise FenceError(f"cannot read the BMC password file {self.file}: {reason}") from None
        if not password:
            raise FenceError(f"the BMC password file {self.file} is empty")
        return password

    def warning(self) -> str | None:
        """A sentence when others than its owner may read the password."""
        if self.file is None:
            return None
        try:
            mode = self.file.stat().st_mode & 0o777
        except OSError:
            return None
        if mode & 0o077 == 0:
            return None
        return f"password file {self.file} has mode {mode:04o}; make it 0600"
