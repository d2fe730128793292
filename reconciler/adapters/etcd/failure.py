"""What one attempt at one member can end in, and how that becomes an error of the store port."""

from enum import Enum, auto

from reconciler.ports.store import (
    Compacted,
    Denied,
    Indeterminate,
    LeaseLost,
    NoLeader,
    StoreError,
    Unavailable,
)


class Kind(Enum):
    """After `UNKNOWN` and `BACKWARD` a write may have happened; after the others it has not."""

    NOT_SENT = auto()  # no connection
    UNTRUSTED = auto()  # TLS refused, or its files cannot be read
    NO_LEADER = auto()
    BUSY = auto()  # refused for now
    BACKWARD = auto()  # an answer from another cluster or from the past
    UNKNOWN = auto()
    DENIED = auto()
    COMPACTED = auto()
    LEASE_LOST = auto()
    FULL = auto()  # NOSPACE alarm
    REFUSED = auto()  # the request itself is wrong


_FINAL = {Kind.DENIED, Kind.COMPACTED, Kind.LEASE_LOST, Kind.FULL, Kind.REFUSED}
_MEMBER_IS_AWAY = {Kind.NOT_SENT, Kind.UNTRUSTED, Kind.NO_LEADER, Kind.BACKWARD, Kind.UNKNOWN}


class AttemptFailed(Exception):
    """One attempt at one member failed; internal to this adapter."""

    def __init__(self, kind: Kind, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind

    @property
    def is_final(self) -> bool:
        """Another member would say the same."""
        return self.kind in _FINAL

    @property
    def may_have_happened(self) -> bool:
        return self.kind in (Kind.UNKNOWN, Kind.BACKWARD)

    @property
    def is_member_away(self) -> bool:
        """The member is better left alone until it answers a probe."""
        return self.kind in _MEMBER_IS_AWAY


def store_error(failures: list[AttemptFailed], what: str) -> StoreError:
    """The port's error for a call that ended after these failures (the last one decides)."""
    if not failures:
        return Unavailable(f"{what}: no answer in time")
    last = failures[-1]
    text = f"{what}: {last}"
    finals: dict[Kind, type[StoreError]] = {
        Kind.DENIED: Denied,
        Kind.COMPACTED: Compacted,
        Kind.LEASE_LOST: LeaseLost,
        Kind.REFUSED: StoreError,
        Kind.FULL: Unavailable,
    }
    if last.kind in finals:
        return finals[last.kind](text)
    if all(failure.kind is Kind.UNTRUSTED for failure in failures):
        return Denied(text)
    if any(failure.kind is Kind.NO_LEADER for failure in failures):
        return NoLeader(text)
    return Unavailable(text)


def indeterminate(failures: list[AttemptFailed], what: str) -> Indeterminate:
    reason = str(failures[-1]) if failures else "no answer in time"
    return Indeterminate(f"{what}: the write may have happened: {reason}")


# Texts of etcd 3.4 to 3.6 and of gRPC's core; the first match decides.
_BY_TEXT: tuple[tuple[str, Kind], ...] = (
    ("requested lease not found", Kind.LEASE_LOST),
    ("required revision has been compacted", Kind.COMPACTED),
    ("auth store is old", Kind.BUSY),
    ("permission denied", Kind.DENIED),
    ("user name is empty", Kind.DENIED),
    ("user name not found", Kind.DENIED),
    ("authentication failed", Kind.DENIED),
    ("invalid auth token", Kind.DENIED),
    ("no leader", Kind.NO_LEADER),
    ("leader changed", Kind.BUSY),
    ("database space exceeded", Kind.FULL),
    ("too many requests", Kind.BUSY),
    ("CERTIFICATE_VERIFY_FAILED", Kind.UNTRUSTED),
    ("SSL_ERROR_SSL", Kind.UNTRUSTED),
    ("failed to connect to all addresses", Kind.NOT_SENT),
    ("connection refused", Kind.NOT_SENT),
)
_BY_CODE = {
    "PERMISSION_DENIED": Kind.DENIED,
    "UNAUTHENTICATED": Kind.DENIED,
    "INVALID_ARGUMENT": Kind.REFUSED,
    "FAILED_PRECONDITION": Kind.REFUSED,
    "NOT_FOUND": Kind.REFUSED,
    "OUT_OF_RANGE": Kind.REFUSED,
    "UNIMPLEMENTED": Kind.REFUSED,
}


def classify(code: str, detail: str) -> Kind:
    """Kind of a gRPC status; what is not recognised counts as unknown."""
    lowered = detail.lower()
    for text, kind in _BY_TEXT:
        if text.lower() in lowered:
            return kind
    return _BY_CODE.get(code, Kind.UNKNOWN)
