"""A BMC that swallows everything holds up neither the caller nor the end of the process."""

import socket
import subprocess
import sys

SCRIPT = """
import asyncio, sys
from reconciler.adapters.clock import MonotonicClock
from reconciler.fences.ipmi import Ipmi

async def main():
    device = Ipmi.model_validate({"type": "ipmi", "address": "127.0.0.1", "port": int(sys.argv[1]),
        "user": "admin", "passwordFrom": {"env": "BMC_PASSWORD"}, "timeout": "120s"}
    ).device(MonotonicClock())
    try:
        await asyncio.wait_for(device.status(), 0.2)
    except TimeoutError:
        print("left")

asyncio.run(main())
"""


def test_a_hung_session_does_not_hold_up_the_exit() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(silent.getsockname()[1])],
            env={"BMC_PASSWORD": "secret"},
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    assert done.stdout == "left\n"
    assert not done.stderr
