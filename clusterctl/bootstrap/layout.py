"""Where things lie on a server, and how they are written. Used by all of bootstrap.

Everything is written to a temporary file beside its target and renamed, so that an interrupted
init or join leaves either the old file or the new one; secrets are 0600 from their first byte.
"""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

ENROLMENT_PORT = 7401
CLIENT_PORT = 2379
PEER_PORT = 2380


class BootstrapError(Exception):
    """Something that the operator has to change; the text is one sentence with the next step."""


@dataclass(frozen=True, slots=True)
class Layout:
    """All paths of one server. `root` is / except in tests."""

    root: Path = Path("/")

    @property
    def configuration(self) -> Path:
        return self.root / "etc/clusterctl"

    @property
    def pki(self) -> Path:
        return self.configuration / "pki"

    @property
    def secrets(self) -> Path:
        return self.configuration / "secrets"

    @property
    def agent_config(self) -> Path:
        return self.configuration / "agent.yaml"

    @property
    def etcd_config(self) -> Path:
        return self.configuration / "etcd.yaml"

    @property
    def cluster_key(self) -> Path:
        return self.configuration / "cluster.key"

    @property
    def cluster_facts(self) -> Path:
        return self.configuration / "cluster.json"

    @property
    def context(self) -> Path:
        return self.configuration / "context.yaml"

    @property
    def state(self) -> Path:
        return self.root / "var/lib/clusterctl"

    @property
    def etcd_data(self) -> Path:
        return self.state / "etcd"

    def certificate(self, name: str) -> Path:
        return self.pki / f"{name}.crt"

    def key(self, name: str) -> Path:
        return self.pki / f"{name}.key"

    def prepare(self) -> None:
        """Make the directories; only root may look into them."""
        for directory in (self.configuration, self.pki, self.secrets, self.state):
            try:
                directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            except OSError as error:
                raise BootstrapError(
                    f"{directory} can not be made: {error.strerror}; run this as root"
                ) from error
        # etcd refuses to start with a data directory that others may read
        self.etcd_data.mkdir(exist_ok=True, mode=0o700)


def write_file(path: Path, data: bytes | str) -> None:
    """Replace `path` durably and atomically, mode 0600."""
    content = data.encode() if isinstance(data, str) else data
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:  # however it ends, no half file with secrets may stay
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_file(path: Path, purpose: str) -> bytes:
    """Content of a file that must be there; `purpose` names it in the error."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BootstrapError(f"{purpose} {path} can not be read: {error.strerror}") from error
