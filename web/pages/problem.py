"""Errors of the tree as pages: the template of the message is translated, its facts are filled in afterwards."""

from __future__ import annotations

from flask import Response, make_response, redirect, render_template, request, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response as AnyResponse

from core.errors import Error, RateLimited
from core.logs import request_id
from web import problems
from web.pages import language, words


def problem(error: Error, status: int) -> AnyResponse:
    """The page for `error`; who is not signed in and only looks is sent to the entrance instead."""
    if error.code == "unauthenticated" and request.method == "GET":
        return redirect(url_for("entrance.login_", next=request.full_path.rstrip("?")))
    reason = problems.reason_of(error)
    page = render_template(
        "error.html",
        status=status,
        title=words.say(words.PROBLEM, error.code),
        detail=said(error),
        reason=words.say(words.REASON, reason) if reason else "",
        request_id=request_id.get(),
    )
    response: Response = make_response(page, status)
    if isinstance(error, RateLimited):
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    return response


def said(error: Error) -> str:
    """The message of `error` as a sentence in the reader's language."""
    template = str(gettext(error.template))
    text = template.format(**error.facts) if error.facts else template
    if language.current() == "zh":
        return text.rstrip("。") + "。"
    return text[:1].upper() + text[1:].rstrip(".") + "."
