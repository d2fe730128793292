"""`python -S -m reconciler.pulse --socket PATH [--state PATH]`: started by the agent, outlives it.

Exit status 3: another pulse holds the socket.
"""

import argparse
import os
import signal
import sys

from reconciler.pulse.link import AlreadyRunning
from reconciler.pulse.process import Pulse


def main() -> int:
    parser = argparse.ArgumentParser(prog="reconciler.pulse")
    parser.add_argument("--socket", required=True)
    parser.add_argument("--state")
    arguments = parser.parse_args()
    os.umask(0o077)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        pulse = Pulse(arguments.socket, arguments.state)
    except AlreadyRunning:
        return 3
    # In order, so that a server without anything left to end is not reset by its watchdog.
    signal.signal(signal.SIGTERM, lambda *_: pulse.stop())
    os.chdir("/")
    pulse.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
