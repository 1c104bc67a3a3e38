"""What an assessment is made of: a check asks for something, its evidence says what is there, in English and in Chinese."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy.orm import Session

from authz.snapshot import Snapshot
from core.clock import Clock
from core.settings import Settings

LANGUAGES = ("zh", "en")


class Grade(StrEnum):
    """How evidence stands to what is asked for, the best first."""

    GOOD = "good"
    #: It works as it is; somebody should decide whether that is enough.
    ADVICE = "advice"
    #: It must be put right.
    WRONG = "wrong"


class Text(NamedTuple):
    """The same sentence in both languages."""

    en: str
    zh: str

    def said(self, language: str) -> str:
        """The sentence in `language`."""
        return self.zh if language == "zh" else self.en


class Evidence(NamedTuple):
    """One thing that was seen."""

    grade: Grade
    text: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What checks look at."""

    settings: Settings
    session: Session
    snapshot: Snapshot
    #: When the assessment began.
    now: dt.datetime
    #: The time at this moment: others go on writing meanwhile.
    clock: Clock


Look = Callable[[Seen], Iterator[Evidence]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that is asked for."""

    #: Topic and name, such as `keys.secrets`; never renamed, so that two reports can be compared.
    id: str
    asks: Text
    #: What to do when it is not so.
    do: Text
    #: Clauses that assessors tick off by it.
    clauses: tuple[str, ...]
    look: Look


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check found."""

    check: Check
    evidence: tuple[Evidence, ...]

    @property
    def grade(self) -> Grade:
        """That of its worst evidence."""
        grades = {one.grade for one in self.evidence}
        return max(grades, key=list(Grade).index, default=Grade.GOOD)


def good(en: str, zh: str, **facts: object) -> Evidence:
    """Evidence that it is as it should be; both templates name the same facts."""
    return Evidence(Grade.GOOD, Text(en.format(**facts), zh.format(**facts)))


def advice(en: str, zh: str, **facts: object) -> Evidence:
    """Evidence that somebody should decide on."""
    return Evidence(Grade.ADVICE, Text(en.format(**facts), zh.format(**facts)))


def wrong(en: str, zh: str, **facts: object) -> Evidence:
    """Evidence that something must be put right."""
    return Evidence(Grade.WRONG, Text(en.format(**facts), zh.format(**facts)))


def day(moment: dt.datetime) -> str:
    """The day in UTC, as both languages write it here."""
    return moment.astimezone(dt.UTC).date().isoformat()


def few(names: list[str], most: int = 5) -> str:
    """The first of `names`, and that there are more."""
    return ", ".join(names[:most]) + (f", … ({len(names)})" if len(names) > most else "")
