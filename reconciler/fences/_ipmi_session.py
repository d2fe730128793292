"""One IPMI session over LAN+. `ipmi` uses it, in a thread because python-ipmi blocks."""

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pyipmi
import pyipmi.interfaces
from pyipmi.errors import (
    AuthenticationError,
    CompletionCodeError,
    IpmiConnectionError,
    IpmiLongPasswordError,
    MessageStatusCodeError,
    RetryError,
)

from reconciler.fences._attempt import Attempt
from reconciler.ports.power import FenceError, PowerState

# At DEBUG the library writes whole sessions, password included, into the log.
logging.getLogger("pyipmi").setLevel(logging.WARNING)

POWER_DOWN, POWER_UP, POWER_CYCLE = 0, 1, 2
_CHASSIS, _APPLICATION = 0x00, 0x06
_CHASSIS_STATUS, _CHASSIS_CONTROL, _CHASSIS_IDENTIFY = 0x01, 0x02, 0x04
_SYSTEM_GUID = 0x37
_BMC_ADDRESS = 0x20
_FIRST_WAIT_S = 1.0
_LONGEST_IDENTIFY_S = 255
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Target:
    """Where and as whom; `cipher_suite` None tries 17 and then 3."""

    address: str
    port: int
    user: str
    password: str = field(repr=False)
    cipher_suite: int | None

    def __str__(self) -> str:
        return f"BMC {self.address}:{self.port}"


class IpmiSession:
    """An open session. Blocking; one thread at a time. Raises `FenceError` only."""

    def __init__(self, target: Target, attempt: Attempt) -> None:
        """Opens it: ping, capabilities, authenticated key exchange, privilege level."""
        self._target = target
        self._interface: Any = pyipmi.interfaces.create_interface(
            "rmcpplus", keep_alive_interval=0, cipher_suite=target.cipher_suite
        )
        self._connection: Any = pyipmi.create_connection(self._interface)
        self._connection.target = pyipmi.Target(ipmb_address=_BMC_ADDRESS)
        self._connection.session.set_session_type_rmcp(target.address, target.port)
        self._connection.session.set_auth_type_user(target.user, target.password)
        self._connection.session.set_priv_level("ADMINISTRATOR")
        self._interface.open()
        try:
            self._guarded(attempt, self._connection.session.establish)
        except FenceError:
            self._interface.close()
            raise

    def power(self, attempt: Attempt) -> PowerState:
        """The chassis' power state, read now."""
        answer = self._read(attempt, _CHASSIS, bytes([_CHASSIS_STATUS]), "chassis status")
        return PowerState.ON if answer[0] & 1 else PowerState.OFF

    def guid(self, attempt: Attempt) -> str | None:
        """System GUID as 32 hexadecimal digits in the order sent; None when it has none."""
        try:
            answer = self._read(attempt, _APPLICATION, bytes([_SYSTEM_GUID]), "system GUID")
        except _Unsupported:
            return None
        return answer[:16].hex() if len(answer) >= 16 else None

    def control(self, attempt: Attempt, command: int, may_leave: Callable[[], None]) -> bool:
        """Send one chassis control command, once. `may_leave` is asked right before the packet and
        raises to stop it. False: no answer came, so it may have happened or not."""
        attempt.check()
        self._interface.set_timeout(max(0.05, attempt.remaining() / 2))
        may_leave()
        try:
            answer = self._connection.send_raw(0, _CHASSIS, bytes([_CHASSIS_CONTROL, command]))
        except (RetryError, TimeoutError):
            return False
        except Exception as error:
            raise _fence_error(self._target, error) from error
        _check_completion(self._target, answer, "chassis control")
        return True

    def identify(self, attempt: Attempt, seconds: int) -> None:
        """Light the locator LED for 0 (off) to 255 seconds."""
        duration = max(0, min(seconds, _LONGEST_IDENTIFY_S))
        self._read(attempt, _CHASSIS, bytes([_CHASSIS_IDENTIFY, duration]), "chassis identify")

    def close(self) -> None:
        """Tell the BMC, which has few sessions; no answer is waited for long."""
        with contextlib.suppress(Exception):  # the session also ends by itself
            self._interface.set_timeout(0.5)
            self._connection.session.close()
        self._interface.close()

    def drop(self) -> None:
        """Close our socket only."""
        self._interface.close()

    def _read(self, attempt: Attempt, function: int, request: bytes, what: str) -> bytes:
        """A request that may be repeated: once more when the first packet seems lost."""

        def once() -> bytes:
            return bytes(self._connection.send_raw(0, function, request))

        attempt.check()
        try:
            self._interface.set_timeout(max(0.05, min(_FIRST_WAIT_S, attempt.remaining() / 2)))
            answer = once()
        except (RetryError, TimeoutError):
            answer = self._guarded(attempt, once)
        except Exception as error:
            raise _fence_error(self._target, error) from error
        return _check_completion(self._target, answer, what)

    def _guarded(self, attempt: Attempt, call: Callable[[], _Result]) -> _Result:
        attempt.check()
        try:
            self._interface.set_timeout(max(0.05, attempt.remaining()))
            return call()
        except Exception as error:
            raise _fence_error(self._target, error) from error


class _Unsupported(FenceError):
    """The BMC does not know this command."""


_UNSUPPORTED_CODES = (0xC1, 0xC2, 0xCD, 0xD6)


def _check_completion(target: Target, answer: bytes, what: str) -> bytes:
    if not answer:
        raise FenceError(f"{target} gave an empty answer to {what}")
    if answer[0] in _UNSUPPORTED_CODES:
        raise _Unsupported(f"{target} does not support {what} (code 0x{answer[0]:02x})")
    if answer[0] != 0:
        raise FenceError(f"{target} refused {what} (code 0x{answer[0]:02x})")
    return answer[1:] or b"\0"


def _fence_error(target: Target, error: Exception) -> FenceError:
    """One sentence for whatever the library raised."""
    if isinstance(error, FenceError):
        return error
    if isinstance(error, AuthenticationError):
        return FenceError(f"{target} refused user {target.user!r}: wrong password?")
    if isinstance(error, IpmiLongPasswordError):
        return FenceError(f"{target}: the password is longer than the 20 bytes that IPMI allows")
    if isinstance(error, MessageStatusCodeError):
        return FenceError(f"{target} refused the session for user {target.user!r}: {error}")
    if isinstance(error, IpmiConnectionError | RetryError | TimeoutError | CompletionCodeError):
        detail = str(error) if isinstance(error, CompletionCodeError) else "it did not answer"
        return FenceError(f"{target}: {detail}")
    if isinstance(error, OSError):
        return FenceError(f"{target} cannot be reached: {error.strerror or error}")
    return FenceError(f"{target} answered nonsense ({type(error).__name__}: {error})")
