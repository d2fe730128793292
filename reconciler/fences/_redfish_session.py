"""One Redfish session: HTTPS to a BMC, JSON in and out. `redfish` uses it, in a thread.

Nothing is sent before the BMC's certificate was checked; redirects are refused, because they would
carry the session to another machine.
"""

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError, SSLError

from reconciler.fences._attempt import Attempt
from reconciler.ports.power import FenceError, PowerState

_SESSIONS = "/redfish/v1/SessionService/Sessions"
_SYSTEMS = "/redfish/v1/Systems"
_RESET = "#ComputerSystem.Reset"
_LARGEST_ANSWER = 1024 * 1024
_SHORTEST_WAIT_S = 0.05
# What is neither certainly running nor certainly off counts as running.
_ON = ("On", "PoweringOn", "PoweringOff", "Paused")


@dataclass(frozen=True, slots=True)
class Target:
    """Where and as whom. `fingerprint`: SHA-256 of the certificate, 64 hexadecimal digits;
    `ca_file`: who signed it; neither: the machine's own authorities."""

    address: str
    port: int
    user: str
    password: str = field(repr=False)
    fingerprint: str | None = None
    ca_file: str | None = None

    def __str__(self) -> str:
        return f"Redfish {self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class System:
    """The server as its BMC tells it, read now. `reset`: path of the reset action."""

    path: str
    power: PowerState
    uuid: str | None
    reset: str


class RedfishSession:
    """An open session. Blocking; one thread at a time. Raises `FenceError` only."""

    def __init__(self, target: Target, system: str | None, attempt: Attempt) -> None:
        """Opens it: TLS, login, and which system it is when the BMC has exactly one."""
        self._target, self._headers = target, {"Accept": "application/json"}
        self._location = ""
        self._pool = urllib3.HTTPSConnectionPool(
            target.address,
            target.port,
            maxsize=1,
            retries=False,
            assert_fingerprint=target.fingerprint,
            assert_hostname=False if target.fingerprint else None,
            cert_reqs="CERT_NONE" if target.fingerprint else "CERT_REQUIRED",
            ca_certs=target.ca_file,
        )
        login = {"UserName": target.user, "Password": target.password}
        try:
            answer, headers = self._call(attempt, "POST", _SESSIONS, login)
            token = headers.get("X-Auth-Token")
            if not token:
                raise FenceError(f"{target} gave no session")
            self._headers["X-Auth-Token"] = token
            self._location = _path(headers.get("Location") or str(answer.get("@odata.id", "")))
            self._system = system or self._only_system(attempt)
        except FenceError:
            self.drop()
            raise

    def system(self, attempt: Attempt) -> System:
        """Power state and identity."""
        found, _ = self._call(attempt, "GET", self._system)
        state = found.get("PowerState")
        if state != "Off" and state not in _ON:
            raise FenceError(f"{self._target} tells the unknown power state {str(state)[:40]!r}")
        action = found.get("Actions", {}).get(_RESET, {})
        uuid = found.get("UUID")
        return System(
            self._system,
            PowerState.OFF if state == "Off" else PowerState.ON,
            str(uuid) if uuid else None,
            _path(str(action.get("target") or f"{self._system}/Actions/ComputerSystem.Reset")),
        )

    def reset(
        self, attempt: Attempt, system: System, kind: str, may_leave: Callable[[], float]
    ) -> bool:
        """Send one reset command, once. `may_leave` is asked right before: it returns the seconds
        within which the packet may leave, or raises. False: no answer came, so it may have
        happened or not."""
        attempt.check()
        limit = may_leave()
        try:
            self._call(attempt, "POST", system.reset, {"ResetType": kind}, connect_s=limit)
        except _NoAnswer:
            return False
        return True

    def identify(self, attempt: Attempt, *, lit: bool) -> None:
        self._call(attempt, "PATCH", self._system, {"LocationIndicatorActive": lit})

    def close(self) -> None:
        """End it at the BMC, which has few sessions; no answer is waited for long."""
        if self._location:
            with contextlib.suppress(HTTPError, OSError):
                self._pool.request(
                    "DELETE",
                    self._location,
                    headers=self._headers,
                    timeout=urllib3.Timeout(total=0.5),
                    redirect=False,
                )
        self.drop()

    def drop(self) -> None:
        """Close our socket only."""
        self._pool.close()

    def _only_system(self, attempt: Attempt) -> str:
        found, _ = self._call(attempt, "GET", _SYSTEMS)
        members = [str(m.get("@odata.id", "")) for m in found.get("Members", [])]
        if len(members) != 1:
            raise FenceError(f"{self._target} has {len(members)} systems: set `system` in the spec")
        return _path(members[0])

    def _call(
        self,
        attempt: Attempt,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        connect_s: float | None = None,
    ) -> tuple[dict[str, Any], Mapping[str, str]]:
        attempt.check()
        left = max(_SHORTEST_WAIT_S, attempt.remaining())
        wait = urllib3.Timeout(connect=min(left, connect_s or left), read=left, total=left)
        content = {"Content-Type": "application/json"} if body is not None else {}
        try:
            answer = self._pool.request(
                method,
                path,
                body=None if body is None else json.dumps(body).encode(),
                headers={**self._headers, **content},
                timeout=wait,
                redirect=False,
                preload_content=False,
            )
            with contextlib.closing(answer):
                data = answer.read(_LARGEST_ANSWER)
                answer.release_conn()
        except (HTTPError, OSError) as error:
            raise _fence_error(self._target, error) from None  # its text may hold the request
        if answer.status in (401, 403):
            raise FenceError(f"{self._target} refused user {self._target.user!r}: wrong password?")
        if not 200 <= answer.status < 300:
            raise FenceError(f"{self._target} answered {method} {path} with {answer.status}")
        return _decoded(self._target, data), answer.headers


class _NoAnswer(FenceError):
    """It was sent, perhaps."""


def _fence_error(target: Target, error: Exception) -> FenceError:
    if isinstance(error, SSLError):
        return FenceError(f"{target}: its certificate is not the one that the spec trusts")
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return FenceError(f"{target} cannot be reached")
    if isinstance(error, urllib3.exceptions.ConnectTimeoutError):
        return FenceError(f"{target} does not answer")
    if isinstance(error, urllib3.exceptions.TimeoutError | urllib3.exceptions.ProtocolError):
        return _NoAnswer(f"{target} did not answer in time")
    return FenceError(f"{target}: {type(error).__name__}")


def _decoded(target: Target, data: bytes) -> dict[str, Any]:
    if not data.strip():
        return {}
    try:
        found = json.loads(data)
    except ValueError:
        raise FenceError(f"{target} answered with something that is not JSON") from None
    if not isinstance(found, dict):
        raise FenceError(f"{target} answered with something that is no object")
    return found


def _path(location: str) -> str:
    """The path of a location, on the same machine always; raises `FenceError` without one."""
    path = urllib3.util.parse_url(location).path or ""
    if not path.startswith("/redfish/"):
        raise FenceError(f"a BMC named the place {location[:60]!r}, which is outside /redfish/")
    return path
