"""The cluster's own certificate authority: keys, requests, certificates. Used by init, join and
the enrolment service.

A private key is made where it is used and never travels; a joiner sends a request, and what the
certificate says is decided by the signer, never by the request.
"""

import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from clusterctl.bootstrap.layout import BootstrapError, Layout, write_file

CA_DAYS = 3650
CERTIFICATE_DAYS = 1825
# servers' clocks differ a little when they join: without this a certificate is "not yet valid"
BACKDATED = timedelta(hours=1)

ADMIN_USER = "root"


def agent_user(server: str) -> str:
    """Name of a server's agent in certificates and in the store."""
    return f"agent-{server}"


@dataclass(frozen=True, slots=True)
class Authority:
    """The signing half of the CA; only servers that hold ca.key can make one."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def key_to_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def key_from_pem(data: bytes, source: str) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError) as error:
        raise BootstrapError(f"{source} holds no private key") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise BootstrapError(f"{source} holds a key of another type than EC")
    return key


def fingerprint(certificate: bytes) -> str:
    """SHA-256 of a PEM certificate's DER, in hex: how a token names the CA."""
    parsed = x509.load_pem_x509_certificate(certificate)
    return hashlib.sha256(parsed.public_bytes(serialization.Encoding.DER)).hexdigest()


def public_key_digest(public_key: ec.EllipticCurvePublicKey) -> str:
    """SHA-256 of a public key in hex: how a server is recognised when it joins again."""
    data = public_key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(data).hexdigest()


def make_authority(cluster: str) -> Authority:
    """A new self-signed CA for `cluster`."""
    key = new_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{cluster} cluster CA")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key)


def make_request(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A signing request that says nothing but *I hold this key*."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def request_key(request: bytes) -> ec.EllipticCurvePublicKey:
    """The public key of a request whose signature holds."""
    try:
        parsed = x509.load_pem_x509_csr(request)
        valid = parsed.is_signature_valid
        key = parsed.public_key()
    except (ValueError, InvalidSignature) as error:
        raise BootstrapError("the signing request is not one") from error
    if not valid or not isinstance(key, ec.EllipticCurvePublicKey):
        raise BootstrapError("the signing request's signature does not hold")
    return key


def sign_server(
    authority: Authority, key: ec.EllipticCurvePublicKey, server: str, addresses: Sequence[str]
) -> bytes:
    """Certificate of a server's etcd member and enrolment service; valid for `addresses` only.

    It also acts as a client towards other members, hence both extended usages.
    """
    names: list[x509.GeneralName] = [x509.DNSName(server), x509.DNSName("localhost")]
    loopback = ("127.0.0.1", "::1")
    names += [x509.IPAddress(ipaddress.ip_address(each)) for each in (*addresses, *loopback)]
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return _sign(authority, key, f"server-{server}", usages, names)


def sign_client(authority: Authority, key: ec.EllipticCurvePublicKey, user: str) -> bytes:
    """Certificate that logs in to the store as `user`."""
    return _sign(authority, key, user, [ExtendedKeyUsageOID.CLIENT_AUTH], [])


def _sign(
    authority: Authority,
    key: ec.EllipticCurvePublicKey,
    common_name: str,
    usages: Sequence[x509.ObjectIdentifier],
    names: Sequence[x509.GeneralName],
) -> bytes:
    now = datetime.now(UTC)
    until = min(now + timedelta(days=CERTIFICATE_DAYS), authority.certificate.not_valid_after_utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .issuer_name(authority.certificate.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
            critical=False,
        )
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(authority.key, hashes.SHA256())
    return certificate.public_bytes(serialization.Encoding.PEM)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def stored_key(layout: Layout, name: str) -> ec.EllipticCurvePrivateKey:
    """The key of that name, made and written if it is not there yet: a repeated join is the same
    server again."""
    path = layout.key(name)
    if path.exists():
        return key_from_pem(path.read_bytes(), str(path))
    key = new_key()
    write_file(path, key_to_pem(key))
    return key


def stored_authority(layout: Layout) -> Authority:
    """The CA of this server; raises `BootstrapError` where only its certificate is."""
    key_path, certificate_path = layout.key("ca"), layout.certificate("ca")
    if not key_path.exists() or not certificate_path.exists():
        raise BootstrapError(
            f"this server holds no CA key ({key_path}); run this on the server that ran "
            "`clusterctl cluster init`"
        )
    key = key_from_pem(key_path.read_bytes(), str(key_path))
    return Authority(x509.load_pem_x509_certificate(certificate_path.read_bytes()), key)
