"""Events: resources. A new one is one entry here."""

from reconciler.events.entry import EventType, error, info, warning

EVENTS: tuple[EventType, ...] = (
    warning(
        "script_failed",
        "group resource script reason",
        "A script failed whose success nothing depends on: a resident script's stop script, or "
        "one that runs on standby servers.",
        "Read the reason and the script's log in `scripts/` in the run directory.",
    ),
    info("resource_started", "group resource epoch duration_ms", "The start was successful."),
    info("resource_stopped", "group resource epoch duration_ms", "It was seen stopped."),
    warning(
        "resource_start_failed",
        "group resource epoch reason",
        "One try to start it failed; `activationRetries` says how many more follow.",
        "Read the reason. The output of an application is in its run directory.",
    ),
    error(
        "resource_stop_failed",
        "group resource epoch reason",
        "One try to stop it failed; `deactivationRetries` says how many more follow.",
        "Read the reason; a resource that never stops makes its server reset itself.",
    ),
    warning(
        "resource_drifted",
        "group resource epoch found expected reason policy",
        "It is not as it should be any more: it died, or somebody changed it by hand.",
        "With policy `correct` it is restarted in place as long as `restarts` allows; with "
        "`report` it is left as it is. Find out who did it.",
    ),
    info(
        "resource_drift_ended",
        "group resource epoch found repaired duration_ms",
        "It is as it should be again: repaired here, or put right by somebody else. The duration "
        "counts from the moment when it was found.",
    ),
    info(
        "resources_stopped",
        "group resources",
        "The list of resources that an operator keeps stopped in a running group changed.",
    ),
    warning(
        "resources_restarted",
        "group resources reason",
        "They are stopped and started again in place, because a monitor asked for it.",
        "Read the reason, then `clusterctl describe monitor/NAME`.",
    ),
    warning(
        "resource_upkeep_failed",
        "resource reason",
        "The periodic work for a running resource ended with a fault of the program.",
        "Report it with the agent's log. The resource itself runs on.",
    ),
    warning(
        "announcement_failed",
        "resource reason",
        "A floating address could not be announced; clients may stay with the old server.",
        "Look at the interface on its owner. It is tried again.",
        retried=True,
    ),
    info("disk_formatted", "resource kind", "A file system was made, as consented to, once."),
    warning(
        "volume_unlocked",
        "resource device who ttl_s why",
        "A person got a shared disk whose group is stopped, for a while.",
        "Nothing, if it was you. It is locked again by itself.",
    ),
    info("volume_locked", "resource device who reason", "The person gave the disk back."),
    warning(
        "disk_not_released",
        "resource reason",
        "A shared disk was unmounted here, but its reservation could not be given up.",
        "Nothing, if its next owner has it: it shuts this server out. Otherwise look at the disk.",
    ),
    error(
        "reservation_in_doubt",
        "resource reason",
        "The disk does not keep other servers out any more, or can't be asked.",
        "Read the reason. A lost reservation makes the resource fail and start again.",
    ),
)
