"""What rows look like to people: plain values for the templates, in the reader's language. Decides nothing."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID
from flask import url_for
from flask_babel import format_number
from flask_babel import gettext as _

from ca import registration
from ca.subjects import Facts, find_facts
from certs.profiles import PROFILES
from web import door
from web.pages import language, lifeline, words

OPEN = frozenset({"submitted", "approved", "issuing"})

#: Pseudonyms, serial numbers and the like, and as much of them as a list shows.
_LONG = re.compile(r"((?:p_)?[0-9a-f]{8})[0-9a-f]{16,}")


@dataclass(frozen=True, slots=True)
class Moment:
    """One step in the life of a request."""

    at: dt.datetime
    label: str
    note: str = ""


def unit(id: str) -> str:  # noqa: A002 - the standard's word
    """Name of the unit with this id."""
    return language.named(door.node().world.current().directory.units.get(id))


def person(pseudonym: str) -> str:
    """Name of the person whom rows call `pseudonym`, else the pseudonym."""
    return language.named(door.node().world.current().directory.by_id.get(pseudonym)) or pseudonym


def status(row: Any) -> words.Word:
    """Valid, suspended, revoked or expired."""
    standing = str(row.standing)
    expired = standing == "valid" and row.not_after <= door.node().clock()
    return words.mark(words.CERTIFICATE, "expired" if expired else standing)


def can_end(row: Any) -> bool:
    """Whether there is anything left to revoke."""
    return str(row.standing) != "revoked" and bool(row.not_after > door.node().clock())


def certificate(row: Any) -> SimpleNamespace:
    """A certificate as its pages show it."""
    revocation, state = row.revocation, status(row)
    return SimpleNamespace(
        holder=row.common_name,
        unit=unit(row.unit),
        purpose=words.say(words.PROFILE, row.profile),
        status=state,
        line=lifeline.of(row, state),
        renewable=registration.is_renewable(row, door.node().clock()),
        validity=_("%(first)s to %(last)s", first=language.day(row.not_before), last=language.day(row.not_after)),
        serial=row.serial,
        authority=_issuer(row.der),
        issued_at=row.issued_at,
        not_after=row.not_after,
        fingerprint=hashlib.sha256(row.der).hexdigest(),
        revoked_at=revocation.at if revocation and str(row.standing) != "valid" else None,
        reason=words.say(words.REASON, revocation.reason) if revocation else "",
        request_id=row.request_id,
    )


def _issuer(der: bytes) -> str:
    """The name of the authority that signed, as the certificate says it."""
    named = x509.load_der_x509_certificate(der).issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(named[0].value) if named else ""


def passes(rows: Iterable[Any]) -> list[SimpleNamespace]:
    """Certificates, those still good first; one that has been renewed is not offered for renewal again."""
    shown, renewed = [], set[tuple[str, str]]()
    for row in sorted(rows, key=lambda row: row.not_after, reverse=True):
        one, whose = certificate(row), (row.subject, row.profile)
        one.renewable = one.renewable and whose not in renewed
        if one.status.look == "good":
            renewed.add(whose)
        shown.append(one)
    return sorted(shown, key=lambda one: one.status.look != "good")


def request(row: Any) -> SimpleNamespace:
    """A request as its pages show it."""
    return SimpleNamespace(
        id=row.id,
        holder=row.common_name,
        unit=unit(row.unit),
        purpose=words.say(words.PROFILE, row.profile),
        submitted_at=row.submitted_at,
        waiting=door.node().clock() - row.submitted_at,
        state=words.mark(words.REQUEST, row.state),
        stored_state=row.state,
        open=row.state in OPEN,
        reasons=[words.say(words.REASON, reason) for reason in row.reasons.split()],
        key_id=row.spki_sha256,
        life=life(row),
    )


def life(row: Any) -> list[Moment]:
    """What happened to a request, in order."""
    moments = [Moment(row.submitted_at, _("Asked"))]
    moments += [Moment(one.at, _word_of(one), one.comment) for one in row.approvals]
    if row.certificate:
        moments.append(Moment(row.certificate.issued_at, _("Issued")))
    return moments


def _word_of(approval: Any) -> str:
    if approval.approver.startswith("cert:"):
        return str(_("Vouched for by the certificate before it"))
    said = {"approve": _("Approved by %(name)s"), "refuse": _("Refused by %(name)s")}
    return str(said[approval.word]).replace("%(name)s", person(approval.approver))


def comparison(row: Any) -> list[SimpleNamespace]:
    """Each fact as it was when asked, beside what the directory says now."""
    asked, now = Facts.decode(row.facts), find_facts(door.node().world.current(), row.subject)
    labels: Mapping[str, str] = {
        "common_name": _("Name"),
        "unit_names": _("Unit"),
        "mail": _("E-mail"),
        "names": _("Addresses"),
        "organisation": _("Organisation"),
    }
    rows = [(label, _text(asked, field), _text(now, field)) for field, label in labels.items()]
    return [SimpleNamespace(label=label, asked=old, now=new, same=old == new) for label, old, new in rows if old or new]


def _text(facts: Facts | None, field: str) -> str:
    if facts is None:
        return str(_("no longer there"))
    value = getattr(facts, field)
    return str(value) if isinstance(value, str) else " / ".join(value)


def offered(facts: Facts, profile: str) -> SimpleNamespace:
    """What a certificate of `profile` would say of the person."""
    lifetime = language.ago(PROFILES[profile].lifetime)
    return SimpleNamespace(name=facts.common_name, unit=" / ".join(facts.unit_names), mail=facts.mail, lifetime=lifetime)


def renewal(row: Any) -> SimpleNamespace:
    """What a renewal of the certificate in `row` would be, and whether the one who asks vouches for it by showing that certificate."""
    shown = door.caller().actor.serial == row.serial
    waits = _("You signed in without this certificate, so your registrar looks at the request. Who signs in with it need not wait.")
    at_once = _("You signed in with this certificate, so the new one is there in a few seconds.")
    return SimpleNamespace(
        holder=row.common_name, unit=unit(row.unit), ends=language.day(row.not_after), what_happens=at_once if shown else waits
    )


def handed(person: Any, code: str) -> SimpleNamespace:
    """A code that was just made, as the registrar reads it."""
    until = door.node().clock() + door.node().settings.authz.enrolment_code_lifetime
    return SimpleNamespace(name=language.named(person), unit=unit(person.unit), code=code, until=until)


def entry(row: Any, proof: str = "") -> SimpleNamespace:
    """An entry of the trail as its pages show it."""
    body = row.body
    actor = body.get("actor", {})
    at = {"log": row.log, "epoch": row.epoch, "idx": row.idx}
    return SimpleNamespace(
        at=row.at,
        url=url_for("trail.event", **at),
        proof_url=url_for("trail.proof", **at),
        kind=words.kind(row.kind, body.get("code", "")),
        code=body.get("code", ""),
        place=f"{row.place} · {row.idx}",
        actor=":".join(filter(None, (actor.get("k", ""), actor.get("id", "")))),
        authentication=words.say(words.AUTHENTICATION, actor.get("auth", "none")),
        roles=words.roles(actor.get("roles", ())),
        by=person(actor.get("id", "")),
        by_short=_short(":".join(filter(None, (actor.get("k", ""), actor.get("id", ""))))),
        object_short=_short(str(body.get("obj", ""))),
        object=body.get("obj", ""),
        outcome=words.mark(words.OUTCOME, body.get("out", "")),
        reason=words.say(words.REASON, body.get("rsn", "")),
        rule=body.get("pol", {}).get("rule", ""),
        request_id=body.get("req", ""),
        leaf=row.leaf,
        body=row.raw.decode(),
        proof=proof,
    )


def _short(stored: str) -> str:
    """Pseudonyms and serial numbers cut to what tells them apart at a glance."""
    return _LONG.sub(r"\1…", stored)


def head(log: Any) -> SimpleNamespace:
    """A log's name and size."""
    return SimpleNamespace(origin=log.origin, size=format_number(log.head().size))


def verdict(log: Any) -> SimpleNamespace:
    """What checking a log has found."""
    word = words.Word(_("Broken"), "bad") if log.problem else words.Word(_("Whole"), "good")
    return SimpleNamespace(origin=log.origin, size=format_number(log.size), root=log.root, key=log.key, problem=log.problem, verdict=word)
