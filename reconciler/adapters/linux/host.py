"""This server's operating system (`ports.host.Host`), built once by the agent."""

from pathlib import Path
from typing import Self

from reconciler.adapters.linux.disks import LinuxDisks
from reconciler.adapters.linux.mirror_engines import LinuxMirrorEngines
from reconciler.adapters.linux.network import LinuxNetwork
from reconciler.adapters.linux.runners import LinuxRunners
from reconciler.adapters.linux.scripts import LinuxScripts
from reconciler.adapters.linux.volumes import LinuxVolumes


class LinuxHost:
    """`async with LinuxHost(run_directory) as host:`; on leaving, what runs goes on running.
    Without a `state_directory` everything is below the run directory. `cluster_key` and
    `boot` are for mirrors only, `pki` for them and for the keys of reservations."""

    def __init__(
        self,
        run_directory: Path,
        state_directory: Path | None = None,
        cluster_key: Path | None = None,
        boot: str = "",
        pki: Path | None = None,
    ) -> None:
        self.mirrors = LinuxMirrorEngines(run_directory, cluster_key, boot, pki)
        self.volumes = LinuxVolumes()
        self.disks = LinuxDisks(run_directory, pki / "ca.crt" if pki is not None else None)
        self.scripts = LinuxScripts(state_directory or run_directory)
        self.network = LinuxNetwork(run_directory)
        self.runners = LinuxRunners(run_directory)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.volumes.close()
        self.network.close()
        self.runners.close()
