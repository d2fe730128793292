"""Types are found by their place, and a file that breaks a rule is refused by name."""

import subprocess
import sys
from types import ModuleType
from typing import Literal

import pytest

from reconciler.plugin import Registry, TypeDefinitionError, _type_of
from reconciler.resources.floating_ip import FloatingIp
from tests.resources.places import REGISTRY


def test_the_installed_types_are_found() -> None:
    assert {"application", "floating-ip"} <= set(REGISTRY.names("resource"))


def test_an_alias_means_its_type() -> None:
    assert REGISTRY.resource_model("fip") is FloatingIp
    assert REGISTRY.resource_model("floating-ip") is FloatingIp
    assert "fip" not in REGISTRY.names("resource")


def test_an_unknown_name_is_no_type() -> None:
    assert REGISTRY.resource_model("vip") is None


def test_two_types_of_one_name_are_refused() -> None:
    class Other(FloatingIp):
        """Says that it is a floating-ip, too."""

    with pytest.raises(TypeDefinitionError, match=r"'floating-ip' is used by FloatingIp and Other"):
        Registry(resources=[FloatingIp, Other])


def test_a_module_is_named_after_its_type() -> None:
    class Vip(FloatingIp):
        """Lives in a module of another name."""

        type: Literal["virtual-ip"] = "virtual-ip"  # type: ignore[assignment]

    module = ModuleType("reconciler.resources.something")
    Vip.__module__ = module.__name__
    module.Vip = Vip  # type: ignore[attr-defined]
    with pytest.raises(TypeDefinitionError, match="name the module after the type"):
        _type_of(module, FloatingIp)


def test_a_module_without_a_type_is_refused() -> None:
    with pytest.raises(TypeDefinitionError, match="must define one type"):
        _type_of(ModuleType("reconciler.resources.empty"), FloatingIp)


def test_finding_types_touches_nothing_of_the_system() -> None:
    code = (
        "import sys, socket, subprocess, os\n"
        "def no(*_, **__): raise SystemExit('a type did something on import')\n"
        "socket.socket.bind = no; subprocess.Popen.__init__ = no; os.fork = no\n"
        "from reconciler.plugin import Registry; Registry.discover()\n"
        "assert not any(m.startswith('reconciler.adapters') for m in sys.modules), 'layers'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
