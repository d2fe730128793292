"""Inside a guest: what is mounted on a loop device grows with its file.

    python -m tests.guests.growing DEVICE FILE DIRECTORY KIND SIZE

Prints which of device and file system grew, and how large the file system says it is.
"""

import asyncio
import json
import sys
from pathlib import Path

from reconciler.adapters.linux.growth import file_system_size
from reconciler.adapters.linux.volumes import LinuxVolumes
from reconciler.ports.driver import Permit


async def main() -> None:
    device, file, directory, kind, size = sys.argv[1:]
    permit = Permit(1, lambda: True)
    volumes = LinuxVolumes()
    grown = {
        "device": await volumes.grow_device(device, file, int(size), permit),
        "file_system": await volumes.grow_file_system(device, directory, kind, permit),
        "size": await asyncio.to_thread(file_system_size, Path(device), kind),
    }
    sys.stdout.write(json.dumps(grown) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
