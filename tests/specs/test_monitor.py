"""Monitors: what they may look after, and what is refused at apply."""

import pytest

from specs.check import check, errors_of
from specs.errors import Severity, SpecProblem
from specs.load import Source, load
from specs.monitor import MonitorSpec
from tests.specs.catalogue import Catalogue
from tests.specs.sets import SOUND, joined, only

MONITOR = """\
apiVersion: clusterctl/v1
kind: Monitor
metadata: {name: web-answers}
spec:
  type: any
  target: group/web
  resource: web-app
"""


class AnyMonitor(MonitorSpec):
    """Looks at a resource."""

    resource: str = "web-app"

    def resources(self) -> tuple[tuple[str, str], ...]:
        return (("resource", self.resource),)


class WithMonitors(Catalogue):
    def monitor_model(self, type_or_alias: str) -> type[MonitorSpec] | None:
        return AnyMonitor if type_or_alias == "any" else None


def problems(monitor: str) -> list[SpecProblem]:
    types = WithMonitors()
    text = joined(*SOUND, monitor)
    return check(load([Source("web.yaml", text.encode())], types), types)


def test_a_sound_monitor_has_no_problem() -> None:
    assert problems(MONITOR) == []


@pytest.mark.parametrize(
    ("old", "new", "path", "message", "code"),
    [
        ("group/web", "group/wep", "spec.target", "no Group 'wep', did you mean 'web'?", "E0201"),
        ("group/web", "resource/web-a", "spec.target", "did you mean 'web-app'?", "E0201"),
        (
            "group/web",
            "all-groups\n  activeWith: group/wep",
            "spec.activeWith",
            "did you mean 'web'?",
            "E0201",
        ),
        ("resource: web-app", "resource: web-p", "spec.resource", "no Resource 'web-p'", "E0201"),
        ("group/web", "group/web\n  servers: [n9]", "spec.servers[0]", "no Server 'n9'", "E0201"),
    ],
)
def test_a_fault_is_one_error_at_its_field(
    old: str, new: str, path: str, message: str, code: str
) -> None:
    found = list(errors_of(problems(MONITOR.replace(old, new))))
    problem = next(problem for problem in found if problem.path == path)
    assert problem.code == code
    assert message in problem.message
    assert problem.line > 0


def test_a_monitor_whose_servers_never_run_the_group_is_refused() -> None:
    types = WithMonitors()
    changed = tuple(text.replace("[n1, n2, n3]", "[n1, n2]") for text in SOUND)
    monitor = MONITOR.replace("group/web", "group/web\n  servers: [n3]")
    text = joined(*changed, monitor)
    found = check(load([Source("web.yaml", text.encode())], types), types)
    problem = only(errors_of(found))
    assert (problem.code, problem.path) == ("E0206", "spec.servers")


def test_a_probe_that_may_take_much_longer_than_its_interval_is_a_warning() -> None:
    problem = only(problems(MONITOR + "  interval: 1s\n  timeout: 4s\n"))
    assert (problem.code, problem.severity) == ("W0606", Severity.WARNING)


@pytest.mark.parametrize("target", ["web", "server/n1", "cluster/demo", "group/", "group/Web"])
def test_what_is_no_target_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match=r"target|is not a name"):
        MonitorSpec.model_validate({"type": "any", "target": target})


def test_an_active_monitor_knows_what_it_is_active_with() -> None:
    with pytest.raises(ValueError, match="activeWith"):
        MonitorSpec.model_validate({"type": "any", "target": "server"})
    with pytest.raises(ValueError, match="timing active only"):
        MonitorSpec.model_validate(
            {"type": "any", "target": "server", "timing": "always", "activeWith": "group/web"}
        )
    plain = MonitorSpec.model_validate({"type": "any", "target": "resource/web-app"})
    assert plain.companion == "resource/web-app"
