"""The enrolment service: lets servers with a token into the cluster.

`python -m clusterctl.bootstrap.enrolment`, one process on each server that holds the CA key,
started by a supervisor. One JSON line asks, one JSON line answers, over TLS; `admission` decides.
The joiner does not know the CA yet, so `{"ask": "ca"}` needs no trust: the joiner compares the CA
with its token.
"""

import argparse
import asyncio
import json
import logging
import signal
import ssl
from pathlib import Path
from typing import Literal

from clusterctl.bootstrap import certificates
from clusterctl.bootstrap.admission import Enrolment
from clusterctl.bootstrap.facts import read_facts
from clusterctl.bootstrap.first_server import open_admin, open_store
from clusterctl.bootstrap.layout import ENROLMENT_PORT, BootstrapError, Layout
from reconciler.adapters.etcd.admin import EtcdAdmin
from reconciler.config import load_config
from reconciler.ports.store import StoreError

LINE_LIMIT = 64 * 1024
REQUEST_TIMEOUT_S = 30.0
CONNECTION_LIMIT = 16
FILES_LOOK_S = 2.0

log = logging.getLogger("enrolment")


class Service:
    """Sockets around an `Enrolment`: bounded connections, line length and time."""

    def __init__(self, enrolment: Enrolment) -> None:
        self._enrolment = enrolment
        self._slots = asyncio.Semaphore(CONNECTION_LIMIT)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: one request, one answer."""
        try:
            if not self._slots.locked():
                async with self._slots, asyncio.timeout(REQUEST_TIMEOUT_S):
                    await self._one(reader, writer)
        except (OSError, TimeoutError, ValueError) as error:
            log.info("a connection ended early: %s", error)
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ask = json.loads(await reader.readline())
        if not isinstance(ask, dict):
            raise TypeError("a request is one JSON object")
        answer = await self._enrolment.answer(ask)
        writer.write(json.dumps(answer).encode() + b"\n")
        await writer.drain()


async def run(layout: Layout) -> None:
    """Serve until SIGTERM. Raises `BootstrapError` where this server can not serve."""
    authority = certificates.stored_authority(layout)
    facts = read_facts(layout.cluster_facts)
    config = load_config(layout.agent_config)
    store = open_store(layout, facts.cluster, config.endpoints)
    admin: EtcdAdmin = open_admin(layout, config.endpoints)
    enrolment = Enrolment(authority, facts, layout.cluster_key.read_bytes(), store, admin)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(layout.certificate("server"), layout.key("server"))
    server = await asyncio.start_server(
        Service(enrolment).serve, port=ENROLMENT_PORT, ssl=context, limit=LINE_LIMIT
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    promoting = asyncio.create_task(enrolment.promote_learners())
    log.info("enrolment for cluster %s on port %d", facts.cluster, ENROLMENT_PORT)
    try:
        async with server:
            waits = [asyncio.create_task(e.wait()) for e in (stop, enrolment.replaced)]
            waits.append(asyncio.create_task(_until_files_change(layout)))
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
        if not stop.is_set():
            raise BootstrapError("store or certificates are others now; begin anew with them")
    finally:
        promoting.cancel()
        await store.close()
        await admin.close()


async def _until_files_change(layout: Layout) -> Literal[True]:
    """Certificates and keys were read at the start: after a renewal a new process is needed."""
    paths = [layout.certificate(name) for name in ("server", "admin")] + [layout.cluster_key]

    def state() -> list[int]:
        return [path.stat().st_mtime_ns if path.exists() else 0 for path in paths]

    begun = state()
    while True:
        await asyncio.sleep(FILES_LOOK_S)
        if state() != begun:
            return True


def main() -> int:
    parser = argparse.ArgumentParser(prog="clusterctl-enrolment", description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("/"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        asyncio.run(run(Layout(arguments.root)))
    except (BootstrapError, StoreError, OSError) as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
