"""What is stored while a person has a shared disk (`clusterctl volume unlock`)."""

from reconciler.decide.records import Record


class VolumeUnlock(Record):
    """run/unlocks/<resource>: `who` has the disk open on `server`; the key ends with its lease."""

    resource: str
    server: str
    who: str
    until_wall: float
