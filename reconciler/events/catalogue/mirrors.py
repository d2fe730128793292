"""Events: mirrored disks. A new one is one entry here."""

from reconciler.events.entry import EventType, info, warning

EVENTS: tuple[EventType, ...] = (
    info(
        "mirror_record_changed",
        "group resource epoch servers generation",
        "From now on these servers have all acknowledged data of the mirror, and no other.",
    ),
    info("mirror_formatted", "resource kind", "A file system was made, as consented to, once."),
    warning(
        "mirror_not_following",
        "resource reason",
        "This server cannot be the other side of a mirror: a failover would find no data here.",
        "Read the reason; the engine's log is `engine.log` below the run directory.",
    ),
    warning(
        "follower_failed",
        "resource reason",
        "What this server does for a resource of another server ended; it is started again.",
        "Report it with the agent's log if it comes back.",
    ),
)
