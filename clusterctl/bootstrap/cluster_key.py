"""Exchange of the key that signs heartbeats, while they go on. From commands/cluster.py.

Two keys are valid meanwhile, newest first; each server signs for each other one with the newest
that both hold. The server that holds the CA's key makes the new one; the others fetch the file
from its enrolment service over TLS, with a request that only they can sign. The store never sees a
key: servers tell the public names of those that their pulse runs with, and no step is taken before
all have told.
"""

import json
import secrets
from collections.abc import Mapping, Sequence

from clusterctl.bootstrap.layout import BootstrapError, Layout, read_file, write_file
from reconciler.pulse.packet import key_id

FETCH = "clusterctl cluster refresh"
AGAIN = "clusterctl cluster rotate-key"


def read_keys(layout: Layout) -> list[str]:
    """The keys of this server, newest first. Raises `BootstrapError`."""
    text = read_file(layout.cluster_key, "the cluster key")
    try:
        found = json.loads(text)["keys"]
        names(found)
    except (ValueError, KeyError, TypeError) as error:
        raise BootstrapError(
            f"{layout.cluster_key} is damaged: on this server {FETCH}, or copy it from another one"
        ) from error
    if not 1 <= len(found) <= 2:
        raise BootstrapError(f"{layout.cluster_key} holds {len(found)} keys, 1 or 2 are possible")
    return list(found)


def names(keys: Sequence[str]) -> list[str]:
    """The public names of keys."""
    return [key_id(bytes.fromhex(key)).hex() for key in keys]


def write_keys(layout: Layout, keys: Sequence[str]) -> None:
    write_file(layout.cluster_key, json.dumps({"keys": list(keys)}) + "\n")


def behind(wanted: Sequence[str], told: Mapping[str, Sequence[str]]) -> list[str]:
    """Servers whose pulse does not run with exactly these keys, by name."""
    return sorted(name for name, has in told.items() if list(has) != list(wanted))


def step(layout: Layout, told: Mapping[str, Sequence[str]]) -> tuple[str, list[str]]:
    """Take the next step of the exchange if it is safe: (what was done, servers that must fetch).

    `told` maps every server of the specs to the names that it published. Repeatable: what was done
    is read from the file. Raises `BootstrapError` when not every server has told yet.
    """
    if not layout.key("ca").exists():
        raise BootstrapError("this server holds no CA key: run this on the first server")
    keys = read_keys(layout)
    late = behind(names(keys), told)
    if late:
        raise BootstrapError(
            f"{', '.join(late)} does not run with the present keys yet: {FETCH} there (its agent "
            f"must run), then {AGAIN} here"
        )
    others = sorted(told)
    if len(keys) == 1:
        write_keys(layout, [secrets.token_hex(32), *keys])
        return "a new key is valid beside the old one", others
    write_keys(layout, keys[:1])
    return "the old key is not valid here any more", others
