"""Which members there are, which of them is asked next, and with which certificates.

Own endpoint first; one that failed goes to the end until it answers a probe, so that a call does
not pay for a dead or frozen member each time. Used by `calls`, `watch` and `store`.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from reconciler.adapters.etcd.failure import AttemptFailed, Kind
from reconciler.adapters.etcd.wire import Credentials, Header, Wire

_PROBE_TIMEOUT_S = 0.7
_PROBE_FIRST_S = 0.25
_PROBE_LAST_S = 2.0
_JITTER = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files; read again for every new connection after a failure, so they can be rotated."""

    ca: Path | str
    cert: Path | str
    key: Path | str

    def read(self) -> Credentials:
        """Raises `OSError`."""
        return Credentials(*(Path(path).read_bytes() for path in (self.ca, self.cert, self.key)))

    def fingerprint(self) -> tuple[tuple[int, int], ...]:
        """Changes when a file is replaced. Raises `OSError`."""
        found = [Path(path).stat() for path in (self.ca, self.cert, self.key)]
        return tuple((entry.st_mtime_ns, entry.st_ino) for entry in found)


class Endpoint:
    """One member's client URL and its channel."""

    def __init__(self, url: str, tls: TlsFiles | None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or not parts.port:
            raise ValueError(f"not an endpoint like https://10.0.0.1:2379: {url}")
        if parts.scheme == "https" and tls is None:
            raise ValueError(f"{url} needs certificates")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self.url = url
        self.down_since: float | None = None
        self._target = f"{host}:{parts.port}"
        self._tls = tls if parts.scheme == "https" else None
        self._wire: Wire | None = None
        self._fingerprint: tuple[tuple[int, int], ...] | None = None

    def wire(self) -> Wire:
        """The channel, opened on first use. Raises `AttemptFailed` if a file cannot be read."""
        if self._wire is None:
            try:
                self._fingerprint = self._tls.fingerprint() if self._tls else None
                credentials = self._tls.read() if self._tls else None
            except OSError as error:
                raise AttemptFailed(Kind.UNTRUSTED, f"certificate files: {error}") from None
            self._wire = Wire(self._target, credentials)
        return self._wire

    async def renew(self) -> bool:
        """Drop the channel if the certificate files have changed since it was made."""
        if self._tls is None or self._wire is None:
            return False
        try:
            changed = self._tls.fingerprint() != self._fingerprint
        except OSError:
            return False  # in the middle of a rotation: the next probe looks again
        if changed:
            await self.close(grace_s=_PROBE_TIMEOUT_S)
        return changed

    async def close(self, grace_s: float = 0.0) -> None:
        """Calls under way have `grace_s` to end, then they fail."""
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.close(grace_s)


class Endpoints:
    """The members in order of preference. `probes` run in the background until `close`."""

    def __init__(self, urls: Sequence[str], tls: TlsFiles | None) -> None:
        if not urls:
            raise ValueError("no endpoints")
        self._tls = tls
        self._known = [Endpoint(url, tls) for url in dict.fromkeys(urls)]
        self._learned: dict[str, Endpoint] = {}
        self._probes: dict[str, asyncio.Task[None]] = {}
        self.is_closed = False

    def in_order(self) -> list[Endpoint]:
        """Those that work as configured (own first), then those that failed, oldest first."""
        return sorted(self._known, key=lambda endpoint: endpoint.down_since or 0.0)

    def configured(self) -> list[Endpoint]:
        return list(self._known)

    def endpoint(self, url: str) -> Endpoint:
        """For asking one member only; one that was not configured is remembered apart."""
        for endpoint in self._known:
            if endpoint.url == url:
                return endpoint
        if url not in self._learned:
            self._learned[url] = Endpoint(url, self._tls)
        return self._learned[url]

    def put_last(self, endpoint: Endpoint) -> None:
        """It failed or was slow: ask others first until it answers a probe."""
        endpoint.down_since = asyncio.get_running_loop().time()
        if endpoint.url not in self._probes and not self.is_closed:
            probe = asyncio.get_running_loop().create_task(self._probe(endpoint))
            self._probes[endpoint.url] = probe

    async def _probe(self, endpoint: Endpoint) -> None:
        pause = _PROBE_FIRST_S
        while True:
            await asyncio.sleep(pause * _JITTER.uniform(0.7, 1.3))
            pause = min(pause * 2, _PROBE_LAST_S)
            await endpoint.renew()
            try:
                status = await endpoint.wire().status(_PROBE_TIMEOUT_S)
            except AttemptFailed:
                continue  # still away, which the callers reported already
            if status.leader_id:
                endpoint.down_since = None
                del self._probes[endpoint.url]
                return

    async def close(self) -> None:
        self.is_closed = True
        probes = list(self._probes.values())
        for probe in probes:
            probe.cancel()
        await asyncio.gather(*probes, return_exceptions=True)
        for endpoint in [*self._known, *self._learned.values()]:
            await endpoint.close()


class Watermark:
    """No answer may come from another cluster or from before what was seen already."""

    def __init__(self) -> None:
        self.cluster_id = 0
        self.revision = 0
        self.is_foreign = False  # the newest answer came from another cluster

    @property
    def store_id(self) -> str:
        return f"{self.cluster_id:016x}" if self.cluster_id else ""

    def same_cluster(self, header: Header) -> None:
        if self.cluster_id == 0:
            self.cluster_id = header.cluster_id
        self.is_foreign = header.cluster_id != self.cluster_id
        if self.is_foreign:
            raise AttemptFailed(
                Kind.BACKWARD,
                f"answer of cluster {header.cluster_id:x}, not of {self.cluster_id:x}",
            )

    def accept(self, header: Header, asked_at_revision: int) -> None:
        """For linearizable answers: not before what was known when the request left."""
        self.same_cluster(header)
        if header.revision < asked_at_revision:
            raise AttemptFailed(
                Kind.BACKWARD,
                f"the store went back from revision {asked_at_revision} to {header.revision}",
            )
        self.revision = max(self.revision, header.revision)
