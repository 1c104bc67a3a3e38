"""The people of the story: they log in once, with a one-time code that nobody used before."""

from __future__ import annotations

import datetime as dt
import time
from typing import Any

import pyotp

from cli.client.api import Api, Server
from cli.story.stage import Stage, StoryBroken
from core.errors import CodeUsed, Error

_STEP = dt.timedelta(seconds=30)


def fresh_code(secret: str, steps: int = 0) -> str:
    """The one-time code of now, or of that many steps later."""
    return pyotp.TOTP(secret).at(dt.datetime.now(dt.UTC) + steps * _STEP)


def login(stage: Stage, uid: str) -> Api:
    """A logged-in person. A code that was used already (in an earlier telling) is followed by the next one."""
    account = stage.account(uid)
    for steps in (0, 1, 0):
        try:
            return Api(_opened(stage, account, fresh_code(account["totp"], steps)))
        except CodeUsed as error:
            time.sleep(error.retry_after_seconds if steps else 0)
    raise StoryBroken(f"{uid} cannot log in: every code was used")


def _opened(stage: Stage, account: dict[str, Any], code: str) -> Server:
    with Api(Server(url=stage.url, ca_file=stage.ca_file)) as api:
        token = api.post("/api/v1/sessions", {"uid": account["uid"], "password": account["password"], "totp": code})["token"]
    return Server(url=stage.url, ca_file=stage.ca_file, token=token)


def refused(expected: str, call: Any, *arguments: Any) -> Error:
    """The error that `call` must answer with.

    Raises:
        StoryBroken: it was let through, or refused for another reason.
    """
    try:
        answer = call(*arguments)
    except Error as error:
        if error.code == expected:
            return error
        raise StoryBroken(f"expected `{expected}`, got `{error.code}`: {error.detail}") from error
    raise StoryBroken(f"expected a refusal `{expected}`, but it was let through: {answer}")
