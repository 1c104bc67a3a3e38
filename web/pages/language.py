"""Which language a page speaks, and how times are written in it.

`?lang=` wins and is remembered in a cookie, then that cookie, then Accept-Language, then Chinese. English texts are the
message ids, so only Chinese has a catalogue.
"""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import Any

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from flask import Flask, Response, request
from flask_babel import Babel, format_datetime, format_timedelta, get_locale

from core.clock import ZONE

FOLDER = Path(__file__).parents[1] / "translations"
LANGUAGES = {"zh": ("zh-CN", "中文"), "en": ("en", "English")}
COOKIE = "yumen-lang"


def register(app: Flask) -> None:
    """Give `app` its languages; a missing or outdated compiled catalogue is compiled first."""
    for source in FOLDER.glob("*/LC_MESSAGES/*.po"):
        compile_catalogue(source)
    app.config["BABEL_TRANSLATION_DIRECTORIES"] = str(FOLDER)
    Babel(app, default_locale="zh", locale_selector=chosen)
    app.after_request(_remember)
    app.jinja_env.filters.update(when=when, day=day, iso=iso, ago=ago)


def compile_catalogue(source: Path) -> None:
    """Bring the `.mo` beside the `.po` file `source` up to date, whole or not at all; who may not write here keeps the one there is."""
    target = source.with_suffix(".mo")
    if target.exists() and (target.stat().st_mtime >= source.stat().st_mtime or not os.access(target.parent, os.W_OK)):
        return
    scratch = target.with_suffix(f".{os.getpid()}")
    with source.open("rb") as text, scratch.open("wb") as out:
        write_mo(out, read_po(text, locale=source.parts[-3]))
    scratch.replace(target)


def chosen() -> str:
    """The language of this request: `zh` or `en`."""
    for wanted in (request.args.get("lang"), request.cookies.get(COOKIE)):
        if wanted in LANGUAGES:
            return str(wanted)
    return request.accept_languages.best_match(list(LANGUAGES)) or "zh"


def current() -> str:
    """The language that texts are now made in."""
    return str(getattr(get_locale(), "language", "zh"))


def _remember(response: Response) -> Response:
    wanted = request.args.get("lang")
    if wanted in LANGUAGES:
        response.set_cookie(COOKIE, str(wanted), max_age=31_536_000, secure=True, httponly=True, samesite="Lax")
    response.vary.update(("Accept-Language", "Cookie"))
    return response


def when(moment: dt.datetime) -> str:
    """Date and time to the second, in the province's zone."""
    pattern = "yyyy年M月d日 HH:mm:ss" if current() == "zh" else "d MMM yyyy, HH:mm:ss"
    return str(format_datetime(moment.astimezone(ZONE), pattern, rebase=False))


def day(moment: dt.datetime) -> str:
    """The date alone, in the province's zone."""
    pattern = "yyyy年M月d日" if current() == "zh" else "d MMM yyyy"
    return str(format_datetime(moment.astimezone(ZONE), pattern, rebase=False))


def iso(moment: dt.datetime) -> str:
    """The moment for machines (RFC 3339, UTC)."""
    return moment.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")


def ago(span: dt.timedelta) -> str:
    """A length of time in words, such as `3 hours`."""
    return str(format_timedelta(span, granularity="minute"))


def named(thing: Any) -> str:
    """The name of a person or unit in the reader's language; empty for nothing."""
    if thing is None:
        return ""
    return str((thing.name_en if current() == "en" else "") or thing.name)
