"""Where backups go: a folder, an SFTP server, an S3-compatible store.

All keep one promise: under a backup's name lies what was read back whole, or nothing. Credentials are files.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from core.settings import Backup
from ops.targets.folder import Folder
from ops.targets.s3 import S3
from ops.targets.target import Stored, Target

__all__ = ["Stored", "Target", "opened"]


def opened(settings: Backup) -> list[Target]:
    """The targets that the settings name, in their order; nothing is reached yet."""
    return [_opened(settings, url) for url in settings.targets.split()]


def _opened(settings: Backup, url: str) -> Target:
    kind = urlsplit(url).scheme
    if kind == "sftp":
        from ops.targets.sftp import Sftp  # noqa: PLC0415 - who has no such target loads no SSH into the process with the keys

        return Sftp(url, settings.sftp_key, settings.sftp_known_hosts)
    if kind == "s3":
        return S3(url, settings.s3_credentials, settings.s3_ca_file, settings.s3_region)
    return Folder(url)
