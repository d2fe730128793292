"""What the store holds under run/ and status/: frozen records with a schema number.

Every record that guards a decision carries a `nonce`, so that a writer recognises its own write
after an unanswered attempt.
"""

from reconciler.decide.records.base import (
    OLDEST_SCHEMA,
    SCHEMA,
    Record,
)
from reconciler.decide.records.fences import (
    FenceIntent,
    FenceOutcome,
    FenceRecord,
)
from reconciler.decide.records.groups import (
    Candidate,
    Failure,
    MirrorRecord,
    Ownership,
    Phase,
    Proof,
    Release,
    Verdict,
    Wanted,
)
from reconciler.decide.records.servers import (
    Answer,
    Challenge,
    Coordinator,
    Cordon,
    Hold,
    Session,
    StoreLife,
)
from reconciler.decide.records.status import (
    EventRecord,
    FencingTest,
    FinalActionTaken,
    GroupStatus,
    MonitorState,
    MonitorStatus,
    ResourceStatus,
    ServerFacts,
    ServerStatus,
)
from reconciler.decide.records.wishes import (
    Operation,
    OperationKind,
    OperationPhase,
)

__all__ = [
    "Answer",
    "Candidate",
    "Challenge",
    "Coordinator",
    "Cordon",
    "EventRecord",
    "Failure",
    "FenceIntent",
    "FenceOutcome",
    "FenceRecord",
    "FencingTest",
    "FinalActionTaken",
    "GroupStatus",
    "Hold",
    "MirrorRecord",
    "MonitorState",
    "MonitorStatus",
    "OLDEST_SCHEMA",
    "Operation",
    "OperationKind",
    "OperationPhase",
    "Ownership",
    "Phase",
    "Proof",
    "Record",
    "Release",
    "ResourceStatus",
    "SCHEMA",
    "ServerFacts",
    "ServerStatus",
    "Session",
    "StoreLife",
    "Verdict",
    "Wanted",
]
