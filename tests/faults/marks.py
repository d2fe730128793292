"""Marks of the fault tests: `bounded` ones are part of `make test`, `long` ones are not."""

import pytest

from tests.integration.lab_under_test import needs_lab

TIMEOUT_S = 170

bounded = [*needs_lab, pytest.mark.faults]
long = [*needs_lab, pytest.mark.faults, pytest.mark.long]
