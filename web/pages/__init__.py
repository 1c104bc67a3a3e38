"""The pages: what people see of Yumen, in Chinese and English, rendered here and needing no script but for making keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Flask
from flask_bootstrap import Bootstrap5
from flask_wtf import CSRFProtect

from web import door
from web.pages import account, applications, desk, enrolment, entrance, frame, grants, language, security, staff, style, system, trail
from web.pages.problem import problem

if TYPE_CHECKING:
    from ops.node import Node

__all__ = ["problem", "register"]


def register(app: Flask, node: Node) -> None:
    """Add the pages to `app`: languages, form protection, Bootstrap's own files, and every view.

    The application brings the key that signs form tokens. Without a time limit a form stays good as long as its cookie:
    who reads for an hour and then presses a button must not lose what was typed.
    """
    app.config.update(WTF_CSRF_TIME_LIMIT=None, BOOTSTRAP_SERVE_LOCAL=True)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    language.register(app)
    frame.register(app, node)
    Bootstrap5(app)
    door.open_to(door.ANYONE)(app.view_functions["bootstrap.static"])
    protection = CSRFProtect(app)
    for name, blueprint in app.blueprints.items():
        if name.startswith("api"):
            protection.exempt(blueprint)
    for room in (entrance, staff, enrolment, account, desk, trail, applications, grants, security, system, style):
        app.register_blueprint(room.blueprint)
