"""The habits that no linter knows, each as one rule over one file: it yields what a reader would object to."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("core", "certs", "audit", "authz", "ca", "ops", "web", "cli", "migrations")

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """One Python file: its path from the repository's root, and its text."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @property
    def room(self) -> str:
        return self.path.partition("/")[0]

    def functions(self) -> Iterator[FunctionNode]:
        return (node for node in self.nodes if isinstance(node, FunctionNode))

    def calls(self) -> Iterator[ast.Call]:
        return (node for node in self.nodes if isinstance(node, ast.Call))


Rule = Callable[[Source], Iterator[str]]


@cache
def sources() -> list[Source]:
    """Every file of the product: the rooms and `wsgi.py`; steps of migrations are Alembic's own."""
    paths = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py")) if "versions" not in path.parts]
    return [Source(str(path.relative_to(ROOT)), path.read_text("utf-8")) for path in [*paths, ROOT / "wsgi.py"]]


def file_is_short(source: Source) -> Iterator[str]:
    """At most 400 lines."""
    if (lines := source.text.count("\n")) > 400:
        yield f"{lines} lines"


def function_is_short(source: Source) -> Iterator[str]:
    """At most 50 lines, the docstring not counted."""
    for node in source.functions():
        lines = (node.end_lineno or 0) - node.lineno + 1
        if ast.get_docstring(node) is not None:
            lines -= (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
        if lines > 50:
            yield f"{node.name}: {lines} lines"


def function_has_few_parameters(source: Source) -> Iterator[str]:
    """At most six, `self` not counted: more belong into a value."""
    for node in source.functions():
        names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        if names[:1] in (["self"], ["cls"]):
            names = names[1:]
        if len(names) > 6:
            yield f"{node.name}: {len(names)} parameters"


def function_is_flat(source: Source) -> Iterator[str]:
    """At most three blocks deep; `elif` is no deeper than its `if`."""
    for node in source.functions():
        if (depth := max((_depth(child) for child in node.body), default=0)) > 3:
            yield f"{node.name}: {depth} blocks deep"


_BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match)


def _depth(node: ast.AST) -> int:
    if isinstance(node, FunctionNode | ast.ClassDef | ast.Lambda):
        return 0
    deepest = 0
    for child in ast.iter_child_nodes(node):
        is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and [child] == node.orelse
        deepest = max(deepest, _depth(child) - is_elif)
    return deepest + isinstance(node, _BLOCKS)


def public_things_are_explained(source: Source) -> Iterator[str]:
    """Module, public class, public function and public method carry a docstring."""
    if ast.get_docstring(source.tree) is None:
        yield "the module has no docstring"
    todo: list[ast.Module | ast.ClassDef] = [source.tree]
    while todo:
        for node in todo.pop().body:
            if not isinstance(node, FunctionNode | ast.ClassDef) or node.name.startswith("_"):
                continue
            if ast.get_docstring(node) is None and not _overloads(node):
                yield f"{node.name}: no docstring"
            if isinstance(node, ast.ClassDef):
                todo.append(node)


def _overloads(node: FunctionNode | ast.ClassDef) -> bool:
    return any(ast.unparse(decorator).endswith(("overload", ".setter")) for decorator in node.decorator_list)


_EMPTY_WORDS = {"utils", "util", "helpers", "helper", "manager", "service", "services", "handler", "handlers", "misc", "common"}


def names_say_something(source: Source) -> Iterator[str]:
    """No module or class is called after nothing in particular."""
    for part in Path(source.path).with_suffix("").parts:
        if _EMPTY_WORDS & set(part.split("_")):
            yield f"module {part}"
    for node in source.nodes:
        if isinstance(node, ast.ClassDef) and node.name.endswith(("Manager", "Helper", "Handler", "Service", "Utils")):
            yield f"class {node.name}"


_CLOCKS = {"now", "utcnow", "today", "monotonic", "time_ns", "time.time"}


def certs_read_no_clock(source: Source) -> Iterator[str]:
    """What certificate bytes mean does not depend on when one looks: the moment is an argument."""
    if source.room != "certs":
        return
    for node in source.nodes:
        is_clock = isinstance(node, ast.Attribute) and {node.attr, ast.unparse(node)} & _CLOCKS
        if is_clock or (isinstance(node, ast.Import | ast.ImportFrom) and "time" in _imported(node)):
            yield f"line {node.lineno}: {ast.unparse(node)}"


def _imported(node: ast.Import | ast.ImportFrom) -> set[str]:
    return {node.module or ""} if isinstance(node, ast.ImportFrom) else {alias.name for alias in node.names}


def commits_only_in_recording(source: Source) -> Iterator[str]:
    """The write transaction is committed by `core.database`, for `audit`; nobody else ends one."""
    if source.room not in {"audit", "core", "migrations"}:
        for node in source.calls():
            owner, _, verb = ast.unparse(node.func).rpartition(".")
            if verb in {"commit", "writing"} or (verb.startswith("begin") and owner.endswith(_SESSIONS)):
                yield f"line {node.lineno}: {ast.unparse(node)}"


_SESSIONS = ("engine", "connection", "session", "db", "connect()")


def permits_come_from_decide(source: Source) -> Iterator[str]:
    """Only `authz.decide` constructs a `Permit`: an act is allowed by a decision or not at all."""
    if source.path != "authz/decide.py":
        names = {"Permit"} | {
            alias.asname
            for node in source.nodes
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
            if alias.name == "Permit" and alias.asname
        }
        for node in source.calls():
            name = ast.unparse(node.func).rpartition(".")[2]
            first = ast.unparse(node.args[0]).rpartition(".")[2] if node.args else ""
            if name in names or (name in {"replace", "__new__", "_make"} and first in names | {"permit"}):
                yield f"line {node.lineno}: {ast.unparse(node)}"


def error_templates(names: frozenset[str]) -> Rule:
    """The message of an `Error` is a literal with named facts: pages translate the template, and facts stay facts."""

    def templates_are_literals(source: Source) -> Iterator[str]:
        for node in source.calls():
            if ast.unparse(node.func).rpartition(".")[2] in names and node.args and not _is_text(node.args[0]):
                yield f"line {node.lineno}: {ast.unparse(node)[:90]}"

    return templates_are_literals


def _is_text(node: ast.expr) -> bool:
    """A literal, a name of one, or a choice between literals; never an f-string, a concatenation or `.format`."""
    if isinstance(node, ast.IfExp):
        return _is_text(node.body) and _is_text(node.orelse)
    if isinstance(node, ast.Subscript):
        return isinstance(node.value, ast.Name) and node.value.id.isupper()
    return isinstance(node, ast.Name | ast.Attribute) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def checks_return_no_bool(source: Source) -> Iterator[str]:
    """What is called verify, require or check raises: a forgotten `if` must not mean yes."""
    for node in source.functions():
        is_check = node.name.lstrip("_").split("_")[0] in {"verify", "require", "check"}
        if is_check and node.returns is not None and ast.unparse(node.returns) == "bool":
            yield f"{node.name} returns bool"


def verifier_stands_alone(source: Source) -> Iterator[str]:
    """The audit verifier imports the standard library and itself, relatively: it travels without Yumen."""
    if source.path.startswith("audit/verifier/"):
        for node in source.nodes:
            if isinstance(node, ast.Import | ast.ImportFrom) and not getattr(node, "level", 0):
                foreign = {name.partition(".")[0] for name in _imported(node)} - sys.stdlib_module_names
                yield from (f"line {node.lineno}: imports {name}" for name in foreign)
            if isinstance(node, ast.ImportFrom) and node.level > 1:
                yield f"line {node.lineno}: reaches outside its package"


def nothing_waits_to_be_written(source: Source) -> Iterator[str]:
    """No promise in place of code."""
    for number, line in enumerate(source.text.splitlines(), 1):
        if any(word in line for word in ("TO" + "DO", "FIX" + "ME", "raise NotImplemented" + "Error", "pragma: no " + "cover")):
            yield f"line {number}: {line.strip()}"


def errors_are_not_swallowed(source: Source) -> Iterator[str]:
    """A handler for everything raises again, or says in a comment why it does not."""
    for node in source.nodes:
        if not isinstance(node, ast.ExceptHandler) or any(isinstance(child, ast.Raise) for child in ast.walk(node)):
            continue
        lines = source.text.splitlines()[node.lineno - 1 : node.body[0].end_lineno]
        if (node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"}) and not any("# " in line for line in lines):
            yield f"line {node.lineno}: except {ast.unparse(node.type) if node.type else ''}".rstrip()


#: Whoever breaks a rule for a good reason stands here with it; a line that is no longer needed fails the test.
#: Keys are the file and the beginning of the problem.
EXCEPTIONS: Mapping[tuple[str, str], str] = {}


def is_excused(path: str, problem: str) -> bool:
    """Whether `EXCEPTIONS` names this problem."""
    return any(path == file and problem.startswith(start) for file, start in EXCEPTIONS)
