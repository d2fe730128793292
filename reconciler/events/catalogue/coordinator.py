"""Events: coordinator and operations. A new one is one entry here."""

from reconciler.events.entry import EventType, error, info, warning

EVENTS: tuple[EventType, ...] = (
    info("coordinator_taken", "server", "This server decides for the cluster from now on."),
    warning(
        "coordinator_deposed",
        "server",
        "A silent coordinator lost its place, together with the request to fence it.",
        "Nothing; see `fence_requested`.",
    ),
    info("operation_started", "operation kind target who", "An operator's wish is under way."),
    info(
        "operation_waits",
        "operation kind target reason who",
        "A wish waits for the recovery of a monitor that is under way.",
    ),
    info("operation_finished", "operation kind target result who", "A wish was fulfilled."),
    warning(
        "operation_failed",
        "operation kind target result who",
        "A wish was refused, or could not be fulfilled.",
        "Read the result.",
    ),
    error(
        "effect_failed",
        "effect error",
        "Something that was to be done ended with a fault of the program.",
        "Report it with the agent's log.",
    ),
)
