"""The hierarchies of `hierarchy.py` as fixtures."""

import datetime as dt

import pytest

from certs.suites import SUITES
from tests.certs.hierarchy import NOW, House, house_of


@pytest.fixture
def now() -> dt.datetime:
    return NOW


# RSA keys take seconds to make.
_PARAMS = [pytest.param(name, marks=pytest.mark.slow if name.startswith("rsa") else ()) for name in SUITES]


@pytest.fixture(params=_PARAMS, scope="session")
def every_house(request) -> House:
    """The hierarchy in each suite in turn."""
    return house_of(request.param)


@pytest.fixture(scope="session")
def house() -> House:
    """The hierarchy in the default suite."""
    return house_of("ecdsa-p256-sha256")
