"""The operating system of this server, as resource types see it.

`adapters.linux` implements it on the kernel; tests and the simulator bring their own twin. Every
call ends within a bound of its own and raises `HostError`, never another exception (apart from
`PermitExpired`, where a permit is asked for).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from reconciler.ports.disks import Disks
from reconciler.ports.driver import Permit
from reconciler.ports.mirrors import Mirrors
from reconciler.ports.volumes import Volumes


class HostError(Exception):
    """The operating system refused or did not answer in time, with a sentence that says what."""


class DiskGone(HostError):
    """No device is there under this name: nobody here can write to it."""


@dataclass(frozen=True, slots=True)
class HeldAddress:
    """One address that an interface of this server carries now.

    `owner` is the resource that added it and `epoch` the one it was added at. `owner` is None when
    somebody else configured the address, and "" when it bears our mark but its owner is not known.
    """

    address: str
    prefix: int
    interface: str
    owner: str | None = None
    epoch: int | None = None


class Network(Protocol):
    """Addresses and neighbours. An `address` is plain ("192.0.2.10") unless it says otherwise."""

    async def addresses(self) -> tuple[HeldAddress, ...]:
        """Everything that the interfaces carry now; changes nothing."""
        ...

    async def interface_for(self, address: str) -> str | None:
        """The interface whose own (not floating) subnet holds the address; None without one."""
        ...

    async def prefix_for(self, address: str, interface: str) -> int | None:
        """Prefix length of the interface's own subnet that holds the address."""
        ...

    async def add_address(self, address: str, interface: str, owner: str, permit: Permit) -> None:
        """Add "192.0.2.10/24". The permit is checked right before the kernel is asked and once more
        after it answered: an address that came too late is taken away again (`PermitExpired`).
        An address that is there already is marked as ours at the permit's epoch."""
        ...

    async def remove_address(self, held: HeldAddress) -> None:
        """Returns when the address is gone; one that is gone already is fine."""
        ...

    async def probe(self, address: str, interface: str, window_s: float = 0.03) -> str | None:
        """MAC of another machine that uses the address now, or None when nobody answered within
        the window. ARP probes for IPv4, neighbour solicitations for IPv6; never moves a client."""
        ...

    async def announce(self, address: str, interface: str) -> None:
        """Tell all neighbours once that the address is here (gratuitous ARP, unsolicited NA)."""
        ...

    async def accepts(self, address: str, port: int, timeout_s: float) -> bool:
        """Whether a TCP connection to the address and port is accepted within the time."""
        ...

    async def changed(self) -> None:
        """Returns at the next change of an address or a link of this server."""
        ...


@dataclass(frozen=True, slots=True)
class Workload:
    """One program to run. `environment` may hold secrets: it goes to the runner over a pipe and is
    never written or logged. `user` and `group` are names or numbers; None keeps the agent's own.
    `keep_after_exit`: what the program left running belongs to it and may stay (one-shot).
    Of the log, `log_files` older files of its size are kept."""

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    directory: str = "/"
    user: str | None = None
    group: str | None = None
    keep_after_exit: bool = False
    log_limit_bytes: int = 1024 * 1024
    log_files: int = 1

    def with_command(self, command: tuple[str, ...]) -> "Workload":
        """The same surroundings for another program."""
        return replace(self, command=command)


@dataclass(frozen=True, slots=True)
class StopPlan:
    """How to end a workload: the command (if any), else the signal; SIGKILL to everything that is
    left after `grace_s` seconds. With `must_succeed` a command that fails makes the stop fail."""

    command: tuple[str, ...] = ()
    signal: int = 15
    grace_s: float = 20.0
    must_succeed: bool = False


class RunnerState(StrEnum):
    """LOST: the runner died without ending its workload in order."""

    ABSENT = "absent"
    RUNNING = "running"
    STOPPING = "stopping"
    EXITED = "exited"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class RunnerView:
    """One runner as recorded and as found. `exit_code` is negative for a signal, as in
    `subprocess`. `left` counts processes of a lost runner's workload; None when that is unknown.
    `is_held`: the runner itself is alive."""

    state: RunnerState
    epoch: int | None = None
    pid: int | None = None
    exit_code: int | None = None
    started_wall: float | None = None
    left: int | None = 0
    is_held: bool = False


class Runners(Protocol):
    """Process holders of this server, one for each name. They outlive the agent."""

    def names(self) -> tuple[str, ...]:
        """Everything that runs or was not cleared away, whichever agent started it."""
        ...

    async def prepare(self) -> None:
        """Have a holder ready, so that the next `start` is faster. Starts no workload."""
        ...

    async def observe(self, name: str) -> RunnerView:
        """What runs under the name now, whichever agent started it; changes nothing."""
        ...

    async def start(self, name: str, workload: Workload, permit: Permit) -> None:
        """Start the workload; returns once its program was executed. The permit is checked right
        before the fork. Raises `HostError` when something runs under the name already, or when the
        program can't be executed."""
        ...

    async def stop(self, name: str, epoch: int, plan: StopPlan) -> None:
        """End what was started at an epoch <= `epoch` with everything it forked, and forget it.
        Returns when nothing is left; `HostError` names the processes that do not go."""
        ...

    async def kill(self, name: str, epoch: int) -> None:
        """Kill every process of what was started at an epoch <= `epoch`. What is known of it stays
        (how it ended), until `stop`. Returns when nothing is left; else `HostError`."""
        ...

    async def changed(self, name: str, seen: RunnerState | None = None) -> None:
        """Returns when the workload ends, its runner dies, or this agent starts or stops one; at
        once when its state is not `seen` any more."""
        ...

    def log_tail(self, name: str, limit_bytes: int = 2000) -> str:
        """The end of what the workload wrote; "" without any."""
        ...


class Scripts(Protocol):
    """Texts of scripts as files of this server, by content."""

    async def place(self, text: str) -> str:
        """Path of a file with exactly this text; written when it is missing or was changed.
        Raises `HostError`, on a full disk for instance."""
        ...


class Host(Protocol):
    """This server's operating system."""

    @property
    def network(self) -> Network: ...

    @property
    def runners(self) -> Runners: ...

    @property
    def scripts(self) -> Scripts: ...

    @property
    def mirrors(self) -> Mirrors: ...

    @property
    def volumes(self) -> Volumes: ...

    @property
    def disks(self) -> Disks: ...
