"""Gathers every text that people may read into the message catalogues: `python -m web.pages.catalogue`.

Texts stand in English where they are used: in templates and views, and in the templates of domain errors, wherever one is
raised. Chinese is kept by hand in `web/translations`; this program only adds what is new and drops what is gone.
"""

from __future__ import annotations

import ast
import io
import sys
from collections.abc import Iterator
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.pofile import read_po, write_po

from authz.decide import WORDS
from web.pages.language import FOLDER

ROOT = Path(__file__).parents[2]
ROOMS = ("core", "certs", "audit", "authz", "ca", "ops", "web")

#: The classes of the error tree: their first argument is a template.
ERRORS = (
    *("Error", "Malformed", "Unauthenticated", "Denied", "NotFound", "Conflict", "TooLarge", "RateLimited", "CodeUsed"),
    *("Unavailable", "NotYetProved"),
)
#: These, and functions that mark a text or hand a template on.
KEYWORDS = dict.fromkeys((*ERRORS, "_", "_l", "gettext", "lazy_gettext", "_wait"))


def texts() -> Iterator[tuple[str, str]]:
    """Every text with the file it stands in, in a stable order."""
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            yield from _found(path, "python")
            yield from ((text, str(path.relative_to(ROOT))) for text in by_name(path.read_text("utf-8")))
    for path in sorted((ROOT / "web" / "templates").rglob("*.html")):
        yield from _found(path, "jinja2.ext:babel_extract")
    yield from ((text, "authz/decide.py") for text in WORDS.values())


def by_name(code: str) -> Iterator[str]:
    """Templates that `code` hands to the error tree by a constant's name, or to a function as `words=`."""
    tree = ast.parse(code)
    named = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        raised = isinstance(call.func, ast.Name) and call.func.id in ERRORS
        given = [*(call.args[:1] if raised else ()), *(word.value for word in call.keywords if word.arg == "words")]
        for text in given:
            if isinstance(text, ast.Name) and text.id in named:
                yield named[text.id]
            elif isinstance(text, ast.Constant) and isinstance(text.value, str) and not raised:
                yield text.value


def catalogue(source: Path) -> Catalog:
    """The catalogue in the `.po` file `source`, brought up to date with `texts`: new ones empty, gone ones dropped."""
    with source.open("rb") as file:
        kept = read_po(file, locale=source.parts[-3])
    fresh = Catalog(locale=kept.locale, project="Yumen", fuzzy=False)
    for text, path in texts():
        known = kept.get(text)
        fresh.add(text, known.string if known else "", locations=[(path, 0)])
    return fresh


def written(fresh: Catalog) -> bytes:
    """The `.po` file of `fresh`: sorted, without line numbers and dates, so that it changes only when a text does."""
    out = io.BytesIO()
    write_po(out, fresh, width=140, omit_header=True, sort_output=True, include_lineno=False)
    head = f'msgid ""\nmsgstr ""\n"Language: {fresh.locale}\\n"\n"Content-Type: text/plain; charset=utf-8\\n"\n\n'
    return head.encode() + out.getvalue()


def main() -> int:
    """Bring every catalogue up to date and say what is left to translate."""
    missing = 0
    for source in sorted(FOLDER.glob("*/LC_MESSAGES/*.po")):
        fresh = catalogue(source)
        source.write_bytes(written(fresh))
        left = [str(message.id) for message in fresh if message.id and not message.string]
        missing += len(left)
        print(f"{source.relative_to(ROOT)}: {len(left)} to translate", *left, sep="\n  ")  # noqa: T201 - a program for a person at a terminal
    return 1 if missing else 0


def _found(path: Path, method: str) -> Iterator[tuple[str, str]]:
    with path.open("rb") as source:
        for _, message, _, _ in extract(method, source, keywords=KEYWORDS, options={"silent": "false", "trimmed": "true"}):
            text = message if isinstance(message, str) else message[0]
            if text:
                yield text, str(path.relative_to(ROOT))


if __name__ == "__main__":
    sys.exit(main())
