"""Every event that this package emits, one file per section of docs/events.md."""

from collections.abc import Mapping

from reconciler.events.catalogue import (
    coordinator,
    fencing,
    groups,
    mirrors,
    monitors,
    peers,
    resources,
    server,
    store,
)
from reconciler.events.entry import EventType

SECTIONS: Mapping[str, tuple[EventType, ...]] = {
    "Groups": groups.EVENTS,
    "Resources": resources.EVENTS,
    "Mirrored disks": mirrors.EVENTS,
    "Monitors": monitors.EVENTS,
    "Servers as others hear them": peers.EVENTS,
    "Fencing": fencing.EVENTS,
    "Coordinator and operations": coordinator.EVENTS,
    "Store and sessions": store.EVENTS,
    "This server": server.EVENTS,
}
