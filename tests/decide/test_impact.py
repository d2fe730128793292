"""What an apply would do is forecast with the agents' own decisions."""

from typing import Any

from reconciler.decide.impact import Impact, preview
from reconciler.decide.records import (
    Coordinator,
    GroupStatus,
    Ownership,
    Phase,
    ResourceStatus,
    Session,
)
from reconciler.decide.snapshot import Specs
from reconciler.decide.stored import StoredRecords
from tests.decide.build import WALL, Scene, agent, boot


def specs(**group: Any) -> Specs:
    scene = Scene().group("web", **{"servers": ["n1", "n2", "n3"], **group})
    scene.resource("web-ip", address="10.0.0.100").resource("web-app", address="10.0.0.101")
    return scene.snapshot().specs


def running(*servers: str, owner: str | None = "n1") -> StoredRecords:
    """web runs on its owner; these servers are in session."""
    status = GroupStatus(
        group="web",
        server=owner or "",
        epoch=4,
        phase=Phase.ONLINE,
        start_ms=1200.0,
        stop_ms=300.0,
        resources=(
            ResourceStatus(
                name="web-ip", type="plain", state="active", start_ms=40.0, stop_ms=10.0
            ),
        ),
    )
    own = (
        Ownership(group="web", epoch=4, owner=owner, boot_id=boot(owner), incarnation=agent(owner))
        if owner
        else None
    )
    return StoredRecords(
        coordinator=Coordinator(server=servers[0], incarnation=agent(servers[0])),
        sessions={
            name: Session(server=name, boot_id=boot(name), incarnation=agent(name), lease=1)
            for name in servers
        },
        groups={"web": own} if own else {},
        group_status={(owner, "web"): status} if owner else {},
    )


ALL = ("n1", "n2", "n3")


def test_what_changes_nothing_that_runs_has_no_effect() -> None:
    assert preview(running(*ALL), specs(), specs(failover={"window": "2h"}), WALL) == ()


def test_a_group_whose_list_loses_its_owner_moves_to_the_server_that_would_be_chosen() -> None:
    new = specs(servers=["n3", "n2"])
    assert preview(running(*ALL), specs(), new, WALL) == (
        Impact("web", "moves from n1 to n3", 1500.0),
    )
    assert preview(running("n1", "n2"), specs(), new, WALL) == (
        Impact("web", "moves from n1 to n2", 1500.0),
    )


def test_failback_is_seen_ahead() -> None:
    new = specs(servers=["n2", "n1"], failback="auto")
    assert preview(running(*ALL), specs(), new, WALL)[0].text == "moves from n1 to n2"


def test_a_new_group_starts_where_it_would() -> None:
    found = preview(running(*ALL, owner=None), _without_web(), specs(servers=["n2"]), WALL)
    assert found == (Impact("web", "starts on n2"),)


def _without_web() -> Specs:
    scene = Scene()
    scene.groups.clear()
    return scene.snapshot().specs


def test_resources_restart_in_place_with_what_depends_on_them() -> None:
    new = specs()
    changed = new.resources["web-ip"].spec.model_copy(update={"address": "10.0.0.200"})
    ip = new.resources["web-ip"].model_copy(update={"spec": changed})
    after = Specs(2, new.cluster, new.servers, {}, new.groups, {**new.resources, "web-ip": ip})
    found = preview(running(*ALL), specs(), after, WALL)
    assert found == (Impact("web", "web-ip restarts on n1", 50.0),)
    gone = Specs(2, new.cluster, new.servers, {}, new.groups, {"web-ip": new.resources["web-ip"]})
    assert preview(running(*ALL), specs(), gone, WALL) == (Impact("web", "web-app stops on n1"),)


def test_while_nobody_is_in_session_nothing_is_forecast() -> None:
    assert preview(StoredRecords(), specs(), specs(servers=["n2"]), WALL) == ()
