"""Events: store and sessions. A new one is one entry here."""

from reconciler.events.entry import EventType, error, info, warning

_STORE_AWAY = "Once is no harm. If it goes on, look at etcd on the servers: is there a majority?"

EVENTS: tuple[EventType, ...] = (
    info("session_created", "incarnation boot_id", "This agent has a session in the store."),
    error(
        "session_lost",
        "reason",
        "This agent's session has ended. What runs goes on; nothing new is started.",
        "It is created again by itself. If not, look at etcd.",
    ),
    warning(
        "session_renewal_failed",
        "error",
        "The session could not be created or renewed; it is tried again.",
        _STORE_AWAY,
        retried=True,
    ),
    warning("store_watch_stale", "reason", "The store is silent.", _STORE_AWAY, retried=True),
    warning("store_read_failed", "error", "A read of the store failed.", _STORE_AWAY, retried=True),
    warning(
        "store_write_failed",
        "error",
        "A write did not happen; it is decided anew.",
        _STORE_AWAY,
        retried=True,
    ),
    warning(
        "store_write_unknown",
        "error",
        "A write had no answer. The store is read again before anything else is decided.",
        _STORE_AWAY,
        retried=True,
    ),
    warning(
        "status_write_failed",
        "error",
        "This server's status was not stored.",
        _STORE_AWAY,
        retried=True,
    ),
    error(
        "record_unreadable",
        "key error",
        "A record in the store could not be understood; it is not taken for absent.",
        "Look whether all servers run versions that understand each other.",
    ),
    warning(
        "session_not_ended",
        "error",
        "The session could not be ended at this server's shutdown; it runs out by itself.",
        "Nothing.",
    ),
    error(
        "store_doubted",
        "reason",
        "This server does not act on the store: what runs goes on, nothing is started.",
        "If the store was restored from a backup: `clusterctl store restored`.",
    ),
    warning(
        "store_replaced",
        "",
        "Behind the endpoints is another store than before; the agent begins anew with it.",
        "If the store was restored from a backup: `clusterctl store restored`.",
    ),
    info("store_accepted", "generation", "This server works with a restored store."),
    error(
        "store_not_remembered",
        "error",
        "Which store this is could not be kept on disk; until it is there is no session.",
        "Look at the disk of `/var/lib/clusterctl`.",
        retried=True,
    ),
    info(
        "servers_cleared",
        "servers left",
        "These servers are proven to run nothing from before the store was restored.",
    ),
    warning(
        "owner_forgotten",
        "group server",
        "The owner that the restored store named is of before; the group is placed anew.",
        "Nothing.",
    ),
    info("specs_read", "revision", "This server works with a new revision of the specs."),
    warning(
        "specs_read_failed", "error", "The specs could not be read.", _STORE_AWAY, retried=True
    ),
    error(
        "specs_refused",
        "error",
        "The newest specs are not valid for this agent; the last ones stay in force.",
        "`clusterctl rollback`, or bring this agent to the version that wrote them.",
    ),
)
