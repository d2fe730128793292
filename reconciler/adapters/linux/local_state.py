"""`ports.local_state.LocalState` in files: what was given up survives a reboot, what was started
does not (it lies in /run, like the processes themselves). The agent makes one."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reconciler.adapters.linux.atomic_file import read_json, write_json
from reconciler.decide.snapshot import KnownStore, PastAction


class FileLocalState:
    def __init__(self, state_directory: Path, run_directory: Path) -> None:
        self._dropped_path = state_directory / "dropped-epochs.json"
        self._store_path = state_directory / "store.json"
        self._actions_path = state_directory / "machine-actions.json"
        self._groups = run_directory / "groups"

    def dropped_epochs(self) -> Mapping[str, int]:
        """Raises `ValueError` for an unreadable file: a lost memory of what was given up must not
        look like having given up nothing."""
        if not self._dropped_path.exists():
            return {}
        content = read_json(self._dropped_path)
        if content is None:
            raise ValueError(
                f"{self._dropped_path} is damaged; make sure that no group of this server runs "
                "elsewhere, remove it, and start the agent again"
            )
        return {str(group): int(epoch) for group, epoch in content.items()}

    def drop_epoch(self, group: str, epoch: int) -> None:
        _write_durably(self._dropped_path, {**self.dropped_epochs(), group: epoch})

    def known_store(self) -> KnownStore | None:
        """Raises `ValueError` for an unreadable file, for the reason above."""
        if not self._store_path.exists():
            return None
        content = read_json(self._store_path)
        try:
            found = content or {}
            return KnownStore(
                str(found["store_id"]), int(found["generation"]), int(found["revision"])
            )
        except (KeyError, TypeError, ValueError):
            raise ValueError(
                f"{self._store_path} is damaged; make sure that the store was not restored from a "
                "backup meanwhile, remove it, and start the agent again"
            ) from None

    def remember_store(self, known: KnownStore) -> None:
        _write_durably(self._store_path, asdict(known))

    def machine_actions(self) -> tuple[PastAction, ...]:
        """Raises `ValueError` for an unreadable file: a lost count must not look like zero."""
        if not self._actions_path.exists():
            return ()
        content = read_json(self._actions_path)
        try:
            return tuple(PastAction(**action) for action in (content or {})["actions"])
        except (KeyError, TypeError):
            raise ValueError(
                f"{self._actions_path} is damaged; remove it, and this server counts its final "
                "actions from zero"
            ) from None

    def remember_machine_actions(self, actions: tuple[PastAction, ...]) -> None:
        _write_durably(self._actions_path, {"actions": [asdict(action) for action in actions]})

    def started_groups(self) -> Mapping[str, Mapping[str, Any]]:
        found = {}
        for path in sorted(self._groups.glob("*.json")):
            content = read_json(path) or {}
            epoch, resources = content.get("epoch"), content.get("resources")
            found[path.stem] = {
                "epoch": epoch if isinstance(epoch, int) else 0,
                "resources": resources if isinstance(resources, dict) else {},
                # until it was written down every group was to be kept
                "on_store_loss": content.get("on_store_loss", "keep") if content else "stop",
            }
        return found

    def save_started(self, group: str, started: Mapping[str, Any] | None) -> None:
        path = self._groups / f"{group}.json"
        if started is None:
            path.unlink(missing_ok=True)
        else:
            write_json(path, dict(started))


def _write_durably(path: Path, content: Mapping[str, Any]) -> None:
    directory = path.parent
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = directory / f".{path.name}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
