"""`expired` is refused where time alone proves nothing."""

from specs.errors import Severity
from tests.specs.test_check import SOUND, checked, only, replaced, server

STOP = "  onStoreLoss: stop\n  proofs: [released, fenced, expired]\n"
WATCHDOG = "  watchdog: {timeout: 1s}\n"


def guarded(*numbers: int) -> tuple[str, ...]:
    """SOUND under `stop` with the proof, and a watchdog on these servers."""
    documents = list(replaced("[n1, n2, n3]\n", f"[n1, n2, n3]\n{STOP}"))
    for number in numbers:
        place = documents.index(server(number))
        documents[place] = documents[place].rstrip("\n") + "\n" + WATCHDOG
    return tuple(documents)


def test_stop_alone_needs_nothing() -> None:
    assert checked(*replaced("[n1, n2, n3]\n", "[n1, n2, n3]\n  onStoreLoss: stop\n")) == []


def test_expired_with_a_watchdog_everywhere_is_fine() -> None:
    assert checked(*guarded(1, 2, 3)) == []


def test_expired_needs_stop() -> None:
    problem = only(checked(*replaced("[n1, n2, n3]\n", "[n1]\n  proofs: [released, expired]\n")))
    assert (problem.code, problem.path) == ("E0502", "spec.proofs[1]")
    assert "needs onStoreLoss: stop" in problem.message


def test_expired_needs_a_watchdog_somewhere_and_wants_it_everywhere() -> None:
    problem = only(checked(*guarded()))
    assert (problem.code, problem.severity) == ("E0502", Severity.ERROR)
    problem = only(checked(*guarded(1, 2)))
    assert (problem.code, problem.severity) == ("W0605", Severity.WARNING)
    assert problem.message.startswith("n3 without a watchdog")
    assert len(SOUND) == len(guarded())


def test_no_proof_at_all_is_said_aloud() -> None:
    problem = only(checked(*replaced("[n1, n2, n3]\n", "[n1]\n  proofs: [released, none]\n")))
    assert (problem.code, problem.severity) == ("W0607", Severity.WARNING)
    assert "on two servers at once" in problem.message
