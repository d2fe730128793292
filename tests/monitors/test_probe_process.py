"""The process that makes the probes, alone."""

import json
import os
import socket
import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
descriptor = int(sys.argv[1])
if descriptor != 3:
    os.dup2(descriptor, 3)
from reconciler.probe import service
service.main()
"""
REQUEST = {"id": 1, "probe": "process", "settings": {"names": ["nobody"]}, "timeout": 5.0}


@pytest.mark.parametrize("last", [b"", b'{"id": 2, "pro'])
def test_it_ends_quietly_when_the_agent_is_killed(last: bytes) -> None:
    """Killed before it read an answer, which resets the connection, or within a request."""
    ours, theirs = socket.socketpair()
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(theirs.fileno())],
        pass_fds=(theirs.fileno(),),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        theirs.close()
        ours.settimeout(30)
        ours.sendall(json.dumps(REQUEST).encode() + b"\n" + last)
        ours.recv(1, socket.MSG_PEEK)  # the answer is there, and stays unread
        if last:
            ours.recv(65536)
        ours.close()
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (os.EX_OK, "")
