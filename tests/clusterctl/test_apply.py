"""apply, diff, delete, history, rollback: everything at once, or nothing at all."""

import json

import pytest

from reconciler.decide.records import Ownership, Wanted
from tests.clusterctl.conftest import KEYS, SPECS, WALL, FakeCluster

WEB = "apiVersion: clusterctl/v1\nkind: Group\nmetadata: {name: web}\nspec: {servers: [n2, n1]}\n"
NEW = "apiVersion: clusterctl/v1\nkind: Group\nmetadata: {name: db}\nspec: {servers: [n1]}\n"


def test_apply_says_what_it_did_and_the_revision(cluster: FakeCluster) -> None:
    result = cluster.run("apply", "-f", cluster.file("specs.yaml", SPECS))
    assert result.code == 0
    lines = result.out.splitlines()
    assert "group/web created" in lines
    assert lines[-1] == "r1"
    assert "timing:" in result.err


def test_apply_again_changes_nothing(cluster: FakeCluster) -> None:
    result = cluster.applied().run("apply", "-f", cluster.file("specs.yaml", SPECS))
    assert (result.code, result.out.splitlines()[-1]) == (0, "r1")
    assert "group/web unchanged" in result.out


def test_apply_of_one_changed_object(cluster: FakeCluster) -> None:
    result = cluster.applied().run("apply", "-f", cluster.file("web.yaml", WEB), "-o", "json")
    shown = json.loads(result.out)
    assert shown["revision"] == 2
    assert shown["objects"] == [{"object": "group/web", "change": "configured"}]


def test_apply_reads_stdin(cluster: FakeCluster) -> None:
    assert cluster.run("apply", "-f", "-", stdin=SPECS.encode()).code == 0


def test_dry_run_changes_nothing(cluster: FakeCluster) -> None:
    result = cluster.run("apply", "-f", cluster.file("specs.yaml", SPECS), "--dry-run")
    assert result.code == 0
    assert cluster.records(KEYS.spec) == {}


def test_every_error_is_shown_at_once_with_its_place(cluster: FakeCluster) -> None:
    text = SPECS.replace("address: 10.77.2.100/24", "adress: 10.77.2.100/24")
    text = text.replace("servers: [n1, n2]", "servers: 7")
    result = cluster.run("apply", "-f", cluster.file("bad.yaml", text))
    assert result.code == 2
    assert result.out == ""
    assert "did you mean 'address'" in result.err
    places = [line for line in result.err.splitlines() if "bad.yaml:" in line]
    assert len(places) >= 2
    assert cluster.records(KEYS.spec) == {}


def test_cross_object_errors_look_at_the_resulting_set(cluster: FakeCluster) -> None:
    cluster.applied()
    result = cluster.run("apply", "-f", cluster.file("web.yaml", WEB.replace("n2", "n9")))
    assert result.code == 2
    assert "n9" in result.err
    assert "web.yaml:" in result.err
    assert cluster.run("history", "-o", "json").out.count("revision") == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("malformed.yaml", b"kind: [unclosed"),
        ("binary.yaml", bytes(range(256)) * 8),
        ("types.yaml", WEB.replace("[n2, n1]", "{a: 1}").encode()),
        ("kind.yaml", WEB.replace("Group", "Grup").encode()),
        ("twice.yaml", f"{WEB}---\n{WEB}".encode()),
        ("keys.yaml", b"a: 1\na: 2\n"),
        ("empty.yaml", b""),
        ("scalar.yaml", b"just text\n"),
        ("big.yaml", b"# " + b"x" * (10 << 20)),
        (
            "bomb.yaml",
            b"a: &a [x,x,x,x,x,x,x,x,x]\n"
            + b"".join(
                f"{c}: &{c} [{','.join([f'*{p}'] * 9)}]\n".encode()
                for p, c in zip("abcdefgh", "bcdefghi", strict=True)
            ),
        ),
        (
            "cycle.yaml",
            SPECS.replace("type: floating-ip", "type: floating-ip, dependsOn: [web-server]")
            .replace("command:", "dependsOn: [web-ip], command:")
            .encode(),
        ),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_message_and_nothing_applied(
    cluster: FakeCluster, name: str, content: bytes
) -> None:
    result = cluster.run("apply", "-f", cluster.file(name, content))
    assert result.code == 2, result.err
    assert "Traceback" not in result.err
    assert "internal error" not in result.err
    assert name in result.err
    assert cluster.records(KEYS.root) == {}


def test_a_missing_file_is_a_sentence(cluster: FakeCluster) -> None:
    result = cluster.run("apply", "-f", "no-such-file.yaml")
    assert (result.code, result.out) == (2, "")
    assert "no-such-file.yaml" in result.err


def test_an_object_of_another_source_is_a_conflict(cluster: FakeCluster) -> None:
    cluster.applied()
    path = cluster.file("web.yaml", WEB)
    result = cluster.run("apply", "-f", path, "--source", "gitops")
    assert result.code == 4
    assert "group/web is owned by source 'cli', you apply as 'gitops'" in result.err
    assert "--force-conflicts" in result.err
    assert cluster.run("apply", "-f", path, "--source", "gitops", "--dry-run").code == 4
    assert cluster.run("apply", "-f", path, "--source", "gitops", "--force-conflicts").code == 0
    assert cluster.run("apply", "-f", path).code == 0  # the same text is no conflict


def test_prune_removes_only_objects_of_this_source_and_not_half_of_all(
    cluster: FakeCluster,
) -> None:
    cluster.applied()
    extra = cluster.file("extra.yaml", NEW)
    assert cluster.run("apply", "-f", extra, "--source", "other").code == 0
    again = cluster.file("specs.yaml", SPECS)
    assert cluster.run("apply", "-f", again, "--prune").code == 0
    assert cluster.run("get", "group/db", "-o", "name").code == 0
    kept = SPECS.split("---\n")
    few = cluster.file("few.yaml", "---\n".join(kept[:2]))
    result = cluster.run("apply", "-f", few, "--prune", "--source", "cli")
    assert result.code == 5
    assert "5 of 8 objects would go" in result.err
    one_less = cluster.file("less.yaml", "---\n".join(kept[:-1]))
    result = cluster.run("apply", "-f", one_less, "--prune")
    assert result.code == 0
    assert "resource/web-server pruned" in result.out


def test_prune_of_a_running_group_is_refused(cluster: FakeCluster) -> None:
    cluster.online()
    documents = SPECS.split("---\n")
    path = cluster.file("no-web.yaml", "---\n".join(documents[:4]))
    result = cluster.run("apply", "-f", path, "--prune", "--yes")
    assert result.code == 5
    assert "group/web is online on n1" in result.err
    assert "clusterctl stop group/web" in result.err


def test_a_running_resource_does_not_change_its_group(cluster: FakeCluster) -> None:
    """The other group may run on another server: both would run it for a while."""
    cluster.online()
    assert cluster.run("apply", "-f", cluster.file("new.yaml", NEW)).code == 0
    documents = SPECS.split("---\n")
    moved = next(d for d in documents if "name: web-ip" in d).replace("group: web", "group: db")
    result = cluster.run("apply", "-f", cluster.file("moved.yaml", moved))
    assert result.code == 5
    assert "resource/web-ip is active on n1" in result.err
    assert "clusterctl stop resource/web-ip" in result.err


def test_diff_tells_by_its_exit_code(cluster: FakeCluster) -> None:
    cluster.applied()
    same = cluster.run("diff", "-f", cluster.file("specs.yaml", "# moved\n" + SPECS))
    assert (same.code, same.out) == (0, "0 objects differ, 7 equal\n")
    other = cluster.run("diff", "-f", cluster.file("web.yaml", WEB + "---\n" + NEW))
    assert other.code == 1
    assert "+ group/db" in other.out
    assert "~ group/web" in other.out
    assert "spec.servers" in other.out
    assert cluster.run("diff", "-f", cluster.file("bad.yaml", "kind: Nope")).code == 2
    assert cluster.run("diff").code == 2


def test_diff_as_json(cluster: FakeCluster) -> None:
    cluster.applied()
    result = cluster.run("diff", "-f", cluster.file("web.yaml", WEB), "-o", "json")
    change = json.loads(result.out)[0]
    assert change["object"] == "group/web"
    assert change["change"] == "changed"
    assert change["fields"][0]["old"] == ["n1", "n2"]


def test_delete_is_refused_while_others_refer_to_it(cluster: FakeCluster) -> None:
    result = cluster.applied().run("delete", "group/web")
    assert result.code == 5
    assert "web-ip" in result.err


def test_delete_is_refused_while_it_runs(cluster: FakeCluster) -> None:
    result = cluster.online().run("delete", "resource/web-ip")
    assert result.code == 5
    assert "resource/web-ip is active on n1" in result.err
    assert "next: clusterctl stop resource/web-ip" in result.err
    assert cluster.run("delete", "server/n3").code == 5


def test_delete_of_a_stopped_group(cluster: FakeCluster) -> None:
    cluster.applied()
    cluster.run("apply", "-f", cluster.file("db.yaml", NEW))
    cluster.put(
        KEYS.group("db"), Ownership(group="db", epoch=1, owner="n1", boot_id="x", since_wall=WALL)
    )
    assert cluster.run("delete", "group/db").code == 5
    cluster.put(KEYS.group("db"), Ownership(group="db", epoch=1, wanted=Wanted.OFFLINE))
    result = cluster.run("delete", "group/db")
    assert (result.code, result.out) == (0, "group/db deleted\nr3\n")
    assert cluster.run("delete", "group/db").code == 2


def test_history_and_rollback(cluster: FakeCluster) -> None:
    cluster.applied()
    cluster.run("apply", "-f", cluster.file("web.yaml", WEB), "--message", "other order")
    history = json.loads(cluster.run("history", "-o", "json").out)
    assert [item["revision"] for item in history] == [2, 1]
    assert history[0]["message"] == "other order"
    assert "r2 *" in cluster.run("history").out
    planned = cluster.run("rollback", "--to", "1", "--dry-run")
    assert "spec.servers" in planned.out
    result = cluster.run("rollback", "--to", "r1")
    assert (result.code, result.out.splitlines()[-1]) == (0, "r3 (as r1)")
    assert "servers: [n1, n2]" in cluster.run("get", "group/web", "-o", "yaml").out
    assert cluster.run("rollback", "--to", "77").code == 2


def test_get_yaml_gives_back_every_byte(cluster: FakeCluster) -> None:
    cluster.applied()
    text = cluster.run("get", "group/web", "-o", "yaml").out
    assert "metadata: {name: web}   # the shop\n" in text
    servers = cluster.run("get", "servers", "-o", "yaml").out
    again = cluster.run("diff", "-f", cluster.file("again.yaml", servers))
    assert again.code == 0
