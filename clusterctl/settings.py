"""Which cluster a command talks to: flags, then environment, then the context file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clusterctl.exit_codes import ExitCode
from clusterctl.failure import Failure

DEFAULT_CONTEXT = Path("/etc/clusterctl/context.yaml")
_CONTEXT_KEYS = frozenset({"apiVersion", "kind", "cluster", "endpoints", "ca", "cert", "key"})
_MAX_CONTEXT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Tls:
    """Paths of the CA and of this user's certificate and key."""

    ca: str
    cert: str
    key: str


@dataclass(frozen=True, slots=True)
class Settings:
    """`timeout_s` bounds how long an unreachable store is waited for."""

    cluster: str
    endpoints: tuple[str, ...]
    tls: Tls | None
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Choice:
    """What the user chose on the command line or in the environment; None = not chosen."""

    cluster: str | None = None
    endpoints: str | None = None
    context: str | None = None
    timeout_s: float = 5.0


def resolve(choice: Choice) -> Settings:
    """Raises `Failure`: 2 for a wrong context file, 3 when none is chosen, 8 if unreadable."""
    context = _context(choice)
    cluster = choice.cluster or context.get("cluster")
    endpoints = _split(choice.endpoints) or _split(context.get("endpoints"))
    if not endpoints or not cluster:
        missing = "--endpoints" if not endpoints else "--cluster"
        raise Failure(
            f"no cluster is chosen: {choice.context or DEFAULT_CONTEXT} does not exist or does not"
            f" name one, and {missing} is not given",
            ExitCode.UNREACHABLE,
            "clusterctl cluster init NAME, or --context FILE, or --endpoints URL --cluster NAME",
        )
    if "/" in cluster:
        raise Failure(f"{cluster!r} is not the name of a cluster", ExitCode.USAGE)
    return Settings(cluster, endpoints, _tls(context, endpoints), choice.timeout_s)


def _context(choice: Choice) -> Mapping[str, Any]:
    path = Path(choice.context) if choice.context else DEFAULT_CONTEXT
    try:
        if path.is_file() and path.stat().st_size > _MAX_CONTEXT_BYTES:
            raise Failure(f"{path} is too large for a context file", ExitCode.USAGE)
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        if choice.context:
            raise Failure(f"{path} does not exist", ExitCode.USAGE) from None
        return {}
    except PermissionError:
        # Flags may name everything that the file would; then it is not needed.
        if choice.endpoints and choice.cluster and not choice.context:
            return {}
        raise Failure(
            f"not permitted to read {path}", ExitCode.NOT_PERMITTED, "run it as root"
        ) from None
    except UnicodeDecodeError:
        raise Failure(f"{path} is not a text file in UTF-8", ExitCode.USAGE) from None
    return _parsed(path, text)


def _parsed(path: Path, text: str) -> Mapping[str, Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        data = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        first = str(error).splitlines()[0]
        raise Failure(f"{path} is not valid YAML: {first}", ExitCode.USAGE) from None
    if not isinstance(data, dict):
        raise Failure(f"{path} must hold keys such as cluster and endpoints", ExitCode.USAGE)
    unknown = sorted(str(key) for key in data if key not in _CONTEXT_KEYS)
    if unknown:
        known = ", ".join(sorted(_CONTEXT_KEYS))
        raise Failure(f"{path}: unknown key {unknown[0]!r}, known are {known}", ExitCode.USAGE)
    for name in ("ca", "cert", "key"):
        if isinstance(data.get(name), str):
            data[name] = str(path.parent / data[name])
    return data


def _split(value: object) -> tuple[str, ...]:
    """Endpoints as a comma-separated text or a list; a bare host:port gets https."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list):
        return ()
    found = []
    for item in items:
        text = str(item).strip()
        if text:
            found.append(text if "://" in text else f"https://{text}")
    return tuple(found)


def _tls(context: Mapping[str, Any], endpoints: tuple[str, ...]) -> Tls | None:
    if all(endpoint.startswith("http://") for endpoint in endpoints):
        return None
    paths = [context.get(name) for name in ("ca", "cert", "key")]
    if not all(isinstance(path, str) for path in paths):
        raise Failure(
            "the endpoints are https, but no certificate is known for them",
            ExitCode.USAGE,
            "--context FILE with ca, cert and key (default /etc/clusterctl/context.yaml)",
        )
    for path in paths:
        _readable(Path(str(path)))
    return Tls(*(str(path) for path in paths))


def _readable(path: Path) -> None:
    try:
        with path.open("rb"):
            return
    except PermissionError:
        raise Failure(
            f"not permitted to read {path}", ExitCode.NOT_PERMITTED, "run it as root"
        ) from None
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}", ExitCode.USAGE) from None
