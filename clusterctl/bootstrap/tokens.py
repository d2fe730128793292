"""Join tokens: shown once, used once, expiring; the store holds a hash only.

A token names the cluster, where to enrol, the CA's fingerprint (so that the joiner knows whom it
talks to) and a secret of 192 bits (so that a plain hash in the store is enough).
"""

import base64
import binascii
import hashlib
import hmac
import secrets
import time

from pydantic import BaseModel, ConfigDict, ValidationError

from clusterctl.bootstrap.layout import BootstrapError
from reconciler.decide.keys import Keys
from reconciler.decide.records import Record
from reconciler.ports.store import Put, Store, Transaction, Unchanged

PREFIX = "cctl1."
NEXT = "make a new one on a server of the cluster: clusterctl cluster token"


class JoinToken(BaseModel):
    """What the operator carries to the new server; never stored by the cluster."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)

    cluster: str
    endpoints: tuple[str, ...]
    ca_sha256: str
    token_id: str
    secret: str

    def encode(self) -> str:
        return PREFIX + base64.urlsafe_b64encode(self.model_dump_json().encode()).decode()


class StoredToken(Record):
    """tokens/<id>: what a token permits, and who used it."""

    secret_sha256: str
    expires_wall: float
    server: str | None = None
    admin: bool = True
    replace: bool = False
    used_by: str = ""
    used_by_key: str = ""

    def check(self, secret: str, server: str, key_digest: str, now_wall: float) -> None:
        """Raise `BootstrapError` unless this token lets that server join now.

        The server that used it may use it again with the same key: an interrupted join repeats.
        """
        if not hmac.compare_digest(self.secret_sha256, secret_digest(secret)):
            raise BootstrapError(f"the token is not valid; {NEXT}")
        if now_wall > self.expires_wall:
            raise BootstrapError(f"the token has expired; {NEXT}")
        if self.server is not None and self.server != server:
            raise BootstrapError(f"the token is for server {self.server} only; {NEXT}")
        if self.used_by and (self.used_by, self.used_by_key) != (server, key_digest):
            raise BootstrapError(f"the token was used by server {self.used_by}; {NEXT}")


def secret_digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def decode(text: str) -> JoinToken:
    """The token that a person pasted; raises `BootstrapError` if it is damaged."""
    compact = "".join(text.split())
    if not compact.startswith(PREFIX):
        raise BootstrapError(f"this is not a join token, those begin with {PREFIX}; {NEXT}")
    try:
        data = base64.urlsafe_b64decode(compact.removeprefix(PREFIX))
        return JoinToken.model_validate_json(data)
    except (ValidationError, binascii.Error, ValueError) as error:
        raise BootstrapError(f"the join token is damaged or incomplete; {NEXT}") from error


async def create(
    store: Store,
    keys: Keys,
    *,
    endpoints: tuple[str, ...],
    ca_sha256: str,
    lifetime_s: float,
    server: str | None = None,
    admin: bool = True,
    replace: bool = False,
) -> JoinToken:
    """Make a token and store its hash. The lease removes it some time after it has expired."""
    token = JoinToken(
        cluster=keys.cluster,
        endpoints=endpoints,
        ca_sha256=ca_sha256,
        token_id=secrets.token_hex(8),
        secret=secrets.token_urlsafe(24),
    )
    stored = StoredToken(
        nonce=secrets.token_hex(8),
        secret_sha256=secret_digest(token.secret),
        expires_wall=time.time() + lifetime_s,
        server=server,
        admin=admin,
        replace=replace,
    )
    lease = await store.grant(lifetime_s + 3600)
    key = keys.token(token.token_id)
    put = Put(key, stored.to_bytes(), lease.lease)
    await store.commit(Transaction((Unchanged(key, 0),), (put,), guard=key))
    return token
