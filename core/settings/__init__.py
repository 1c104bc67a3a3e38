"""Settings: one frozen tree, read once at start, all problems reported together with what to do.

The file is TOML; every value can be overridden by `YUMEN_<SECTION>_<KEY>`. Secrets are paths, never values. Durations
are written like `90s`, `15m`, `12h`, `30d`.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_type_hints

from core.settings.tree import (
    CA,
    DIRECTORY_DIALECTS,
    MAIL_ADDRESS,
    NOTICES,
    Audit,
    Authz,
    Backup,
    Database,
    Directory,
    Keys,
    Notices,
    Settings,
    Web,
)

__all__ = [
    "CA",
    "DEFAULT_HOME",
    "DIRECTORY_DIALECTS",
    "MAIL_ADDRESS",
    "NOTICES",
    "Audit",
    "Authz",
    "Backup",
    "BadSettings",
    "Database",
    "Directory",
    "Keys",
    "Notices",
    "Settings",
    "Web",
    "load",
    "parse",
]

DEFAULT_HOME = Path("var")

#: Variables that are no setting: where settings are found, and what the commands of a person read.
_NO_SETTINGS = ("HOME", "SETTINGS", "MODE", "URL", "CA_FILE", "SESSION", "PASSWORD", "TOTP", "P12_PASSWORD")

_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class BadSettings(Exception):
    """Every problem found, one per line: the setting, what is wrong, what to do."""


def load(environ: Mapping[str, str]) -> Settings:
    """Read the file that `YUMEN_SETTINGS` names (default `$YUMEN_HOME/yumen.toml`) and the overrides in `environ`.

    Raises:
        BadSettings: no file, unknown keys, values of the wrong kind, or values that do not fit together; all at once.
    """
    home = Path(environ.get("YUMEN_HOME") or DEFAULT_HOME).absolute()
    path = Path(environ.get("YUMEN_SETTINGS") or home / "yumen.toml")
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BadSettings(f"{path}: {error.strerror}; make a home with `yumen init --demo`, or set YUMEN_HOME") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSettings(f"{path}: {error}") from error
    return parse(raw, environ, home)


def parse(raw: dict[str, Any], environ: Mapping[str, str], home: Path) -> Settings:
    """Settings from a parsed TOML document and environment overrides.

    Raises:
        BadSettings: as for `load`.
    """
    found: list[str] = []
    sections: dict[str, Any] = {}
    hints = get_type_hints(Settings)
    mode = environ.get("YUMEN_MODE", raw.pop("mode", "production"))
    for name, kind in hints.items():
        if dataclasses.is_dataclass(kind):
            values = raw.pop(name, {})
            if not isinstance(values, dict):
                found.append(f"{name}: must be a table")
                continue
            sections[name] = _section(name, kind, values | _overrides(name, kind, environ), home, found)
    found += [f"{name}: unknown; see docs/settings.md" for name in sorted(raw)]
    found += _strangers(environ, {name: kind for name, kind in hints.items() if dataclasses.is_dataclass(kind)})
    if not isinstance(mode, str):
        found.append("mode: must be a string")
    if found:
        raise BadSettings("\n".join(found))
    settings = Settings(home=home, mode=mode, **sections)
    if problems := settings.problems():
        raise BadSettings("\n".join(problems))
    return settings


def _overrides(section: str, kind: Any, environ: Mapping[str, str]) -> dict[str, str]:
    names = {field.name: f"YUMEN_{section}_{field.name}".upper() for field in dataclasses.fields(kind)}
    return {name: environ[variable] for name, variable in names.items() if variable in environ}


def _strangers(environ: Mapping[str, str], kinds: Mapping[str, Any]) -> list[str]:
    """Variables that are meant as settings, by their section or their likeness to one, and are none."""
    known = {f"{section}_{field.name}".upper() for section, kind in kinds.items() for field in dataclasses.fields(kind)}
    known.update(_NO_SETTINGS)
    sections = tuple(f"{section}_".upper() for section in kinds)
    found = []
    for name in sorted(name.removeprefix("YUMEN_") for name in environ if name.startswith("YUMEN_")):
        near = get_close_matches(name, sorted(known), 1, 0.8)
        if name not in known and (near or name.startswith(sections)):
            found.append(f"YUMEN_{name}: unknown{f'; did you mean YUMEN_{near[0]}?' if near else ''}; see docs/settings.md")
    return found


def _section(section: str, kind: Any, values: dict[str, Any], home: Path, found: list[str]) -> Any:
    hints = get_type_hints(kind)
    found += [f"{section}.{name}: unknown; see docs/settings.md" for name in sorted(values.keys() - hints.keys())]
    read = {}
    for name in values.keys() & hints.keys():
        try:
            read[name] = _value(values[name], hints[name], home)
        except ValueError as error:
            found.append(f"{section}.{name}: {error}")
    return kind(**read)


def _value(value: Any, kind: type, home: Path) -> Any:
    if kind is dt.timedelta:
        match = re.fullmatch(r"(\d{1,9})(ms|s|m|h|d)", value) if isinstance(value, str) else None
        if not match or not int(match[1]):
            raise ValueError("write a duration such as `90s`, `15m`, `12h` or `30d`")
        return dt.timedelta(**{_UNITS[match[2]]: int(match[1])})
    if kind is int:
        if isinstance(value, str) and value.isascii() and value.isdigit():
            value = int(value)
        if type(value) is not int or not 0 < value < 1 << 31:
            raise ValueError("must be a positive whole number")
        return value
    if not isinstance(value, str) or not value:
        raise ValueError("must be a string that is not empty")
    return home / value if kind is Path else value
