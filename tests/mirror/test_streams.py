"""Encrypted and compressed connections between two real engines."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from clusterctl.bootstrap.certificates import key_to_pem, make_authority, new_key, sign_server
from reconciler.adapters.linux.mirrors import LinuxMirrors
from reconciler.mirror.wire import LIMIT, Message, Op, ProtocolError, compressed, decompressed
from reconciler.ports.host import HostError
from reconciler.ports.mirrors import MirrorPlan
from tests.mirror.pair import DEADLINE_S, Side, pair, usable


def real(test: Callable[..., None]) -> Callable[..., None]:
    test = pytest.mark.skipif(usable() is not None, reason=usable() or "")(test)
    for mark in (pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(180)):
        test = mark(test)
    return test


def test_what_shrinks_is_compressed_and_comes_back() -> None:
    text = b"the same again and again " * 200
    op, packed = compressed(Op.COPY, text)
    assert op is Op.PACKED_COPY
    assert len(packed) < len(text) // 10
    back = decompressed(Message(op, memoryview(packed), 4096, 7))
    assert (back.op, bytes(back.payload), back.offset, back.seq) == (Op.COPY, text, 4096, 7)
    noise = os.urandom(8192)
    assert compressed(Op.WRITE, noise) == (Op.WRITE, noise)


@pytest.mark.parametrize("what", ["cut off", "noise", "a bomb"])
def test_bad_compressed_data_is_refused(what: str) -> None:
    _, whole = compressed(Op.COPY, bytes(LIMIT + 1) if what == "a bomb" else bytes(4096))
    packed = {"cut off": bytes(whole)[:-4], "noise": b"no stream", "a bomb": bytes(whole)}[what]
    with pytest.raises(ProtocolError):
        decompressed(Message(Op.PACKED_COPY, memoryview(packed), 0, 1))


def test_the_plan_decides_whether_an_engine_encrypts(tmp_path: Path) -> None:
    plan = MirrorPlan(
        name="data",
        server="n1",
        peer="n2",
        data="/srv/x",
        metadata="/srv/y",
        size=1 << 24,
        port=7788,
        listen=("127.0.0.1",),
        peers=("127.0.0.1",),
        compress=True,
    )
    mirrors = LinuxMirrors(tmp_path, tmp_path / "key", "boot", tmp_path / "pki")
    plain = mirrors.settings(plan)
    assert (plain.pki, plain.compress) == ("", True)
    assert mirrors.settings(replace(plan, encrypt=True)).pki == str(tmp_path / "pki")
    with pytest.raises(HostError, match="no certificates"):
        LinuxMirrors(tmp_path, None, "boot").settings(replace(plan, encrypt=True))


def pki(directory: Path) -> str:
    """The certificates of a server in a cluster of its own."""
    directory.mkdir()
    authority, key = make_authority("test"), new_key()
    (directory / "ca.crt").write_bytes(authority.pem)
    certificate = sign_server(authority, key.public_key(), directory.name, [])
    (directory / "server.crt").write_bytes(certificate)
    (directory / "server.key").write_bytes(key_to_pem(key))
    return str(directory)


@contextlib.contextmanager
def encrypted(directory: Path, *, asynchronous: bool) -> Iterator[tuple[Side, Side]]:
    own = pki(directory / "pki")
    with pair(directory, asynchronous=asynchronous, pki=own, compress=True) as sides:
        yield sides


def _fill(side: Side, name: str) -> None:
    with (side.mount / name).open("wb") as file:
        for _ in range(4):
            file.write(os.urandom(1 << 20) + b"much of the same " * (1 << 16))
        file.flush()
        os.fsync(file.fileno())


def _become_equal(a: Side, b: Side) -> None:
    end = time.monotonic() + DEADLINE_S
    while a.content() != b.content():
        assert time.monotonic() < end
        time.sleep(0.05)


@real
@pytest.mark.parametrize("asynchronous", [False, True])
def test_data_and_differences_arrive_encrypted_and_compressed(
    tmp_path: Path, asynchronous: bool
) -> None:
    with encrypted(tmp_path, asynchronous=asynchronous) as (a, b):
        a.promote()
        a.wait(stage="both")
        a.attach(make=True)
        _fill(a, "first")
        b.kill()
        _fill(a, "second")
        b.start()
        a.wait(stage="both")
        _fill(a, "third")
        a.detach()
        a.wait(stage="both")
        _become_equal(a, b)
        b.kill()
        b.start()  # what a killed engine left fits an encrypted one as well
        a.wait(stage="both")


@real
@pytest.mark.parametrize("other", ["plain", "of another cluster"])
def test_who_is_not_encrypted_by_this_cluster_is_not_connected(tmp_path: Path, other: str) -> None:
    own = pki(tmp_path / "pki")
    with pair(tmp_path, pki=own) as (a, b):
        b.kill()
        theirs = "" if other == "plain" else pki(tmp_path / "strange")
        b.settings = replace(b.settings, pki=theirs)
        b.start()
        a.promote()
        end = time.monotonic() + DEADLINE_S
        while "encrypted" not in a.status()["problem"]:
            assert time.monotonic() < end, a.status()["problem"]
            time.sleep(0.02)
        assert a.status()["stage"] == "alone"
        assert b.status()["header"]["fresh"]
