"""What people are told of a server that takes no groups. That is easily forgotten, so `status`,
`doctor` and `why` all say it, with the command that ends it.
"""

from reconciler.decide.stored import StoredRecords

BY_ITSELF = "final action on "
"""How `Cordon.who` begins when the server gave its groups away for a final action."""


def cordon_words(server: str, records: StoredRecords) -> str:
    """A clause about this server; "" when it takes groups."""
    cordon, session = records.cordons.get(server), records.sessions.get(server)
    if cordon is None:
        return ""
    if not cordon.boot_id:
        word = "is drained and takes no groups"
    elif session is not None and session.boot_id != cordon.boot_id:
        return ""  # it was for that boot, and the server has started again since
    elif cordon.who.startswith(BY_ITSELF):
        # An agent that somebody has started again is of the same boot, and gets none either.
        word = "gave its groups away and takes none until its next boot"
    elif session is None:
        word = "is shut down"
    else:
        word = "is being shut down and takes no groups until its next boot"
    return f"{word}: by {cordon.who}" + (f": {cordon.why}" if cordon.why else "")


def undrain(server: str) -> str:
    """The command that lets it take groups again."""
    return f"clusterctl undrain {server}"
