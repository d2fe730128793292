"""Writes and syncs 4 KiB without a pause, and tells how long the longest took.

`python3 -I -S writes.py FILE`, standard library only: it runs on a server of a lab. For each line
on its standard input it answers with one JSON line about the writes since the line before, the one
under way included: {"count": 912, "longest_ms": 3.1, "median_ms": 0.6}. It ends with its input.
"""

import json
import os
import select
import statistics
import sys
import time

BLOCK = 4096
BLOCKS = 64


def main() -> None:
    handle = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR)
    data, number = os.urandom(BLOCK), 0
    took: list[float] = []
    while True:
        began = time.monotonic()
        os.pwrite(handle, data, BLOCK * (number % BLOCKS))
        os.fsync(handle)
        took.append((time.monotonic() - began) * 1000)
        number += 1
        if not select.select([sys.stdin], [], [], 0)[0]:
            continue
        if not sys.stdin.readline():
            return
        found = {"longest_ms": round(max(took), 2), "median_ms": round(statistics.median(took), 2)}
        sys.stdout.write(json.dumps({"count": len(took), **found}) + "\n")
        sys.stdout.flush()
        took.clear()


if __name__ == "__main__":
    main()
