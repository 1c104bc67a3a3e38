"""What the system page says of an authority, of room and of jobs follows from what they are."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from flask import Flask

from ops.capacity import Capacity
from ops.jobs import Job
from web.pages import figures, language

NOW = dt.datetime(2026, 11, 21, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    app = Flask(__name__)
    language.register(app)
    with app.test_request_context(headers={"Accept-Language": "en"}):
        yield


def certificate(until: dt.datetime) -> bytes:
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1).not_valid_before(until - 900 * DAY).not_valid_after(until)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def state(*, ends: int = 300, responder: int | None = 30, next_list: int | None = 1, **row: str) -> tuple[str, str]:
    """The word for an authority: ends, status signer and list in so many days."""
    facts: dict[str, Any] = {
        "id": "staff",
        "name": "Staff",
        "suite": "s",
        "spki_sha256": "0" * 64,
        "profiles": "",
        "stopped": "",
        "held": "",
    }
    signer = None if responder is None else certificate(NOW + responder * DAY)
    last = None if next_list is None else SimpleNamespace(number=1, this_update=NOW - DAY, next_update=NOW + next_list * DAY)
    shown = figures.authority(SimpleNamespace(**(facts | row), cert=certificate(NOW + ends * DAY), responder=signer), last, NOW)
    return str(shown.state.label), shown.state.look


@pytest.mark.parametrize(
    ("what", "word"),
    [
        ({}, ("Working", "good")),
        ({"responder": None, "next_list": None}, ("Working", "good")),
        ({"stopped": "signed bytes differ"}, ("Stopped", "bad")),
        ({"held": "a restore"}, ("On hold", "wait")),
        ({"next_list": 0}, ("List overdue", "bad")),
        ({"responder": -1}, ("Status signer over", "bad")),
        ({"ends": 5}, ("Ends soon", "wait")),
    ],
)
def test_an_authority_is_called_what_it_is(what: dict[str, Any], word: tuple[str, str]):
    assert state(**what) == word


@pytest.mark.parametrize(
    ("free", "look", "left"), [(10**12, "good", "years"), (10**6, "bad", "day"), (None, "good", "")], ids=["much", "little", "unknown"]
)
def test_room_that_will_not_do_for_a_month_is_said_aloud(free: int | None, look: str, left: str):
    shown = figures.room(Capacity(10**6, free, 1000, 500))
    assert (shown.state.look, left in shown.left) == (look, True)
    assert shown.used == "976.6 KiB"


def test_a_late_job_is_said_to_be_late():
    assert figures.job(Job("lists", NOW, late=True)).state.look == "bad"
    assert figures.job(Job("lists", NOW, late=False)).state.look == "good"


@pytest.mark.parametrize(("left", "word"), [(90, ("In force", "good")), (3, ("Ends soon", "wait")), (-1, ("Over", "bad"))])
def test_a_certificate_of_the_services_own_says_how_long_it_lasts(left: int, word: tuple[str, str]):
    found = x509.load_der_x509_certificate(certificate(NOW + left * DAY))
    shown = figures.certificate("staff OCSP", found, NOW)
    assert (shown.name, str(shown.state.label), shown.state.look) == ("staff OCSP", *word)
