"""The report of an assessment: one file that can be read, printed and signed, in Chinese and in English."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence

from core.settings import Settings
from ops.assess.finding import LANGUAGES, Finding, Grade, Text

TOPICS = {
    "settings": Text("Settings and processes", "设置与进程"),
    "algorithms": Text("Algorithms", "密码算法"),
    "keys": Text("Keys and secrets", "密钥与口令"),
    "certificates": Text("Certificates of the service", "系统证书"),
    "roles": Text("Roles and people", "角色与人员"),
    "trail": Text("Trail", "审计记录"),
    "retention": Text("Retention and room", "留存与空间"),
    "clock": Text("Clocks", "时钟"),
    "backup": Text("Backups", "备份"),
}
GRADES = {
    Grade.GOOD: Text("as it should be", "符合"),
    Grade.ADVICE: Text("decide", "待决定"),
    Grade.WRONG: Text("put right", "须整改"),
}
_COMMA = {"en": ", ", "zh": "，"}
_WORDS = {
    "title": Text("Self-assessment of Yumen", "玉门系统自查报告"),
    "home": Text("Home", "系统目录"),
    "at": Text("Made at (UTC)", "生成时间（UTC）"),
    "sum": Text("Findings", "结论"),
    "evidence": Text("Evidence", "证据"),
    "check": Text("Check", "检查项"),
    "do": Text("What to do", "整改办法"),
    "clauses": Text("Clauses", "对应条款"),
    "recorded": Text(
        "That this was made, and the SHA-256 of this file, stand in the trail: `yumen audit search code:CA5024`.",
        "本报告的生成及其 SHA-256 摘要已写入审计记录：`yumen audit search code:CA5024`。",
    ),
    "limits": Text(
        "It prepares for an assessor and is no assessment: the service runs on OpenSSL, which is no certified cryptographic product; "
        "rooms, networks, rules and people outside this program were not looked at.",
        "本报告供测评准备之用，不是测评结论：系统使用 OpenSSL，并非经认证的商用密码产品；"
        "机房、网络、制度及程序之外的人员情况不在检查范围内。",
    ),
    "signed": Text(
        "Operator, date: ____________________   Assessor, date: ____________________",
        "运维人员、日期：____________　测评人员、日期：____________",
    ),
}


def markdown(settings: Settings, at: dt.datetime, findings: Sequence[Finding]) -> str:
    """The whole report, Chinese first."""
    return "\n".join(line for language in LANGUAGES for line in _part(settings, at, findings, language))


def _part(settings: Settings, at: dt.datetime, findings: Sequence[Finding], language: str) -> Iterator[str]:
    made = at.astimezone(dt.UTC).replace(microsecond=0, tzinfo=None).isoformat(" ")
    yield from (f"# {_WORDS['title'].said(language)}", "")
    yield _line("home", f"`{settings.home}`", language)
    yield _line("at", made, language)
    yield _line("sum", summary(findings, language), language)
    yield from ("", _WORDS["limits"].said(language), "", _WORDS["recorded"].said(language), "")
    for topic, name in TOPICS.items():
        yield from (f"## {name.said(language)}", "")
        for finding in (each for each in findings if each.check.id.partition(".")[0] == topic):
            yield from _finding(finding, language)
    yield from (_WORDS["signed"].said(language), "")


def _finding(finding: Finding, language: str) -> Iterator[str]:
    check = finding.check
    yield from (f"### [{GRADES[finding.grade].said(language)}] {check.asks.said(language)}", "")
    yield _line("check", f"`{check.id}`", language)
    yield _line("clauses", _COMMA[language].join(check.clauses), language)
    for one in finding.evidence:
        mark = "" if one.grade is Grade.GOOD else f"**[{GRADES[one.grade].said(language)}]** "
        yield _line("evidence", mark + one.text.said(language), language)
    if finding.grade is not Grade.GOOD:
        yield _line("do", check.do.said(language), language)
    yield ""


def _line(word: str, what: str, language: str) -> str:
    return f"- {_WORDS[word].said(language)}{'：' if language == 'zh' else ': '}{what}"


def summary(findings: Iterable[Finding], language: str) -> str:
    """How many findings there are of each grade."""
    grades = [finding.grade for finding in findings]
    return _COMMA[language].join(f"{text.said(language)} {grades.count(grade)}" for grade, text in GRADES.items())
