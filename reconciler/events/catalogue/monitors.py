"""Events: monitors. A new one is one entry here."""

from reconciler.events.entry import EventType, error, info, warning

EVENTS: tuple[EventType, ...] = (
    info(
        "monitor_suspected",
        "monitor target reason",
        "A probe failed; `retry` says how many may fail before it is a fault.",
    ),
    warning(
        "monitor_faulted",
        "monitor target reason",
        "Too many probes in a row failed; what follows is in the monitor's `recovery`.",
        "Read the reason. `clusterctl describe monitor/NAME` shows the last output.",
    ),
    info("monitor_recovered", "monitor target reason", "The probe is healthy again."),
    warning(
        "monitor_warned",
        "monitor target reason",
        "A probe is healthy, and yet somebody should look; nothing is recovered for it.",
        "Read the reason.",
    ),
    info("monitor_warning_ended", "monitor target reason", "What it warned of is over."),
    warning(
        "monitor_delayed",
        "monitor target duration_ms timeout_ms",
        "A probe was healthy, but took a large part of its time-out (`delayWarning`).",
        "Find out what is slow before the probe runs out of time.",
        retried=True,
    ),
    warning(
        "monitor_probe_unknown",
        "monitor target reason",
        "The probe could not be made. It counts neither as healthy nor as a failure.",
        "Read the reason: the monitor does not watch anything until this is repaired.",
        retried=True,
    ),
    warning(
        "recovery_started",
        "monitor target step groups scripts restarts failovers reason",
        "A faulty monitor takes its next step; the counts include it.",
        "Find out why the service failed.",
    ),
    info(
        "recovery_script_ended",
        "monitor target reason",
        "The script of a recovery ended by itself; the next probe tells whether it helped.",
    ),
    warning(
        "recovery_script_failed",
        "monitor target reason",
        "The script of a recovery failed, took too long, or had to make room for an operator.",
        "Read the reason. The monitor goes on with its next step.",
    ),
    warning(
        "recovery_waits",
        "monitor target reason",
        "The next step of a faulty monitor cannot be taken now.",
        "Read the reason. It is taken as soon as that is over, if the probe fails still.",
    ),
    error(
        "monitor_parked",
        "monitor target action",
        "All steps of the recovery were taken; the monitor goes on probing, nothing more.",
        "Repair the service. Healthy probes (`resetAfter`) make the monitor act again.",
    ),
    error(
        "monitor_broke",
        "monitor error",
        "A monitor ended with a fault of the program; it starts again after a minute.",
        "Report it with the agent's log.",
    ),
)
