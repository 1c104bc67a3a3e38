"""The product keeps its habits, and each rule sees what it is there to see."""

from __future__ import annotations

from functools import cache

import pytest

from core.errors import Error
from tests.shape import rules
from tests.shape.rules import EXCEPTIONS, Rule, Source, is_excused, sources


def _tree(kind: type[Error]) -> set[str]:
    return {kind.__name__}.union(*(_tree(child) for child in kind.__subclasses__()))


RULES: tuple[Rule, ...] = (
    rules.file_is_short,
    rules.function_is_short,
    rules.function_has_few_parameters,
    rules.function_is_flat,
    rules.public_things_are_explained,
    rules.names_say_something,
    rules.certs_read_no_clock,
    rules.commits_only_in_recording,
    rules.permits_come_from_decide,
    rules.error_templates(frozenset(_tree(Error))),
    rules.checks_return_no_bool,
    rules.verifier_stands_alone,
    rules.nothing_waits_to_be_written,
    rules.errors_are_not_swallowed,
)

_LONG = "x = 1\n"
_DEEP = "def f():\n    for a in b:\n        with a:\n            if a:\n                while a:\n                    pass\n"

#: What each rule must object to: (file, text).
PLANTED: dict[str, list[tuple[str, str]]] = {
    "file_is_short": [("ca/long.py", _LONG * 401)],
    "function_is_short": [("ca/long.py", "def f():\n" + "    x = 1\n" * 50)],
    "function_has_few_parameters": [
        ("ca/many.py", "def f(a, b, c, d, *, e, g, h): ..."),
        ("ca/many.py", "class C:\n    def f(self, a, b, c, d, e, g, h): ..."),
    ],
    "function_is_flat": [
        ("ca/deep.py", _DEEP),
        ("ca/deep.py", _DEEP.replace("    for", "    try:\n        pass\n    finally:\n        pass\n    for")),
    ],
    "public_things_are_explained": [
        ("ca/silent.py", "x = 1"),
        ("ca/silent.py", '"""Says."""\ndef f(): ...'),
        ("ca/silent.py", '"""Says."""\nclass C:\n    """Says."""\n    def f(self): ...'),
    ],
    "names_say_something": [("ca/utils.py", ""), ("ca/key_manager.py", ""), ("ca/keys.py", "class KeyManager: ...")],
    "certs_read_no_clock": [
        ("certs/chain.py", "import datetime as dt\nx = dt.datetime.now(dt.UTC)"),
        ("certs/chain.py", "from datetime import date\nx = date.today()"),
        ("certs/chain.py", "import time"),
        ("certs/chain.py", "from time import monotonic"),
    ],
    "commits_only_in_recording": [
        ("ca/registration.py", "session.commit()"),
        ("authz/login.py", "with database.writing() as session: ..."),
        ("web/door.py", "engine.begin()"),
    ],
    "permits_come_from_decide": [
        ("ca/works.py", "p = Permit(actor, action, 'x', 'rule', 1)"),
        ("ca/works.py", "from audit import permit\np = permit.Permit(actor, action, 'x', 'rule', 1)"),
        ("ca/works.py", "from audit.permit import Permit as P\np = P(actor, action, 'x', 'rule', 1)"),
        ("ca/works.py", "p = dataclasses.replace(permit, resource='y')"),
        ("ca/works.py", "p = object.__new__(Permit)"),
    ],
    "templates_are_literals": [
        ("ca/states.py", "raise Conflict(f'request {x}')"),
        ("ca/states.py", "raise errors.Denied('no ' + reason)"),
        ("ca/states.py", "raise RateLimited('wait {}'.format(1), retry_after_seconds=1)"),
        ("ca/states.py", "raise Malformed('; '.join(found))"),
    ],
    "checks_return_no_bool": [("certs/chain.py", "def verify_chain(a) -> bool: ...")],
    "verifier_stands_alone": [
        ("audit/verifier/note.py", "import cryptography"),
        ("audit/verifier/note.py", "from core.errors import Error"),
        ("audit/verifier/note.py", "from ..event import Kind"),
    ],
    "nothing_waits_to_be_written": [("ca/x.py", "# TO" + "DO later"), ("ca/x.py", "raise NotImplemented" + "Error")],
    "errors_are_not_swallowed": [
        ("web/x.py", "def f():\n    try: g()\n    except Exception: pass"),
        ("web/x.py", "def f():\n    try: g()\n    except: return 1"),
    ],
}


@cache
def _found(rule: Rule) -> list[tuple[str, str]]:
    return [(source.path, problem) for source in sources() for problem in rule(source)]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_product_keeps_the_rule(rule: Rule) -> None:
    assert [f"{path}: {problem}" for path, problem in _found(rule) if not is_excused(path, problem)] == []


def test_no_exception_outlives_its_cause() -> None:
    found = [pair for rule in RULES for pair in _found(rule)]
    used = {key for key in EXCEPTIONS for path, problem in found if key[0] == path and problem.startswith(key[1])}
    assert sorted(set(EXCEPTIONS) - used) == []
    assert [key for key, reason in EXCEPTIONS.items() if len(reason) < 20] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_rule_sees_a_violation(rule: Rule) -> None:
    cases = PLANTED[rule.__name__]
    assert [text for path, text in cases if not list(rule(Source(path, text)))] == []


def test_rules_let_honest_code_pass() -> None:
    honest = '''"""Says what it owns."""

def total(a, b, *, c=1):
    """What it gives."""
    for item in a:
        if item:
            return b
        elif c:
            raise Conflict("`{item}` is taken", item=item)
    return c
'''
    assert [problem for rule in RULES for problem in rule(Source("ca/total.py", honest))] == []
