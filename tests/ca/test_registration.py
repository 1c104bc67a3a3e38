from __future__ import annotations

import pytest

from audit.permit import Action
from ca import registration
from ca.states import RequestState
from core.errors import Conflict, Denied
from tests.ca.town import Town


def test_a_request_is_approved_by_a_registrar_of_the_unit_and_issued(town: Town) -> None:
    certificate = town.issued()
    request = town.request(1)
    assert request.state == RequestState.ISSUED
    assert certificate.common_name == "张三"
    assert [event["act"] for event in town.events("obj:request:1")] == ["request.submitted", "request.approved"]


def test_nobody_approves_a_request_of_their_own(town: Town) -> None:
    request_id = town.submit("zhaoliu")
    with pytest.raises(Denied) as refusal:
        town.decide("zhaoliu", request_id)
    assert refusal.value.facts["reason"] == "own-request"
    assert town.request(request_id).state == RequestState.SUBMITTED
