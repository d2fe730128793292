"""One HTTP/1.1 request and a judgement of its answer. Redirects are not followed."""

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from reconciler.probe.answer import Answer, bad, good

BODY_LIMIT = 256 * 1024
HEAD_LIMIT = 32 * 1024


class _Malformed(Exception):
    """The server answered, but not in HTTP."""


async def probe(settings: Mapping[str, Any], timeout_s: float) -> Answer:
    """Settings: url, method, host, status ([first, last] pairs), body, verify, ca_file."""
    del timeout_s
    parts = urlsplit(str(settings["url"]))
    secure = parts.scheme == "https"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    context = _context(settings) if secure else None
    try:
        reader, writer = await asyncio.open_connection(host, port, ssl=context, limit=HEAD_LIMIT)
    except ssl.SSLError as error:
        return bad(f"TLS with {host}:{port}: {error.reason or error}")
    except OSError as error:
        return bad(f"no connection to {host}:{port}: {error.strerror or error}")
    try:
        writer.write(_request(parts.path or "/", parts.query, parts.netloc, settings))
        status, reason, body = await _answer(reader, str(settings.get("method", "GET")))
    except (_Malformed, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError) as error:
        return bad(f"{host}:{port} did not answer in HTTP: {error}")
    finally:
        writer.transport.abort()
    return _judge(settings, status, reason, body)


def _context(settings: Mapping[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.get("ca_file"))
    if not settings.get("verify", True):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _request(path: str, query: str, netloc: str, settings: Mapping[str, Any]) -> bytes:
    target = f"{path}?{query}" if query else path
    host = settings.get("host") or netloc.rpartition("@")[2]
    return (
        f"{settings.get('method', 'GET')} {target} HTTP/1.1\r\nHost: {host}\r\n"
        "User-Agent: clusterctl-monitor\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    ).encode("ascii", "replace")


async def _answer(reader: asyncio.StreamReader, method: str) -> tuple[int, str, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    words = head[0].split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
        raise _Malformed(f"it said {head[0][:60]!r}")
    fields = {}
    for line in head[1:]:
        name, _, value = line.partition(":")
        fields[name.strip().lower()] = value.strip()
    reason = words[2] if len(words) > 2 else ""
    if method == "HEAD":
        return int(words[1]), reason, b""
    return int(words[1]), reason, await _body(reader, fields)


async def _body(reader: asyncio.StreamReader, fields: Mapping[str, str]) -> bytes:
    """At most `BODY_LIMIT` bytes of it."""
    if "chunked" in fields.get("transfer-encoding", "").lower():
        return await _chunks(reader)
    length = fields.get("content-length", "")
    limit = min(int(length), BODY_LIMIT) if length.isdigit() else BODY_LIMIT
    body = b""
    while len(body) < limit and (data := await reader.read(limit - len(body))):
        body += data
    return body


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while len(body) < BODY_LIMIT:
        size = (await reader.readuntil(b"\r\n")).split(b";")[0].strip()
        try:
            length = int(size, 16)
        except ValueError:
            raise _Malformed(f"a chunk of size {size[:20]!r}") from None
        if length == 0:
            break
        body += await reader.readexactly(min(length, BODY_LIMIT))
        if length > BODY_LIMIT:
            break
        await reader.readexactly(2)
    return body[:BODY_LIMIT]


def _judge(settings: Mapping[str, Any], status: int, reason: str, body: bytes) -> Answer:
    output = body.decode(errors="replace")
    if not any(first <= status <= last for first, last in settings["status"]):
        return bad(f"status {status} {reason}".strip(), output)
    wanted = settings.get("body")
    if wanted and str(wanted) not in output:
        return bad(f"status {status}, but the answer does not hold {str(wanted)[:80]!r}", output)
    return good(f"status {status}", output[:200])
