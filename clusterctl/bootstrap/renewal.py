"""Certificates of a server after its installation: how long they hold, and new ones in time.

The server that holds the CA's key signs for itself. Others ask the enrolment service; they prove
who they are by a signature with the private key that they joined with, which does not expire. etcd
reads its files at each handshake and agents connect anew, so nothing is restarted. The CA itself is
not renewed here. Used by commands/cert.py and the enrolment service.
"""

import asyncio
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from clusterctl.bootstrap import certificates
from clusterctl.bootstrap.layout import BootstrapError, Layout, write_file

NAMES = ("ca", "server", "agent", "admin")
WARN_DAYS = 30
CLOCKS_DIFFER_S = 300.0


@dataclass(frozen=True, slots=True)
class Validity:
    """One certificate of this server. `until` is in UTC."""

    name: str
    subject: str
    begins: datetime
    until: datetime
    has_key: bool

    def days_left(self, now: datetime) -> float:
        return (self.until - now).total_seconds() / 86400

    def word(self, now: datetime) -> str:
        if self.begins > now:
            return "not valid yet"
        left = self.days_left(now)
        return "expired" if left <= 0 else "WARN" if left < WARN_DAYS else "ok"


def inspect(layout: Layout) -> list[Validity]:
    """All certificates of this server; raises `BootstrapError` where there are none, or a file is
    no certificate."""
    found = []
    for name in NAMES:
        path = layout.certificate(name)
        if not path.exists():
            continue
        try:
            parsed = x509.load_pem_x509_certificate(path.read_bytes())
        except ValueError as error:
            raise BootstrapError(f"{path} is no certificate: clusterctl cert renew") from error
        names = parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        found.append(
            Validity(
                name,
                str(names[0].value) if names else "",
                parsed.not_valid_before_utc,
                parsed.not_valid_after_utc,
                layout.key(name).exists(),
            )
        )
    if not found:
        raise BootstrapError(f"{layout.pki} holds no certificate: this is no server of a cluster")
    return found


def renew_here(layout: Layout, server: str) -> list[str]:
    """New certificates signed with this server's CA key; their names."""
    authority = certificates.stored_authority(layout)
    require_living_authority(authority)
    renewed = {"server": _server(layout, authority, server)}
    renewed["agent"] = certificates.sign_client(
        authority,
        certificates.stored_key(layout, "agent").public_key(),
        certificates.agent_user(server),
    )
    if layout.key("admin").exists():
        key = certificates.stored_key(layout, "admin").public_key()
        renewed["admin"] = certificates.sign_client(authority, key, certificates.ADMIN_USER)
    for name, pem in renewed.items():
        write_file(layout.certificate(name), pem)
    return list(renewed)


def require_living_authority(authority: certificates.Authority) -> None:
    """A certificate never holds longer than the CA that signed it."""
    if authority.certificate.not_valid_after_utc <= datetime.now(UTC):
        raise BootstrapError(
            "the CA itself has expired; its key can not be exchanged by clusterctl: begin a new "
            "cluster, and bring the specs over with `clusterctl apply`"
        )


def require_former_admin(
    authority: certificates.Authority, key: ec.EllipticCurvePublicKey, shown: str | None
) -> None:
    """Only who has an administrator's certificate, however old, gets the next one, for that very
    key. Raises `BootstrapError`."""
    try:
        former = x509.load_pem_x509_certificate((shown or "").encode())
        former.verify_directly_issued_by(authority.certificate)
        names = former.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise BootstrapError("no administrator's certificate was shown") from error
    same = certificates.public_key_digest(key) == _digest(former)
    if [each.value for each in names] != [certificates.ADMIN_USER] or not same:
        raise BootstrapError("the certificate that was shown is no administrator's")


def _server(layout: Layout, authority: certificates.Authority, server: str) -> bytes:
    key = certificates.stored_key(layout, "server").public_key()
    return certificates.sign_server(authority, key, server, addresses_of(layout))


def addresses_of(layout: Layout) -> list[str]:
    """The addresses that the present server certificate is for, without loopback."""
    parsed = x509.load_pem_x509_certificate(layout.certificate("server").read_bytes())
    names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    found = [str(each) for each in names.get_values_for_type(x509.IPAddress)]
    return [each for each in found if each not in ("127.0.0.1", "::1")]


# -- asking the enrolment service -----------------------------------------------------------------


def sign_request(key: ec.EllipticCurvePrivateKey, body: Mapping[str, Any]) -> dict[str, Any]:
    """A request with time, nonce and a signature that only the owner of `key` can make."""
    signed = {**body, "at": time.time(), "nonce": secrets.token_hex(16)}
    signature = key.sign(_canonical(signed), ec.ECDSA(hashes.SHA256()))
    return {**signed, "signature": signature.hex()}


def verify_request(key: ec.EllipticCurvePublicKey, ask: Mapping[str, Any], now: float) -> None:
    """Raises `BootstrapError` unless the owner of `key` signed this a moment ago."""
    body = {name: value for name, value in ask.items() if name != "signature"}
    try:
        at = float(body["at"])
        key.verify(
            bytes.fromhex(str(ask["signature"])), _canonical(body), ec.ECDSA(hashes.SHA256())
        )
    except (KeyError, ValueError, TypeError, InvalidSignature) as error:
        raise BootstrapError("the request's signature does not hold") from error
    if abs(now - at) > CLOCKS_DIFFER_S:
        raise BootstrapError(
            f"the clocks of the two servers differ by {abs(now - at):.0f} s; set them right first"
        )


def _canonical(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()


def make_ask(layout: Layout, server: str, what: str, **more: Any) -> dict[str, Any]:
    """A request in this server's name, signed with its agent's key."""
    key = certificates.stored_key(layout, "agent")
    return sign_request(key, {"ask": what, "server": server, **more})


def write_renewed(layout: Layout, answer: Mapping[str, Any]) -> list[str]:
    """Check and write what the service sent; the names."""
    sent = answer.get("certificates")
    if not isinstance(sent, dict) or not sent:
        raise BootstrapError("the enrolment service sent no certificates")
    ca = x509.load_pem_x509_certificate(layout.certificate("ca").read_bytes())
    for name, text in sent.items():
        if name not in NAMES[1:]:
            raise BootstrapError(f"the enrolment service sent an unknown certificate {name!r}")
        try:
            parsed = x509.load_pem_x509_certificate(str(text).encode())
            parsed.verify_directly_issued_by(ca)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise BootstrapError(
                f"what came as {name} is not signed by this cluster's CA"
            ) from error
        mine = certificates.stored_key(layout, name).public_key()
        if certificates.public_key_digest(mine) != _digest(parsed):
            raise BootstrapError(f"the enrolment service signed another key than {name}.key")
    for name, text in sent.items():
        write_file(layout.certificate(name), str(text))
    return list(sent)


def _digest(certificate: x509.Certificate) -> str:
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise BootstrapError("the enrolment service signed a key of another type than EC")
    return certificates.public_key_digest(key)


def requests(layout: Layout) -> dict[str, str]:
    """Signing requests for what this server has."""
    names = [name for name in NAMES[1:] if layout.key(name).exists()]
    return {
        name: certificates.make_request(certificates.stored_key(layout, name)).decode()
        for name in names
    }


async def renew_through_service(
    layout: Layout, server: str, endpoints: Sequence[str], timeout_s: float
) -> list[str]:
    """Ask the servers of the store, one of which has the enrolment service; what is new."""
    from clusterctl.bootstrap.joining import ask_known

    more: dict[str, Any] = {"requests": requests(layout)}
    if layout.certificate("admin").exists() and layout.key("admin").exists():
        more["admin"] = layout.certificate("admin").read_text()
    ask = make_ask(layout, server, "renew", **more)
    async with asyncio.timeout(timeout_s):
        answer = await ask_known(layout, endpoints, ask)
    return write_renewed(layout, answer)
