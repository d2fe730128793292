"""What is stored of consents to make a file system: each one is good for one time."""

from reconciler.decide.records import Record


class FormatConsents(Record):
    """run/consents/<resource>: the words that were used up, the last one by `server` at `epoch`.

    A word that stays in the specs must not format a second disk: a blank one that took the place of
    the first is a mistake more often than a wish."""

    resource: str
    used: tuple[str, ...]
    server: str
    epoch: int
    at_wall: float = 0.0
