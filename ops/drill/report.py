"""The report of a drill: one file that can be read, printed and signed, in Chinese and in English."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from ops.assess.finding import LANGUAGES, Grade, Text
from ops.drill.course import STEPS, Course

_WORDS = {
    "title": Text("Rehearsal of a restore", "恢复演练报告"),
    "home": Text("Home", "系统目录"),
    "at": Text("Begun at (UTC)", "开始时间（UTC）"),
    "seconds": Text("Took, in seconds", "用时（秒）"),
    "passed": Text("Result", "结论"),
    "recorded": Text(
        "That this was done, its result and the SHA-256 of this file stand in the trail: `yumen audit search code:CA5023`.",
        "本次演练、其结论及本文件的 SHA-256 摘要已写入审计记录：`yumen audit search code:CA5023`。",
    ),
    "signed": Text(
        "Operator, date: ____________________   Witness, date: ____________________",
        "运维人员、日期：____________　见证人、日期：____________",
    ),
}
_RESULT = {True: Text("passed", "通过"), False: Text("**failed**", "**未通过**")}
_NOT_TAKEN = Text("not taken", "未进行")


def markdown(course: Course) -> str:
    """The whole report, Chinese first."""
    return "\n".join(line for language in LANGUAGES for line in _part(course, language))


def _part(course: Course, language: str) -> Iterator[str]:
    colon = "：" if language == "zh" else ": "
    facts = {
        "home": f"`{course.home}`",
        "at": course.at.astimezone(dt.UTC).replace(microsecond=0, tzinfo=None).isoformat(" "),
        "seconds": str(course.seconds),
        "passed": _RESULT[course.passed].said(language),
    }
    yield from (f"# {_WORDS['title'].said(language)}", "")
    yield from (f"- {_WORDS[name].said(language)}{colon}{value}" for name, value in facts.items())
    yield from ("", _WORDS["recorded"].said(language), "")
    for number, (name, text) in enumerate(STEPS.items(), 1):
        shown = course.evidence.get(name)
        yield from (f"## {number}. {text.said(language)}", "")
        yield from ("- " + line for line in (lines(course, name, language) if shown is not None else [_NOT_TAKEN.said(language)]))
        yield ""
    yield from (_WORDS["signed"].said(language), "")


def lines(course: Course, step: str, language: str) -> list[str]:
    """What a step showed; what must not be is marked."""
    failed = _RESULT[False].said(language)
    return [(f"{failed} " if one.grade is Grade.WRONG else "") + one.text.said(language) for one in course.evidence[step]]


def result(course: Course, language: str) -> str:
    """Whether the drill passed, in a word."""
    return _RESULT[course.passed].said(language).strip("*")
