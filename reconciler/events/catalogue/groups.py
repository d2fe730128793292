"""Events: groups. A new one is one entry here."""

from reconciler.events.entry import EventType, error, info, warning

_READ_STATUS = "Run `clusterctl status`: it shows the reason and the next command."

EVENTS: tuple[EventType, ...] = (
    info(
        "group_granted",
        "group server epoch previous_owner proof reason candidates",
        "The coordinator gave the group to a server, at a new epoch.",
    ),
    info(
        "group_terms_grew",
        "group dead_man_s watchdog_s",
        "The owner may take longer deadlines; a takeover by time alone waits longer from now on.",
    ),
    info(
        "group_online",
        "group epoch duration_ms",
        "All wanted resources of the group run on its owner.",
    ),
    info(
        "group_release_requested",
        "group server epoch reason",
        "The owner was asked to stop the group and to give it up (a move, stop or failback).",
    ),
    info(
        "group_stopped",
        "group epoch reason duration_ms",
        "Every resource of the group was seen stopped on this server.",
    ),
    info(
        "group_released",
        "group epoch reason",
        "The owner gave up this epoch for good; another server may have the group.",
    ),
    warning(
        "group_parked",
        "group epoch reason",
        "Nobody owns the group now, and it will not start by itself.",
        "If nobody asked for it: `clusterctl describe group/NAME`, then `clusterctl clear` or "
        "`start`.",
    ),
    info(
        "group_stop_requested",
        "group",
        "The group has no spec any more, so its owner was asked to stop it.",
    ),
    info("group_removed", "group", "A group without a spec was given up by its owner."),
    info(
        "group_judged",
        "group phase reasons",
        "The coordinator changed its word on a group that is not simply running.",
        _READ_STATUS,
    ),
    error(
        "group_failed",
        "group epoch reason",
        "A resource could not be started, or died too often; the group leaves this server.",
        "Read the reason, then `clusterctl describe group/NAME`.",
    ),
    error(
        "group_stop_failed",
        "group reason",
        "A resource could not be stopped. If the group must leave, this server resets itself.",
        "Find out on the server why the resource does not stop.",
    ),
    info(
        "activation_waits",
        "group epoch reason",
        "A start was held back because this server may not start the group right now.",
        retried=True,
    ),
)
