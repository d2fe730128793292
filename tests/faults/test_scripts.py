"""Scripts on a real lab: what they are told, and scripts that hang, fork, flood or cannot be
written. The first specs are those of examples/04-script."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults import marks
from tests.faults.cluster_under_test import ClusterUnderTest, now_wall

pytestmark = marks.long

EXAMPLE = Path(__file__).parents[2] / "examples/04-script"
HISTORY, STANDBY = "/run/queue/history", "/run/queue/standby"


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterUnderTest]:
    made = ClusterUnderTest.start(tmp_path_factory.mktemp("scripts") / "d")
    try:
        made.ctl("apply", str(EXAMPLE))
        made.wait_group(name="queue")
        yield made
    finally:
        made.down()


def lines(cluster: ClusterUnderTest, server: str, path: str) -> list[str]:
    return cluster.on(server, "sh", "-c", f"cat {path} 2>/dev/null; true").splitlines()


def says(cluster: ClusterUnderTest, server: str, path: str, line: str) -> None:
    cluster.eventually(
        lambda: any(line in one for one in lines(cluster, server, path)),
        f"{path} of {server} says {line!r}",
    )


def apply(cluster: ClusterUnderTest, group: str, servers: list[str], **spec: Any) -> None:
    """A group of one script."""
    head = {"apiVersion": "clusterctl/v1"}
    given = {"group": group, "type": "script", **spec}
    documents = [
        {**head, "kind": "Group", "metadata": {"name": group}, "spec": {"servers": servers}},
        {**head, "kind": "Resource", "metadata": {"name": f"{group}-job"}, "spec": given},
    ]
    path = cluster.lab.directory / f"{group}.yaml"
    path.write_text("\n---\n".join(json.dumps(document) for document in documents))
    cluster.ctl("apply", str(path))


def shell(*words: str) -> dict[str, str]:
    return {"text": "\n".join(("#!/bin/sh", *words, ""))}


def test_a_worker_that_stands_still_is_pushed_before_it_is_restarted(
    scripted: ClusterUnderTest,
) -> None:
    says(scripted, "n1", HISTORY, "start START on n1 (HOME), before on no server, epoch 1")
    for server in ("n2", "n3"):
        says(scripted, server, STANDBY, f"on {server}, the worker is on n1")
    began = now_wall()
    scripted.on("n1", "sh", "-c", "kill -STOP $(cat /run/queue/pid)")
    event = scripted.wait_event("recovery_started", began, monitor="queue-beats")
    assert event["step"] == "script"
    scripted.wait_event("recovery_script_ended", began, monitor="queue-beats")
    says(scripted, "n1", HISTORY, "RECOVERY 1 for queue-beats: exit code 1")
    scripted.wait_event("monitor_recovered", began, monitor="queue-beats")
    assert len([one for one in lines(scripted, "n1", HISTORY) if one.startswith("start")]) == 1


def test_a_failover_is_told_as_one(scripted: ClusterUnderTest) -> None:
    scripted.break_("crash", "n1")
    scripted.wait_group(name="queue", not_on="n1")
    owner = scripted.owner("queue")
    epoch = scripted.group("queue")["epoch"]
    says(scripted, owner, HISTORY, f"start FAILOVER on {owner} (OTHER), before on n1, epoch")
    assert epoch > 1
    other = next(name for name in ("n2", "n3") if name != owner)
    says(scripted, other, STANDBY, f"standby-start start on {other}, the worker is on {owner}")
    scripted.wait_servers()
    says(scripted, "n1", STANDBY, f"standby-start recover on n1, the worker is on {owner}")
    scripted.ctl("move", "group/queue", "--to", "n1")
    says(scripted, owner, HISTORY, f"stop because of groupmove on {owner}")
    says(scripted, "n1", HISTORY, f"start START on n1 (HOME), before on {owner}")


def test_a_start_that_hangs_forks_and_floods_is_killed_and_the_group_goes_on_elsewhere(
    scripted: ClusterUnderTest,
) -> None:
    bad = "setsid sleep 4242.7 & yes 4242.7 & sleep 4242.7"
    start = shell(f'[ "$CLUSTER_SERVER" = n3 ] || {{ {bad}; }}', "env > /run/told")
    began = now_wall()
    apply(
        scripted,
        "wild",
        ["n2", "n3"],
        start=start,
        stop=shell("true"),
        startTimeout="3s",
        logLimit="64KiB",
    )
    failed = scripted.wait_event("resource_start_failed", began, resource="wild-job")
    assert "were killed; its last words: " in failed["reason"]
    scripted.wait_group(name="wild", on="n3")
    told = dict(one.split("=", 1) for one in lines(scripted, "n3", "/run/told"))
    assert (told["CLP_EVENT"], told["CLP_SERVER_PREV"]) == ("FAILOVER", "n2")
    left = "ps -eo args | grep -c '[4]242.7'; du -sk /run/clusterctl/runners/wild-job | cut -f1"
    count, size = scripted.on("n2", "sh", "-c", left).split()
    assert count == "0"
    assert int(size) < 1024


def test_an_agent_killed_during_a_start_changes_nothing_for_the_script(
    scripted: ClusterUnderTest,
) -> None:
    start = shell("echo start >> /run/slow", "while [ ! -e /run/go ]; do sleep 0.05; done")
    apply(scripted, "slow", ["n3"], start=start, startTimeout="60s")
    says(scripted, "n3", "/run/slow", "start")
    scripted.break_("kill", "n3/agent")
    began = now_wall()
    scripted.wait_event("agent_started", began, by="n3")
    scripted.on("n3", "touch", "/run/go")
    scripted.wait_group(name="slow", on="n3")
    assert lines(scripted, "n3", "/run/slow") == ["start"]


def test_no_room_for_a_script_is_a_failed_start_and_the_group_goes_on_elsewhere(
    scripted: ClusterUnderTest,
) -> None:
    place = "/var/lib/clusterctl/scripts"
    mount = f"mkdir -p {place} && mount -t tmpfs -o size=4k full {place}"
    scripted.on("n2", "sh", "-c", mount)
    began = now_wall()
    try:
        big = shell("true", *(["# filler"] * 5000))
        apply(scripted, "big", ["n2", "n3"], start=big)
        failed = scripted.wait_event("resource_start_failed", began, resource="big-job")
        assert "its script cannot be written" in failed["reason"]
        assert "no space left" in failed["reason"]
        scripted.wait_group(name="big", on="n3")
    finally:
        scripted.on("n2", "sh", "-c", f"umount {place}; true")


MONITOR = {
    "apiVersion": "clusterctl/v1",
    "kind": "Monitor",
    "metadata": {"name": "sick"},
    "spec": {
        "type": "custom",
        "target": "group/ill",
        "command": ["false"],
        "interval": "1s",
        "retry": 0,
        "recovery": {
            "script": shell("sleep 4343.7 & sleep 4343.7"),
            "scriptTimeout": "600s",
            "restarts": 0,
            "failovers": 0,
        },
    },
}


def test_a_wish_waits_for_a_recovery_unless_it_preempts_it(scripted: ClusterUnderTest) -> None:
    began = now_wall()
    apply(scripted, "ill", ["n2", "n3"], start=shell("true"))
    scripted.wait_group(name="ill")
    owner = scripted.owner("ill")
    path = scripted.lab.directory / "sick.yaml"
    path.write_text(json.dumps(MONITOR))
    scripted.ctl("apply", str(path))
    scripted.wait_event("recovery_started", began, monitor="sick", step="script")
    waiting = scripted.ctl("move", "ill", "--no-wait").out.strip()
    scripted.wait_event("operation_waits", began, operation=waiting)
    operation = scripted.status(f"operation/{waiting}")
    assert operation["result"] == "waits: monitor sick recovers group ill (script)"
    assert scripted.owner("ill") == owner
    scripted.ctl("move", "ill", "--preempt")
    scripted.wait_group(name="ill", not_on=owner)
    failed = scripted.wait_event("recovery_script_failed", began, monitor="sick", by=owner)
    assert "it made room for" in failed["reason"] or "left this server" in failed["reason"]
    scripted.eventually(
        lambda: scripted.on(owner, "sh", "-c", "ps -eo args | grep -c '[4]343.7'").strip() == "0",
        "the script's processes are gone",
    )
