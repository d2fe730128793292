"""diff tells what would happen to what runs."""

from tests.clusterctl.conftest import SPECS, FakeCluster


def test_diff_tells_which_group_would_move_or_restart(cluster: FakeCluster) -> None:
    cluster.online()
    moved = cluster.file("m.yaml", SPECS.replace("servers: [n1, n2]", "servers: [n2, n3]"))
    result = cluster.run("diff", "-f", moved)
    assert result.code == 1, result.err
    assert "effect: group/web: moves from n1 to n2" in result.out
    other = cluster.file("r.yaml", SPECS.replace("10.77.2.100/24", "10.77.2.101/24"))
    out = cluster.run("diff", "-f", other).out
    assert "effect: group/web: web-ip, web-server restarts on n1" in out


def test_diff_says_when_nothing_is_disturbed(cluster: FakeCluster) -> None:
    cluster.online()
    text = SPECS.replace("servers: [n1, n2]", "servers: [n1, n2]\n  activationRetries: 2")
    out = cluster.run("diff", "-f", cluster.file("n.yaml", text)).out
    assert "effect: nothing that runs is disturbed" in out
    same = cluster.run("diff", "-f", cluster.file("s.yaml", SPECS))
    assert same.code == 0
    assert "effect" not in same.out
