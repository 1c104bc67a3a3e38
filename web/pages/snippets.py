"""What an application's people copy for their first decision, with the application's own names filled in. Tests run each."""

from __future__ import annotations

import datetime as dt
import json
import re
import shlex
from functools import cache
from itertools import islice
from pathlib import Path
from textwrap import indent
from typing import NamedTuple
from urllib.parse import urlsplit

from authz.evaluate import Verdict
from authz.people import Person
from authz.simulate import Simulation, simulate
from authz.snapshot import Application, Snapshot
from web import door

_DEPLOY = Path(__file__).parents[2] / "deploy" / "nginx"
#: The lines with which the example shows a certificate; a key is there in a minute.
_BY_CERTIFICATE = re.compile(r" +proxy_ssl_certificate +\S+;\n +proxy_ssl_certificate_key +\S+;\n")

#: How many persons are tried until one is allowed something.
_TRIED = 100


class First(NamedTuple):
    """The question that is asked first, and what is answered now."""

    subject: str
    action: str
    type: str
    resource: str
    verdict: Verdict


def first(snapshot: Snapshot, application: Application, person: Person, now: dt.datetime) -> First | None:
    """A question that is allowed if one is found soon, about `person` rather than others; nothing when there is nothing to ask about."""
    pairs = sorted({(key[1], key[2]) for key in snapshot.permits if key[0] == application.id})
    pairs = pairs or [(min(application.actions), min(application.types))] if application.actions and application.types else []
    people = (person, *islice(snapshot.directory.by_uid.values(), _TRIED))
    found = (_asked(snapshot, application, one, pair, now) for one in people for pair in pairs)
    denied = next(found, None)
    return denied if denied is None or denied.verdict.allowed else next((one for one in found if one.verdict.allowed), denied)


def curl(asked: First) -> str:
    """The command that asks it."""
    body = {
        "subject": {"type": "user", "id": asked.subject},
        "action": {"name": asked.action},
        "resource": {"type": asked.type, "id": asked.resource},
    }
    return (
        f"curl --cacert root.pem {shlex.quote(_base() + '/access/v1/evaluation')} \\\n"
        '  -H "Authorization: Bearer $YUMEN_KEY" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        f"  -d {shlex.quote(json.dumps(body, ensure_ascii=False))}\n"
    )


def export(key: str) -> str:
    """The command that puts the key where the others take it from."""
    return f"export YUMEN_KEY={key or 'yk_…'}\n"


def key_file(application: Application) -> str:
    """The command that puts the key where nginx takes it from."""
    path = f"/etc/nginx/{application.id}/key.conf"
    return f'(umask 077; printf \'proxy_set_header Authorization "Bearer %s";\\n\' "$YUMEN_KEY" > {path})\n'


def nginx(application: Application) -> str:
    """One file for the application's nginx: the example of `deploy/nginx` with this service's address, the key instead of a certificate."""
    where = urlsplit(_base())
    text = _example().replace("yumen.example.cn:443", f"{where.hostname}:{where.port or 443}")
    text = text.replace("yumen.example.cn", where.hostname or "").replace("oa.example.cn", f"{application.id}.example.cn")
    return text.replace("/etc/nginx/oa/", f"/etc/nginx/{application.id}/")


@cache
def _example() -> str:
    gated = "".join(line for line in (_DEPLOY / "oa" / "gated.conf").read_text("utf-8").splitlines(keepends=True) if line[0] != "#")
    text = (_DEPLOY / "gate-example.conf").read_text("utf-8").partition("\n\n")[2]
    text = _BY_CERTIFICATE.sub("        include /etc/nginx/oa/key.conf;\n", text)
    return text.replace("        include oa/gated.conf;\n", indent(gated, "        "))


def _asked(snapshot: Snapshot, application: Application, person: Person, pair: tuple[str, str], now: dt.datetime) -> First:
    action, kind = pair
    resource = min(snapshot.resources.get((application.id, kind), ()), default="example-1")
    question = Simulation(application=application, action=action, type=kind, resource=resource)
    return First(person.uid, action, kind, resource, simulate(snapshot, question, person, now).now)


def _base() -> str:
    return door.node().settings.web.https_url.rstrip("/")
