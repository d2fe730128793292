"""Names, times and resources of the clusters that tests of `decide` are about."""

from collections.abc import Sequence
from typing import Literal

from reconciler.decide.keys import Keys
from specs.resource import ResourceSpec

NOW = 1000.0


WALL = 1_700_000_000.0


CLUSTER = "demo"


KEYS = Keys(CLUSTER)


class Plain(ResourceSpec):
    """A resource that is only an address."""

    type: Literal["plain"] = "plain"
    address: str = ""

    def addresses(self) -> tuple[str, ...]:
        return (self.address,) if self.address else ()


class Mirrored(ResourceSpec):
    """A disk that is mirrored between servers, or between server groups. `hybrid`: a server of the
    other server group follows by a group of its own."""

    type: Literal["mirrored"] = "mirrored"
    between: Literal["servers", "server-groups"] = "servers"
    hybrid: bool = False

    def following(self, name: str) -> ResourceSpec | None:
        return Plain(group=f"{self.group}-standby") if self.hybrid else None

    def side_of(self, server: str, server_groups: Sequence[str]) -> str | None:
        return server if self.between == "servers" else next(iter(server_groups), "")


def boot(server: str, number: int = 1) -> str:
    return f"{server}-boot-{number}"


def agent(server: str, number: int = 1) -> str:
    return f"{server}-agent-{number}"
