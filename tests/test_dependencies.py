"""What is declared is used, what is used is declared, and each has its reason on a page."""

import ast
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("specs", "reconciler", "clusterctl")
# Import names that differ from the package's name, and parts of a package that pins them.
NAMES = {"grpc": "grpcio", "pyipmi": "python-ipmi", "ruamel": "ruamel.yaml"}
PARTS = {"pydantic_core": "pydantic"}

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def package_names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=\[; ]", text, maxsplit=1)[0] for text in requirements}


def imported() -> set[str]:
    found: set[str] = set()
    for path in (file for name in PACKAGES for file in (ROOT / name).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    foreign = found - set(sys.stdlib_module_names) - set(PACKAGES)
    return {PARTS.get(name, NAMES.get(name, name)) for name in foreign}


def explained() -> set[str]:
    """Names in the first cell of the page's tables, up to those that are not used."""
    page = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
    used = page.partition("## Not used")[0]
    cells = re.findall(r"^\| (`[^|]*`) \|", used, flags=re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_imports_are_exactly_the_declared_packages() -> None:
    assert imported() == package_names(PROJECT["dependencies"])


def test_each_python_package_has_its_reason() -> None:
    development = package_names(PROJECT["optional-dependencies"]["dev"])
    assert package_names(PROJECT["dependencies"]) | development <= explained()


def test_each_debian_package_has_its_reason() -> None:
    script = (ROOT / "packaging/tools/setup.sh").read_text(encoding="utf-8")
    pairs = re.findall(r"for pair in (.*); do", script)
    packages = {pair.partition(":")[2] for line in pairs for pair in line.split()}
    assert packages, "the script no longer lists program:package pairs"
    assert packages <= explained()
