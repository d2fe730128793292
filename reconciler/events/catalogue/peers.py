"""Events: servers as others hear them. A new one is one entry here."""

from reconciler.events.entry import EventType, error, info, warning

_READ_STATUS = "Run `clusterctl status`: it shows the reason and the next command."

EVENTS: tuple[EventType, ...] = (
    warning(
        "server_suspected",
        "server",
        "At least two heartbeats are missing on every path.",
        "Often a pause or a loaded machine; frequent ones call for slower timings.",
    ),
    error(
        "server_silent",
        "server",
        "The promised number of heartbeats is missing on every path, as seen from here.",
        _READ_STATUS,
    ),
    info("server_heard", "server", "Heartbeats of the server come again."),
    warning(
        "server_challenged",
        "server",
        "A suspected server was asked to answer through the store.",
        "Nothing yet: a living server answers within the challenge timeout.",
    ),
    info("challenge_answered", "nonce", "This server was asked whether it lives, and said so."),
    warning(
        "challenge_answer_failed",
        "error",
        "This server could not write its answer to a challenge; it tries again.",
        "If it does not succeed in time, this server may be fenced. Look at etcd.",
        retried=True,
    ),
    error(
        "server_not_in_specs",
        "name",
        "The applied specs have no Server of this agent's name, so it sends no heartbeats.",
        "Apply a Server object with the name in the agent's configuration.",
    ),
)
