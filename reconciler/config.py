"""The agent's own configuration, /etc/clusterctl/agent.yaml: closed schema, errors with file:line.

Written by `clusterctl cluster init` and `join`; read by `reconciler` (agent.py) at its start.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from specs.document import Model
from specs.errors import SpecError, SpecErrors, SpecProblem, nearest
from specs.scalars import Name, Port

DEFAULT_CONFIG = Path("/etc/clusterctl/agent.yaml")
SIZE_LIMIT = 64 * 1024

Endpoint = Annotated[str, Field(pattern=r"^https?://[^/\s]+:[0-9]{1,5}$")]


class AgentConfig(Model):
    """What an agent must know before it can read the cluster's specs from the store."""

    api_version: Literal["clusterctl/v1"] = Field(
        default="clusterctl/v1", description="Version of the format."
    )
    kind: Literal["AgentConfig"] = Field(default="AgentConfig", description="AgentConfig.")
    cluster: Name = Field(description="Name of the cluster.")
    server: Name = Field(description="Name of this server.")
    endpoints: tuple[Endpoint, ...] = Field(
        min_length=1, description="Members of the store, this server's own first."
    )
    pki_directory: Path = Field(
        default=Path("/etc/clusterctl/pki"), description="ca.crt, agent.crt and agent.key."
    )
    state_directory: Path = Field(
        default=Path("/var/lib/clusterctl"), description="What survives a reboot."
    )
    run_directory: Path = Field(
        default=Path("/run/clusterctl"), description="What a reboot must lose."
    )
    cluster_key_file: Path = Field(
        default=Path("/etc/clusterctl/cluster.key"), description="Keys that sign heartbeats."
    )
    heartbeat_port: Port = Field(default=7400, description="UDP port of the heartbeats.")
    boot_id_file: Path = Field(
        default=Path("/run/clusterctl/boot-id"),
        description="Random id of this boot, made once per power-on.",
    )

    @property
    def ca_file(self) -> Path:
        return self.pki_directory / "ca.crt"

    @property
    def certificate_file(self) -> Path:
        return self.pki_directory / "agent.crt"

    @property
    def key_file(self) -> Path:
        return self.pki_directory / "agent.key"


def load_config(path: Path) -> AgentConfig:
    """Read and validate `path`; raises `SpecErrors` with one `file:line` per problem."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _errors(path, f"can not be read: {error.strerror}") from error
    if len(data) > SIZE_LIMIT:
        raise _errors(path, f"is larger than {SIZE_LIMIT} bytes")
    try:
        document = YAML(typ="rt").load(data.decode())
    except UnicodeDecodeError as error:
        raise _errors(path, "is not UTF-8 text") from error
    except MarkedYAMLError as error:
        mark = error.problem_mark
        place = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise _errors(path, f"is not YAML: {error.problem}", place) from error
    except YAMLError as error:
        raise _errors(path, f"is not YAML: {error}") from error
    if not isinstance(document, dict):
        raise _errors(path, "must be a mapping with apiVersion and kind: AgentConfig", (1, 1))
    try:
        return AgentConfig.model_validate(document)
    except ValidationError as error:
        problems = [_problem(path, document, dict(detail)) for detail in error.errors()]
        raise SpecErrors(*problems) from error


def dump_config(config: AgentConfig) -> str:
    """The file's text, every default filled in."""
    lines = []
    for name, value in config.to_json().items():
        if isinstance(value, list):
            lines.append(f"{name}:")
            lines.extend(f"  - {item}" for item in value)
        else:
            lines.append(f"{name}: {value}")
    return "\n".join(lines) + "\n"


def _errors(path: Path, message: str, place: tuple[int, int] = (0, 0)) -> SpecError:
    return SpecErrors(SpecProblem(str(path), place[0], place[1], "", message, "E0301"))


def _problem(path: Path, document: Any, detail: dict[str, Any]) -> SpecProblem:
    location = tuple(str(part) for part in detail["loc"])
    line, column = _place(document, detail["loc"])
    message = str(detail["msg"]).removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        known = [field.alias or name for name, field in AgentConfig.model_fields.items()]
        message = f"unknown key{nearest(location[-1], known)}"
    elif detail["type"] == "missing":
        message = "is missing"
    return SpecProblem(str(path), line, column, ".".join(location), message, "E0302")


def _place(document: Any, location: tuple[int | str, ...]) -> tuple[int, int]:
    """Line and column of the deepest part of `location` that the text holds; both from 1."""
    place = (1, 1)
    node = document
    for part in location:
        marks = getattr(node, "lc", None)
        try:
            line, column = marks.key(part) if isinstance(node, dict) else marks.item(part)  # type: ignore[union-attr]
        except (AttributeError, KeyError, TypeError, IndexError):
            break
        place = (line + 1, column + 1)
        node = node[part]
    return place
