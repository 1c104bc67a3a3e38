"""What surrounds every page: who is signed in, where they may go, the language switch, and the header fields that fence it in."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import segno
from flask import Flask, Response, request, url_for
from flask.globals import request_ctx
from flask_babel import lazy_gettext as _l
from markupsafe import Markup

from authz.people import ROLES
from web import door
from web.pages import language

if TYPE_CHECKING:
    from ops.node import Node

#: No inline script or style, nothing from elsewhere, no frames. Bootstrap draws its arrows with `data:` pictures.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)

#: Where each role works: endpoint, label, roles. Later ones are more particular.
PLACES = (
    ("staff.home", _l("My certificates"), frozenset(ROLES)),
    ("desk.queue", _l("Desk"), frozenset({"registrar"})),
    ("trail.events", _l("Trail"), frozenset({"auditor"})),
    ("applications.listing", _l("Applications"), frozenset({"app-owner", "security-admin", "system-admin"})),
    ("security.overview", _l("Security"), frozenset({"security-admin"})),
    ("system.overview", _l("System"), frozenset({"system-admin"})),
)

#: Parts that stand within a place of another name.
_WITHIN = {"enrolment": "staff", "grants": "applications"}


@dataclass(frozen=True, slots=True)
class Place:
    """One entry of the main navigation."""

    url: str
    label: str
    current: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What `base.html` needs besides the content."""

    html_lang: str
    other_language: str
    other_html_lang: str
    other_language_url: str
    name: str
    unit: str
    places: tuple[Place, ...]
    endpoint: str
    demo: bool
    origin: str


def register(app: Flask, node: Node) -> None:
    """Give every template of `app` its frame, and every page its fences."""
    app.context_processor(lambda: {"page": frame(node)})
    app.after_request(fence)


def frame(node: Node) -> Frame:
    """The frame of the page that is being made."""
    now = language.current()
    other = "en" if now == "zh" else "zh"
    person = door.caller().person
    directory = node.world.current().directory
    return Frame(
        html_lang=language.LANGUAGES[now][0],
        other_language=language.LANGUAGES[other][1],
        other_html_lang=language.LANGUAGES[other][0],
        other_language_url=readable_address(lang=other),
        name=language.named(person) if person else "",
        unit=language.named(directory.units.get(person.unit)) if person else "",
        places=places(),
        endpoint=request.endpoint or "",
        demo=node.settings.demo,
        origin=node.settings.web.https_url.rstrip("/"),
    )


def places() -> tuple[Place, ...]:
    """Where the caller can act, in the order of the navigation."""
    roles = set(door.caller().actor.roles)
    here = (request.endpoint or "").partition(".")[0]
    here = _WITHIN.get(here, here)
    reachable = [(endpoint, label) for endpoint, label, needed in PLACES if needed & roles]
    return tuple(Place(url_for(endpoint), str(label), current=_stands(endpoint, here)) for endpoint, label in reachable)


def landing(roles: AbstractSet[str]) -> str:
    """The endpoint where somebody with these roles begins: the most particular place they may enter."""
    return next((endpoint for endpoint, _, needed in reversed(PLACES) if needed & roles), "staff.home")


def _stands(endpoint: str, here: str) -> bool:
    return endpoint.partition(".")[0] == here


def readable_address(**more: str) -> str:
    """The address of the page that is being made, with what was asked there and `more`.

    For the answer to a form that has none of its own, that of the page on which the form stood.
    """
    path, adapter = request.path, request_ctx.url_adapter
    while adapter is not None and path and "GET" not in adapter.allowed_methods(path):
        path = path.rpartition("/")[0]
    asked = urlencode({name: text for name, text in request.args.items() if name != "lang"} | more)
    return (path or "/") + (f"?{asked}" if asked else "")


def fence(response: Response) -> Response:
    """Header fields that keep a page to itself, beside those that every answer has: nothing from elsewhere, no frames."""
    if response.mimetype != "text/html":
        return response
    response.headers["Content-Security-Policy"] = POLICY
    response.headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    response.headers.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
    return response


def qr(uri: str) -> Markup:
    """`uri` as a QR code, an SVG element to stand in the page. Its squares are drawn by us; nothing of `uri` is text in it."""
    code = segno.make(uri, error="m")
    return Markup(code.svg_inline(scale=4, border=2, omitsize=True))  # noqa: S704 - made of numbers only
