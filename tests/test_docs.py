"""The pages say what is so: links lead somewhere, commands exist, tables match the code."""

import inspect
import re
from pathlib import Path

import pytest

from clusterctl.app import COMMANDS
from reconciler.decide import expiry
from reconciler.decide.keys import Keys
from reconciler.decide.records import Ownership
from reconciler.events import CATALOGUE
from specs.cluster import PROFILES, Timing
from specs.load import Source, load
from specs.timing_rules import timing_sums
from tests.resources.places import REGISTRY

ROOT = Path(__file__).parents[1]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CHANGELOG.md"]
WRITTEN = [page for page in PAGES if page.name != "cli.md"]  # that one is made of the commands
WORDS = {word for words in COMMANDS.values() for word in words}


def text_of(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_commands_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"(?:^|[`/])clusterctl ([a-z]+)", text, flags=re.MULTILINE)
    assert set(named) <= WORDS


def test_advice_of_events_names_commands_that_exist() -> None:
    named = {w for e in CATALOGUE.values() for w in re.findall(r"clusterctl ([a-z]+)", e.advice)}
    assert named <= WORDS


def keys_by_the_code() -> set[str]:
    """`run/sessions/<server>` of `Keys.session(server)`; prefixes left out."""
    keys = Keys("demo")
    found: set[str] = set()
    for name, member in inspect.getmembers(Keys):
        if isinstance(member, property):
            found.add(str(getattr(keys, name)))
        elif inspect.isfunction(member) and not name.startswith("_") and name != "parse":
            parameters = list(inspect.signature(member).parameters.values())[1:]
            values = [7 if p.annotation is int else f"<{p.name}>" for p in parameters]
            key = str(member(keys, *values))
            found.add(key.replace("000000000007", "<number>"))
    return {key.removeprefix(keys.root) for key in found if not key.endswith("/")}


def test_the_table_of_keys_is_the_code() -> None:
    row = r"^\| `((?:spec|run|status|events|tokens)/[^`]*)` \|"
    rows = re.findall(row, text_of("docs/concepts.md"), re.MULTILINE)
    assert set(rows) == keys_by_the_code()
    assert len(rows) == len(set(rows))


def profile_row(name: str, timing: Timing) -> str:
    def ms(seconds: float) -> str:
        return f"{seconds * 1000:g}ms"

    return (
        f"| `{name}` | {ms(timing.heartbeat_interval)} x {timing.heartbeat_misses} "
        f"| {ms(timing.challenge_timeout)} "
        f"| {timing.etcd_heartbeat_ms}ms, {timing.etcd_election_ms}ms "
        f"| {timing.session_ttl:g}s, {timing.session_renewal:g}s | {timing.dead_man:g}s |"
    )


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_the_table_of_profiles_is_the_code(profile: str) -> None:
    assert profile_row(profile, PROFILES[profile]) in text_of("docs/safety.md")


def test_the_sums_that_are_shown_are_those_that_are_checked() -> None:
    page = text_of("docs/safety.md")
    assert [line for line in timing_sums(PROFILES["default"]) if line not in page] == []
    longer = timing_sums(PROFILES["default"], watchdog=1.0)[1]
    assert re.findall(r"= ([\d.]+s) <=.* = (\d+s)$", longer) == [("8.7s", "9s")]
    assert "8.7s <= 9s" in page
    owned = Ownership(
        group="web", epoch=1, owner="n1", on_store_loss="stop", dead_man_s=6.0, watchdog_s=1.0
    )
    assert f"D 6s, W 1s: {expiry.wait_s(owned):.1f}s" in page


def test_what_shows_a_row_of_safety_exists() -> None:
    """Tests, stories of the simulator, golden decisions."""
    rows = [row for row in text_of("docs/safety.md").splitlines() if row.count("|") == 5]
    named = {name for row in rows for name in re.findall(r"`([a-z_]+)`", row.split("|")[4])}
    tests = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "tests").rglob("*.py"))
    known = set(re.findall(r"def ([a-z_]+)\(", tests))
    known |= {page.stem for page in (ROOT / "tests/decide/golden").glob("*.yaml")}
    assert len(named) > 50
    assert named - known == set()


def test_the_first_yaml_is_valid() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", text_of("README.md"), re.DOTALL)
    specs = load([Source("README.md", block.encode())], REGISTRY)
    assert set(specs.resources) == {"hello-address", "hello-server"}
    assert {resource.spec.group for resource in specs.resources.values()} == set(specs.groups)


def test_every_table_row_has_the_columns_of_its_header() -> None:
    for page in PAGES:
        for table in re.findall(r"(?:^\|.*\n)+", page.read_text(encoding="utf-8"), re.MULTILINE):
            columns = {len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}
            assert len(columns) == 1, f"{page.name}: {table.splitlines()[0]}"


def test_the_tree_of_architecture_is_the_tree() -> None:
    page = text_of("docs/architecture.md")
    tree = page.partition("```text\nspecs/")[2].partition("```")[0]
    missing = []
    folder = ""
    for line in f"specs/{tree}".splitlines():
        names = re.match(r"(?:  )?((?:[a-z_]+(?:/[a-zA-Z_-]*)*(?:\.py)? )+)", f"{line} ")
        if names is None or line.startswith("   "):
            continue
        for name in names.group(1).split():
            if not line.startswith(" "):
                folder = name
            path = name if name == folder else f"{folder}{name}"
            missing += [] if (ROOT / path.replace("NN-topic/", "")).exists() else [path]
    assert missing == []
    packages = [
        p.parent for top in ("reconciler", "clusterctl") for p in (ROOT / top).glob("*/__init__.py")
    ]
    assert [p.name for p in packages if f"{p.name}/" not in tree] == []
    tests = [p.name for p in (ROOT / "tests").iterdir() if (p / "__init__.py").exists()]
    assert [name for name in tests if f"`tests/{name}`" not in page] == []
