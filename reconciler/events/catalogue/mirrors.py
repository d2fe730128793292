"""Events: mirrored disks. A new one is one entry here."""

from reconciler.events.entry import EventType, error, info, warning

EVENTS: tuple[EventType, ...] = (
    info(
        "mirror_record_changed",
        "group resource epoch servers generation",
        "From now on these servers have all acknowledged data of the mirror, and no other.",
    ),
    warning(
        "mirror_forced",
        "resource group server given_up generation who why",
        "An operator lets this server serve the mirror although it lacks acknowledged data that "
        "only the servers `given_up` had.",
        "When one of those is back, both sides do not know each other: `clusterctl mirror discard` "
        "on the side that is not wanted.",
    ),
    info(
        "mirror_settled",
        "resource group servers generation",
        "The store came out of a backup; what both sides have says who has all data.",
    ),
    error(
        "mirror_tail_at_risk",
        "resource reason",
        "An asynchronous mirror was stopped while the other side lacked its last writes, and the "
        "record could not be told: a server that takes over now does so without them.",
        "Let the group start on this server again, before another one takes it.",
    ),
    info(
        "mirror_formatted",
        "resource kind volume",
        "A file system was made, as consented to, once; `volume` names one of several.",
    ),
    info("mirror_grown", "resource size before", "This server's side became larger; bytes."),
    info(
        "mirror_device_grown",
        "resource device size",
        "The device that is mounted became larger; bytes.",
    ),
    info(
        "mirror_file_system_grown",
        "resource directory kind size",
        "The file system grew up to the end of its device, in use; bytes of that.",
    ),
    warning(
        "mirror_growth_waits",
        "resource reason",
        "The disk is not as large as its spec says yet. It is tried again, as long as it takes.",
        "Read the reason: it names the side, the device or the file system that does not grow.",
    ),
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
