"""Where things lie in a home, and the two vaults that its unsealing secrets open."""

from __future__ import annotations

from pathlib import Path

from core.seal import Vault
from core.settings import Keys, Settings


def database_file(home: Path) -> Path:
    """The SQLite database."""
    return home / "yumen.db"


def root_file(home: Path) -> Path:
    """The root certificates, PEM: what clients of this home trust."""
    return home / "root.pem"


def tls_file(home: Path) -> Path:
    """The chain of the HTTPS listener, PEM, leaf first; its key is sealed as `tls/server`."""
    return home / "tls" / "server.pem"


def notes_folder(home: Path) -> Path:
    """The last signed checkpoint of each log, kept outside the database."""
    return home / "notes"


def accounts_file(home: Path) -> Path:
    """What only a demonstration may write down: accounts, passwords, one-time secrets, API keys."""
    return home / "demo.json"


def secret_file(home: Path) -> Path:
    """The unsealing secret of a demonstration, beside its home."""
    return home.with_name(home.name + ".secret")


def web_vault(settings: Settings) -> Vault:
    """The keys of web processes."""
    return Vault(settings.home / "keys" / "web", _secret(settings, settings.keys.web_secret))


def worker_vault(settings: Settings) -> Vault:
    """The keys of the worker: authorities and logs. No web process can read its secret in production."""
    return Vault(settings.home / "keys" / "worker", _secret(settings, settings.keys.worker_secret))


def _secret(settings: Settings, named: Path) -> Path:
    return secret_file(settings.home) if named == Keys().web_secret else named
