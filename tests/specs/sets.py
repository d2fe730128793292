"""A small sound set, and ways to break it: what the tests of this area begin with."""

import pytest

from specs.check import check
from specs.errors import SpecErrors, SpecProblem
from specs.load import Source, SpecSet, load
from tests.specs.catalogue import Catalogue

CLUSTER = """\
# The demo cluster.
apiVersion: clusterctl/v1
kind: Cluster
metadata: {name: demo}
spec:
  networks:
    - {name: private, cidr: 10.77.1.0/24}
    - {name: public, cidr: 10.77.2.0/24}
  timing: {profile: default}
"""

GROUP = """\
apiVersion: clusterctl/v1
kind: Group
metadata:
  name: web
spec:
  servers: [n1, n2, n3]
"""

ADDRESS = """\
apiVersion: clusterctl/v1
kind: Resource
metadata: {name: web-ip}
spec:
  group: web
  type: floating-ip
  address: 10.77.2.100/24   # what clients ask
"""

PROGRAM = """\
apiVersion: clusterctl/v1
kind: Resource
metadata: {name: web-app}
spec:
  group: web
  type: application
  command: [python3, -m, http.server]
  dependsOn: [web-ip]
"""


def server(number: int) -> str:
    return f"""\
apiVersion: clusterctl/v1
kind: Server
metadata: {{name: n{number}}}
spec:
  addresses: {{private: 10.77.1.{10 + number}, public: 10.77.2.{10 + number}}}
  fencing:
    levels:
      - {{type: ipmi, address: 10.77.3.{10 + number}, passwordFrom: {{file: /etc/secret}}}}
"""


SOUND = (CLUSTER, server(1), server(2), server(3), GROUP, ADDRESS, PROGRAM)


def joined(*documents: str) -> str:
    return "---\n".join(documents)


def loaded(*documents: str, file: str = "web.yaml") -> SpecSet:
    return load([Source(file, joined(*documents).encode())], Catalogue())


def replaced(old: str, new: str) -> tuple[str, ...]:
    """The sound set with one text replaced; the text must be there."""
    changed = tuple(document.replace(old, new) for document in SOUND)
    assert changed != SOUND, f"{old!r} is not in the set"
    return changed


def refused(text: str | bytes, file: str = "web.yaml") -> tuple[SpecProblem, ...]:
    """The problems for which the text is refused by the loader."""
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(SpecErrors) as caught:
        load([Source(file, data)], Catalogue())
    return caught.value.problems


def checked(*documents: str) -> list[SpecProblem]:
    return check(loaded(*documents), Catalogue())


def only(problems: "list[SpecProblem] | tuple[SpecProblem, ...]") -> SpecProblem:
    """The one problem there is."""
    assert len(problems) == 1, "\n".join(str(problem) for problem in problems)
    return problems[0]
