"""Real probes in their own process: what hangs, forks or floods ends with its time-out."""

import asyncio
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from reconciler.adapters.linux.probes import LinuxProbes
from reconciler.ports.probes import ProbeUnavailable, Sample
from reconciler.runner.record import identify, stat_fields

DEADLINE_S = 15.0
PYTHON = sys.executable


@pytest.fixture
async def probes() -> AsyncIterator[LinuxProbes]:
    made = LinuxProbes()
    yield made
    made.close()


async def run(probes: LinuxProbes, *command: str, timeout_s: float = 10.0) -> Sample:
    return await probes.run("command", {"command": list(command)}, timeout_s)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - other processes do not tell us
            await asyncio.sleep(0.01)


def numbers(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def is_alive(pid: int) -> bool:
    fields = stat_fields(pid)
    return identify(pid) is not None and fields is not None and fields[0] not in ("Z", "X")


async def test_the_exit_code_of_a_command_is_its_answer(probes: LinuxProbes) -> None:
    good = await run(probes, "sh", "-c", "echo fine")
    assert (good.healthy, good.output) == (True, "fine\n")
    bad = await run(probes, "sh", "-c", "echo broken >&2; exit 3")
    assert (bad.healthy, bad.reason, bad.output) == (False, "exit code 3", "broken\n")
    killed = await run(probes, "sh", "-c", "kill -9 $$")
    assert (killed.healthy, killed.reason) == (False, "ended by signal 9")


async def test_other_exit_codes_may_be_fine(probes: LinuxProbes) -> None:
    settings = {"command": ["sh", "-c", "exit 3"], "success": [0, 3]}
    assert (await probes.run("command", settings, 5.0)).healthy


async def test_a_command_that_cannot_be_executed_says_nothing(probes: LinuxProbes) -> None:
    sample = await run(probes, "/nowhere/program")
    assert sample.healthy is None
    assert "No such file" in sample.reason


async def test_everything_that_a_hanging_command_forked_dies_with_its_time(
    probes: LinuxProbes, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    orphan = (
        f"import os,time; open({str(pids)!r},'a').write(f'{{os.getpid()}}\\n'); time.sleep(600)"
    )
    script = (
        "import subprocess, sys, time\n"
        "for own in (True, False, True):\n"
        f"    subprocess.Popen([sys.executable, '-S', '-c', {orphan!r}], start_new_session=own)\n"
        "time.sleep(600)\n"
    )
    sample = await run(probes, PYTHON, "-S", "-c", script, timeout_s=3.0)
    assert sample.healthy is False
    assert "no end within 3 s" in sample.reason
    found = numbers(pids)
    assert len(found) == 3
    assert not any(is_alive(pid) for pid in found)


async def test_what_a_good_command_left_behind_dies_too(
    probes: LinuxProbes, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    sample = await run(probes, "sh", "-c", f"setsid sleep 600 & echo $! > {pids}; exit 0")
    assert sample.healthy
    (pid,) = numbers(pids)
    assert not is_alive(pid)


async def test_a_command_that_ignores_signals_dies_as_well(
    probes: LinuxProbes, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    trap = f"trap '' TERM INT HUP; echo $$ > {pids}; while :; do sleep 1; done"
    assert (await run(probes, "sh", "-c", trap, timeout_s=1.0)).healthy is False
    (pid,) = numbers(pids)
    assert not is_alive(pid)


async def test_a_flood_of_output_is_a_failure_and_is_not_kept(probes: LinuxProbes) -> None:
    sample = await run(probes, "sh", "-c", "while :; do echo flood flood flood; done")
    assert sample.healthy is False
    assert "wrote more than" in sample.reason
    assert len(sample.output) <= 2000


async def test_a_hanging_probe_does_not_delay_the_others(probes: LinuxProbes) -> None:
    slow = asyncio.ensure_future(run(probes, "sleep", "600", timeout_s=60.0))
    assert (await run(probes, "true")).healthy
    assert not slow.done()
    slow.cancel()
    await asyncio.wait([slow])


async def test_a_frozen_probe_process_is_replaced_and_leaves_nothing(
    probes: LinuxProbes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.adapters.linux.probes.ANSWER_MARGIN_S", 0.5)
    assert (await run(probes, "true")).healthy
    pids = tmp_path / "pids"
    asked = asyncio.ensure_future(
        run(probes, "sh", "-c", f"echo $$ > {pids}; sleep 600", timeout_s=3.0)
    )
    await until(lambda: numbers(pids))
    process = probes._process
    assert process is not None
    assert process._pid is not None
    os.kill(process._pid, signal.SIGSTOP)
    with pytest.raises(ProbeUnavailable, match="hung and was killed"):
        await asked
    (pid,) = numbers(pids)
    await until(lambda: not is_alive(pid))
    assert (await run(probes, "true")).healthy


async def test_commands_die_with_the_agent(probes: LinuxProbes, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    asked = asyncio.ensure_future(run(probes, "sh", "-c", f"echo $$ > {pids}; sleep 600"))
    await until(lambda: numbers(pids))
    probes.close()
    with pytest.raises(ProbeUnavailable):
        await asked
    (pid,) = numbers(pids)
    await until(lambda: not is_alive(pid))


# -- http --------------------------------------------------------------------------------------


@asynccontextmanager
async def serving(
    answer: bytes, *, hang: bool = False, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """A server with one answer to everything; its URL."""
    held = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        if not hang:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/health?deep=1"
    finally:
        server.close()
        for writer in held:
            if not writer.is_closing():
                writer.transport.abort()
        await server.wait_closed()


def answer_of(status: str, body: bytes = b"all is well", *fields: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def ask(probes: LinuxProbes, url: str, timeout_s: float = 5.0, **more: object) -> Sample:
    return await probes.run("http", {"url": url, "status": [[200, 399]], **more}, timeout_s)


async def test_status_and_body_decide(probes: LinuxProbes) -> None:
    async with serving(answer_of("200 OK")) as url:
        assert (await ask(probes, url)).healthy
        assert (await ask(probes, url, body="is well")).healthy
        wrong = await ask(probes, url, body="is bad")
        assert wrong.healthy is False
        assert "does not hold 'is bad'" in wrong.reason
    async with serving(answer_of("503 Busy", b"queue full")) as url:
        busy = await ask(probes, url)
        assert (busy.healthy, busy.reason, busy.output) == (False, "status 503 Busy", "queue full")
        assert (await ask(probes, url, status=[[503, 503]])).healthy


async def test_a_chunked_answer_is_read_as_one_text(probes: LinuxProbes) -> None:
    chunks = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nall \r\n4\r\nwell\r\n0\r\n\r\n"
    )
    async with serving(chunks) as url:
        assert (await ask(probes, url, body="all well")).healthy


async def test_an_endless_answer_is_cut(probes: LinuxProbes) -> None:
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    async with serving(head + b"x" * (4 * 1024 * 1024)) as url:
        assert (await ask(probes, url)).healthy


@pytest.mark.parametrize("said", [b"SSH-2.0-OpenSSH\r\n\r\n", b"", b"\0" * 100000])
async def test_what_is_not_http_is_a_failure(probes: LinuxProbes, said: bytes) -> None:
    async with serving(said) as url:
        sample = await ask(probes, url)
        assert sample.healthy is False
        assert "did not answer in HTTP" in sample.reason


async def test_nobody_listens(probes: LinuxProbes) -> None:
    sample = await ask(probes, "http://127.0.0.1:1/")
    assert sample.healthy is False
    assert "no connection to 127.0.0.1:1" in sample.reason


async def test_a_server_that_hangs_has_failed_when_the_time_is_over(probes: LinuxProbes) -> None:
    async with serving(b"", hang=True) as url:
        sample = await ask(probes, url, timeout_s=0.3)
        assert (sample.healthy, sample.reason) == (False, "no answer within 0.3 s")


def self_signed(directory: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    own = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(own, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    (directory / "crt").write_bytes(certificate.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    (directory / "key").write_bytes(private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "crt", directory / "key")
    return context


async def test_tls_is_verified_unless_told_otherwise(probes: LinuxProbes, tmp_path: Path) -> None:
    async with serving(answer_of("200 OK"), tls=self_signed(tmp_path)) as url:
        secure = url.replace("http:", "https:")
        refused = await ask(probes, secure)
        assert refused.healthy is False
        assert "TLS with 127.0.0.1" in refused.reason
        assert (await ask(probes, secure, verify=False)).healthy
        trusted = await ask(probes, secure, ca_file=str(tmp_path / "crt"))
        assert trusted.healthy, trusted.reason


# -- ping and process --------------------------------------------------------------------------


async def test_ping(probes: LinuxProbes) -> None:
    def settings(*addresses: str, need: str = "any") -> dict[str, object]:
        return {"addresses": addresses, "need": need}

    first = await probes.run("ping", settings("127.0.0.1"), 2.0)
    if first.healthy is None:
        pytest.skip(first.reason)
    assert first.healthy
    silent = "203.0.113.77"
    assert (await probes.run("ping", settings("127.0.0.1", silent), 0.5)).healthy
    both = await probes.run("ping", settings("127.0.0.1", silent, need="all"), 0.5)
    assert (both.healthy, both.reason) == (False, f"no answer from {silent}")
    assert (await probes.run("ping", settings(silent), 0.5)).healthy is False


async def test_processes_are_found_by_their_command_line(probes: LinuxProbes) -> None:
    process = await asyncio.create_subprocess_exec("sleep", "86399.25")
    try:
        settings = {"pattern": r"^sleep 86399\.25$", "minimum": 1}
        assert (await probes.run("process", settings, 5.0)).healthy
        more = await probes.run("process", {**settings, "minimum": 2}, 5.0)
        assert (more.healthy, more.reason) == (False, "1 found, 2 wanted")
    finally:
        process.kill()
        await process.wait()
    assert (await probes.run("process", settings, 5.0)).healthy is False


async def test_a_probe_that_does_not_exist_says_nothing(probes: LinuxProbes) -> None:
    assert (await probes.run("tea-leaves", {}, 1.0)).healthy is None
