"""Two groups that are placed with an eye on each other: the one that serves a hybrid disk, and the
derived one, whose server follows on the other side. Plain data; the rules are in `standby_side`."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pairing:
    """What one of the two knows of the other. `follows`: it is the derived one. `sites` are the
    servers of both server groups, by its name."""

    partner: str
    follows: bool
    sites: Mapping[str, tuple[str, ...]]

    def site_of(self, server: str | None) -> str | None:
        """The server group that holds this server."""
        return next((name for name, found in self.sites.items() if server in found), None)
