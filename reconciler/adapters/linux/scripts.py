"""Scripts of specs as files in the state directory, one for each content (`ports.host.Scripts`)."""

import asyncio
import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from reconciler.ports.host import HostError

KEPT_FILES = 500
"""Of the rest the oldest go; one that is needed once more is written again."""


class LinuxScripts:
    """Files are named by the SHA-256 of their content, mode 0700, in a directory of mode 0700."""

    def __init__(self, state_directory: Path) -> None:
        self._directory = state_directory / "scripts"

    async def place(self, text: str) -> str:
        return await asyncio.to_thread(self._place, text.encode())

    def _place(self, data: bytes) -> str:
        path = self._directory / hashlib.sha256(data).hexdigest()
        try:
            if self._is_intact(path, data):
                os.utime(path)
            else:
                self._write(path, data)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise HostError(
                f"its script cannot be written to {self._directory}: {reason}"
            ) from error
        return str(path)

    def _is_intact(self, path: Path, data: bytes) -> bool:
        try:
            return path.read_bytes() == data
        except (FileNotFoundError, NotADirectoryError):
            return False

    def _write(self, path: Path, data: bytes) -> None:
        """In one step: whoever reads it meanwhile reads the old one or the new one."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, temporary = tempfile.mkstemp(dir=self._directory, prefix=".new.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                os.fchmod(file.fileno(), 0o700)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:  # however it ends, no half file may stay
            with suppress(OSError):
                Path(temporary).unlink()
            raise
        self._clear_old()

    def _clear_old(self) -> None:
        with suppress(OSError):
            files = sorted(self._directory.iterdir(), key=lambda file: file.stat().st_mtime)
            for file in files[: max(0, len(files) - KEPT_FILES)]:
                file.unlink()
