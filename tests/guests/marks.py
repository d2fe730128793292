"""What every test of this folder is marked with: long, and not to be ended after a minute."""

import pytest

guest_test = [pytest.mark.guest, pytest.mark.long, pytest.mark.timeout(900)]
