"""A small Redfish BMC over TLS, for tests: one system, sessions, power, and ways to fail."""

import datetime as dt
import ipaddress
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USER, PASSWORD = "admin", "correct-horse"
UUID = "a1234567-89ab-cdef-a123-456789abcde1"
SYSTEM = "/redfish/v1/Systems/1"


class _Server(ThreadingHTTPServer):
    bmc: "Bmc"


class Bmc:
    """`mode`: ok, hangs (answers nothing), ignores (obeys nothing), deaf (obeys and does not
    answer), redirects, nonsense."""

    def __init__(self, directory: Path) -> None:
        self.power, self.mode, self.uuid = "On", "ok", UUID
        self.commands: list[str] = []
        self.logins = 0
        self.passwords_seen: list[str] = []
        self.sessions: set[str] = set()
        self.certificate = directory / "bmc.pem"
        self.fingerprint = _certificate(self.certificate)
        self.server = _Server(("127.0.0.1", 0), _Handler)
        self.server.bmc = self
        self.server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate)
        self.server.socket = context.wrap_socket(
            self.server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.released = threading.Event()

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])

    def level(self, **changes: object) -> dict[str, Any]:
        """A `fencing.levels` entry for it."""
        return {
            "type": "redfish",
            "address": "127.0.0.1",
            "port": self.port,
            "user": USER,
            "passwordFrom": {"env": "BMC_PASSWORD"},
            "fingerprint": self.fingerprint,
            "guid": UUID,
            "timeout": "5s",
            **changes,
        }


@contextmanager
def running(directory: Path) -> Iterator[Bmc]:
    bmc = Bmc(directory)
    thread = threading.Thread(target=bmc.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield bmc
    finally:
        bmc.released.set()
        bmc.server.shutdown()
        bmc.server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    """Speaks Redfish for the BMC that the server belongs to."""

    protocol_version = "HTTP/1.1"
    timeout = 30
    server: "_Server"

    @property
    def bmc(self) -> Bmc:
        return self.server.bmc

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            self.close_connection = True  # a client that does not trust us

    def answer(self, status: int, body: object = None, **headers: str) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        if self.bmc.mode == "nonsense":
            data = b"<html>"
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def begin(self) -> dict[str, Any] | None:
        length = int(self.headers.get("Content-Length") or 0)
        body: dict[str, Any] = json.loads(self.rfile.read(length)) if length else {}
        if self.bmc.mode == "hangs":
            self.bmc.released.wait()
            self.close_connection = True
            return None
        if self.bmc.mode == "redirects":
            self.answer(307, None, Location="https://192.0.2.1/redfish/v1/")
            return None
        login = self.path.endswith("/Sessions") and self.command == "POST"
        if not login and self.headers.get("X-Auth-Token") not in self.bmc.sessions:
            self.answer(401, {})
            return None
        return body

    def do_GET(self) -> None:
        if self.begin() is None:
            return
        if self.path == "/redfish/v1/Systems":
            self.answer(200, {"Members": [{"@odata.id": SYSTEM}]})
        elif self.path == SYSTEM:
            action = {"target": f"{SYSTEM}/Actions/ComputerSystem.Reset"}
            actions = {"#ComputerSystem.Reset": action}
            self.answer(
                200, {"PowerState": self.bmc.power, "UUID": self.bmc.uuid, "Actions": actions}
            )
        else:
            self.answer(404, {})

    def do_POST(self) -> None:
        body = self.begin()
        if body is None:
            return
        if self.path.endswith("/Sessions"):
            self.login(body)
        else:
            self.reset(body)

    def login(self, body: dict[str, Any]) -> None:
        self.bmc.passwords_seen.append(body.get("Password", ""))
        if (body.get("UserName"), body.get("Password")) != (USER, PASSWORD):
            self.answer(401, {"error": f"no {body}"})
            return
        self.bmc.logins += 1
        token = f"token-{self.bmc.logins}-{time.monotonic_ns()}"
        self.bmc.sessions.add(token)
        location = f"/redfish/v1/SessionService/Sessions/{self.bmc.logins}"
        self.answer(201, {}, X_Auth_Token=token, Location=location)

    def reset(self, body: dict[str, Any]) -> None:
        kind = str(body.get("ResetType"))
        self.bmc.commands.append(kind)
        if self.bmc.mode != "ignores":
            self.bmc.power = {"ForceOff": "Off", "On": "On"}[kind]
        if self.bmc.mode == "deaf":
            self.close_connection = True
            return
        self.answer(204)

    def do_PATCH(self) -> None:
        if (body := self.begin()) is not None:
            self.bmc.commands.append(f"identify {body}")
            self.answer(204)

    def do_DELETE(self) -> None:
        if self.begin() is not None:
            self.bmc.sessions.discard(str(self.headers.get("X-Auth-Token")))
            self.answer(204)


def _certificate(path: Path) -> str:
    """Its SHA-256, as a spec has it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bmc")])
    now = dt.datetime.now(dt.UTC)
    loopback = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(loopback, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return made.fingerprint(hashes.SHA256()).hex()
