"""Programs that do not behave: that die by themselves, or do not stop when they are asked to."""

import signal

from tests.faults import marks
from tests.faults.cluster_under_test import ClusterUnderTest, now_wall

pytestmark = marks.long


def _kill_witness(cluster: ClusterUnderTest, server: str) -> None:
    pid = cluster.last_run().pid
    cluster.on(server, "kill", f"-{signal.SIGKILL.value}", str(pid))
    cluster.eventually(lambda: cluster.last_run().pid != pid, "the witness runs again")


def test_a_program_that_dies_is_restarted_in_place_and_then_elsewhere(
    cluster: ClusterUnderTest,
) -> None:
    cluster.apply_group(group="restarts: {max: 2, window: 1h}")
    owner, epoch, began = cluster.owner(), cluster.group()["epoch"], now_wall()
    for _ in range(2):
        _kill_witness(cluster, owner)
        cluster.wait_group(on=owner)
        assert cluster.group()["epoch"] == epoch
    _kill_witness(cluster, owner)
    cluster.wait_group(not_on=owner)
    assert cluster.group()["proof"] == "released"
    assert cluster.events("fence_requested", since=began) == []
    cluster.apply_group()


def test_a_program_that_ignores_its_stop_is_killed_and_the_move_goes_on(
    cluster: ClusterUnderTest,
) -> None:
    life = cluster.last_run()
    cluster.apply_group(application='env: {WITNESS_STUBBORN: "1"}\n  stopTimeout: 5s')
    cluster.eventually(lambda: cluster.last_run().pid != life.pid, "it runs with the new spec")
    cluster.wait_group()
    owner, began = cluster.owner(), now_wall()
    cluster.ctl("move", "group/web")
    cluster.wait_group(not_on=owner)
    assert [line.event for line in cluster.history() if line.event == "refused"]
    assert cluster.events("machine_reset", "fence_requested", since=began) == []
    cluster.apply_group()
    cluster.wait_group()


CANNOT_STOP = """\
apiVersion: clusterctl/v1
kind: Group
metadata: {name: job}
spec: {servers: [n1, n2, n3]}
---
apiVersion: clusterctl/v1
kind: Resource
metadata: {name: job-step}
spec:
  group: job
  type: application
  mode: one-shot
  command: ["true"]
  stopCommand: ["false"]
  stopTimeout: 5s
"""


def test_a_server_that_can_not_stop_what_it_must_not_run_resets_itself(
    cluster: ClusterUnderTest,
) -> None:
    path = cluster.lab.directory / "job.yaml"
    path.write_text(CANNOT_STOP)
    cluster.ctl("apply", str(path))
    cluster.wait_group(name="job")
    owner, began = cluster.owner("job"), now_wall()
    boot = cluster.status(f"server/{owner}")["bootId"]
    cluster.ctl("move", "group/job", check=False)
    cluster.wait_event("machine_reset", began, by=owner)
    cluster.wait_group(name="job", not_on=owner)
    cluster.wait_new_boot(owner, boot)
