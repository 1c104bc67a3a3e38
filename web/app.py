"""The Flask application: the REST API, the logs, and the pages. It holds no rule; it gathers what the rooms offer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import structlog
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import IntegerConverter
from werkzeug.wrappers import Response as AnyResponse

from core.errors import Error, Malformed, NotFound
from web import api, door, pages, problems
from web.answers import common
from web.declare import Opening, open_to, openings
from web.metrics import Metrics
from web.turns import Turns

if TYPE_CHECKING:
    from ops.node import Node

log = structlog.get_logger()

#: What is no page loads nothing and stands in nobody's frame; pages have their own policy (`web.pages.frame`).
_CONTENT_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


class _Portal(Flask):
    """The framework's application, whose failures are logged in our words: an address may hold a person's name."""

    def log_exception(self, exc_info: Any) -> None:
        """Log what nobody caught, with the route as it was declared."""
        log.error("request failed", route=door.visit().route, method=request.method, exc_info=exc_info)


class _Number(IntegerConverter):
    """A number in an address: one that no column can hold is no address here, rather than an error of the database."""

    regex = r"\d{1,18}"


def create_app(node: Node) -> Flask:
    """The application that answers for `node`."""
    app = _Portal("web", static_folder="static", template_folder="templates")
    app.config.update(
        SECRET_KEY=node.web_vault.secret("form"),  # signs what forms carry
        MAX_CONTENT_LENGTH=node.settings.web.max_body_bytes,
        SESSION_COOKIE_NAME="__Host-yumen-form",
        SESSION_COOKIE_SECURE=True,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        SESSION_COOKIE_PATH="/",
        NODE=node,
    )
    app.url_map.converters["int"] = _Number
    open_to(Opening.ANYONE)(app.view_functions["static"])
    for blueprint in api.blueprints():
        app.register_blueprint(blueprint)
    _stand_at_the_door(
        app, Turns(node.settings.web.threads)
    )  # before the pages' own form protection: whom it refuses should be known by then
    pages.register(app, node)
    _answer_errors(app)
    return app


def _stand_at_the_door(app: Flask, turns: Turns) -> None:
    @app.before_request
    def _admit() -> None:
        g.began = time.perf_counter()
        wanted = openings(app.view_functions[request.endpoint]) if request.endpoint else frozenset[Opening]()
        g.turn = turns.take(door.visit(), wanted)
        door.admit()

    @app.teardown_request
    def _leave(_error: BaseException | None) -> None:
        if who := g.pop("turn", ""):
            turns.give_back(who)

    @app.after_request
    def _finish(response: Response) -> Response:
        for name, value in common(request.environ):
            response.headers[name] = value
        response.headers.setdefault("Content-Security-Policy", _CONTENT_POLICY)
        response.headers.setdefault("Referrer-Policy", "same-origin")
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
        if request.endpoint != "static":
            response.headers.setdefault("Cache-Control", "no-store")
        Metrics.of(door.node()).observe(door.visit().route, response.status_code, time.perf_counter() - g.began)
        return response


def _answer_errors(app: Flask) -> None:
    @app.errorhandler(Error)
    def _refuse(error: Error) -> AnyResponse:
        if door.for_programs(request.path):
            return door.refuse(error)
        return pages.problem(error, door.visit().refuse(error).status)

    @app.errorhandler(HTTPException)
    def _refuse_http(error: HTTPException) -> AnyResponse:
        status = error.code or 500
        if status < 400:
            return Response(status=status, headers=[("Location", error.get_response().headers["Location"])])
        known = _known(error)
        if not door.for_programs(request.path):
            door.visit().refuse(known)
            return pages.problem(known, status)
        response = door.refuse(known)
        if status not in {404, response.status_code}:
            response.status_code = status
            response.set_data(problems.document(known.code, known.detail, status=status, request_id=request.environ["yumen.request_id"]))
        return response


def _known(error: HTTPException) -> Error:
    """The framework's own refusals in our words."""
    status = error.code or 500
    if status >= 500:
        return Error("something went wrong inside; the operator's log has the reason")
    if status == 404:
        return NotFound("there is nothing at this address")
    if isinstance(error, MethodNotAllowed):
        allow = ", ".join(sorted(error.valid_methods or ()))
        return Malformed("this address does not take {method}", method=request.method, reason="method", allow=allow)
    return Malformed("the request cannot be understood; reload the page and send it again")
