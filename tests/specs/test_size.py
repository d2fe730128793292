"""A set of two thousand objects is loaded, checked and compared as a whole."""

from specs.check import check
from specs.diff import diff
from specs.load import Source, load
from tests.specs.catalogue import Catalogue
from tests.specs.sets import ADDRESS, CLUSTER, GROUP, PROGRAM, joined, server


def large_set() -> list[Source]:
    """3 servers and 665 groups with an address and a program each: 1,999 objects."""
    wide = CLUSTER.replace("10.77.2.0/24", "10.80.0.0/16")
    servers = [server(n).replace("10.77.2.", "10.80.0.") for n in (1, 2, 3)]
    sources = [Source("base.yaml", joined(wide, *servers).encode())]
    for number in range(665):
        address = f"10.80.{1 + number // 250}.{1 + number % 250}/16"
        text = joined(GROUP, ADDRESS.replace("10.77.2.100/24", address), PROGRAM)
        for word in ("web-ip", "web-app", "name: web", "group: web"):
            text = text.replace(f"{word}\n", f"{word}{number}\n")
        text = text.replace("web-ip}", f"web-ip{number}}}").replace("web-ip]", f"web-ip{number}]")
        text = text.replace("web-app}", f"web-app{number}}}")
        sources.append(Source(f"{number}.yaml", text.encode()))
    return sources


def test_two_thousand_objects_are_one_set() -> None:
    sources = large_set()
    specs = load(sources, Catalogue())
    assert len(specs.objects) == 1999
    assert check(specs, Catalogue()) == []
    assert diff(specs, load(list(reversed(sources)), Catalogue())) == ()


def test_a_fault_in_each_of_many_objects_is_reported_for_each() -> None:
    sources = [
        Source(source.name, source.text.replace(b"10.80.", b"10.81.") if number else source.text)
        for number, source in enumerate(large_set()[:51])
    ]
    problems = check(load(sources, Catalogue()), Catalogue())
    assert [problem.code for problem in problems] == ["E0304"] * 50
    assert len({problem.file for problem in problems}) == 50
