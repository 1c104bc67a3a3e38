"""The authority's facts and their events, damaged one by one by somebody with every right on the database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from audit.permit import Action
from audit.record import recording
from ca import authorities, certificates, revocation
from tests.ca.town import Town
from tests.comparing import Compared, assert_damage_is_named


@pytest.fixture
def compared(town: Town) -> Iterator[Compared]:
    live(town)
    made = Compared(town.trail, town)
    yield made
    made.stranger.close()


def live(town: Town) -> None:
    """A bit of everything that can happen to requests and certificates."""
    first, second = town.issued("zhangsan"), town.issued("zhangsan")
    for action, do in ((Action.CERT_SUSPEND, revocation.suspend), (Action.CERT_RELEASE, revocation.release)):
        permit = town.permit("zhengshi", action, certificates.target(second))
        with recording(town.trail) as tx:
            do(tx, second.authority, second.serial, permit=permit)
    town.revoke("zhangsan", first)
    town.decide("zhaoliu", town.submit("zhangsan"), Action.REQUEST_REFUSE)
    moved = town.submit("wangwu")
    town.decide("zhouba", moved)
    town.move("wangwu", name="王六")
    town.submit("zhangsan")
    orphan(town)
    permit = town.service("issuance", Action.CERT_ISSUE, "request:1")
    authorities.stop(town.trail, "applications", "a test", permit=permit)


def orphan(town: Town) -> None:
    """A signature that was announced and not made."""
    signer = town.signers.get("ca/staff")

    def fail(_: bytes) -> bytes:
        raise OSError("the token was pulled out")

    town.decide("zhaoliu", town.submit("zhangsan"))
    signer.twist = fail
    town.worker().step()
    signer.twist = lambda signature: signature
    town.worker().step()


def test_whatever_is_deleted_fact_or_event_is_named(compared: Compared) -> None:
    assert_damage_is_named(compared, "ca_")
    assert_damage_is_named(compared, "authz_standing")
