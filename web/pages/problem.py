"""Errors of the tree as pages: the template of the message is translated, its facts are filled in afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Response, make_response, redirect, render_template, request, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response as AnyResponse

from core.errors import Error, RateLimited
from core.logs import request_id
from web import door, problems
from web.pages import frame, language, words

#: What is told by its own name although it is no mistake of the caller's.
_TOLD = {"unavailable", "recorded-not-yet-proved"}


def problem(error: Error, status: int) -> AnyResponse:
    """The page for `error`; who is not signed in and only looks is sent to the entrance instead."""
    if error.code == "unauthenticated" and request.method == "GET":
        return redirect(url_for("entrance.login_", next=request.full_path.rstrip("?")))
    reason = "" if error.code == "denied" else problems.reason_of(error)  # a refusal's message tells its reason itself
    here = next((place for place in frame.places() if place.current), None)
    before = frame.readable_address()
    came_from_there = request.method == "POST" and error.code != "denied" and before != (here.url if here else "/")
    page = render_template(
        "error.html",
        sign_in=url_for("entrance.login_", next=before) if error.code == "unauthenticated" else "",
        back=here,
        before=before if came_from_there else "",
        stood_on=before if request.method == "POST" else "",
        status=status,
        title=words.say(words.PROBLEM, error.code if status < 500 or error.code in _TOLD else "internal"),
        detail=said(error),
        reason=words.say(words.REASON, reason) if reason else "",
        request_id=request_id.get(),
    )
    response: Response = make_response(page, status)
    if isinstance(error, RateLimited):
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    return response


def again(template: str, error: Error, **shown: object) -> AnyResponse:
    """The same page once more with what was wrong; the door records what nobody has recorded yet."""
    door.visit().note(error)
    page = render_template(template, problem=said(error), stood_on=frame.readable_address(), **shown)
    response: Response = make_response(page, problems.STATUS[error.code])
    response.headers.extend(field for field in problems.headers(error) if field[0] == "Retry-After")
    return response


#: Facts that are stored words: how they are said. Several stand beside each other with a `/`.
_STORED: Mapping[str, Mapping[str, Any]] = {
    "needed": words.ROLE,
    "role": words.ROLE,
    "reason": words.REASON,
    "profile": words.PROFILE,
    "step": words.STEP,
    "state": {state: word.label for state, word in (*words.REQUEST.items(), *words.CERTIFICATE.items())},
}


def said(error: Error) -> str:
    """The message of `error` as a sentence in the reader's language."""
    template = str(gettext(error.template))
    text = template.format(**{name: _fact(name, value) for name, value in error.facts.items()}) if error.facts else template
    if language.current() == "zh":
        return text.rstrip("。") + "。"
    return text[:1].upper() + text[1:].rstrip(".") + "."


def _fact(name: str, value: object) -> object:
    """A fact of an error as the reader says it: stored words, and units by their name in the reader's language."""
    if name in _STORED and isinstance(value, str):
        return "/".join(str(words.say(_STORED[name], part)) for part in value.split("/"))
    if name in {"unit", "places"} and isinstance(value, str) and language.current() != "zh":
        known = {unit.name: unit for unit in door.node().world.current().directory.units.values()}
        return ", ".join(language.named(known.get(part)) or part for part in value.split("、"))
    return value
