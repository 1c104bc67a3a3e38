"""The programs of the system that the tests drive, and the Debian packages that bring them. Needs only the standard library.

As root on Debian or Ubuntu `--install` installs what is missing. Otherwise it is named: tests of a missing component are
skipped, each with the reason, and with `CI=true` they fail: what CI calls green was really run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Component:
    """Something of the system that tests need: how to see it, and which Debian packages bring it."""

    packages: tuple[str, ...]
    #: What the tests do with it.
    purpose: str
    present: Callable[[], bool]


def _program(*names: str) -> Callable[[], bool]:
    path = os.environ.get("PATH", "") + os.pathsep + "/usr/sbin:/sbin"
    return lambda: all(shutil.which(name, path=path) for name in names)


def _chinese_font() -> bool:
    folders = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path.home() / ".local/share/fonts")
    return any(found for folder in folders for found in folder.rglob("*CJK*") if found.is_file())


def _browser() -> bool:
    return any(shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))


def _postgresql() -> bool:
    return any(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or _program("initdb", "pg_ctl")()


def _own_namespaces() -> bool:
    """Whether accounts, mounts and networks of one's own can be had: that takes root, and a kernel that lets it."""
    if os.geteuid() or not _program("unshare", "nsenter", "setpriv", "ip", "systemd-sysusers", "systemd-tmpfiles")():
        return False
    tried = ["unshare", "--mount", "--net", "sh", "-c", "mount -t tmpfs none /mnt && ip link add type veth"]
    return subprocess.run(tried, capture_output=True, check=False).returncode == 0


COMPONENTS: Mapping[str, Component] = {
    "openssl": Component(("openssl",), "second opinion on every certificate, CRL and OCSP answer", _program("openssl")),
    "postgresql": Component(("postgresql",), "the trail and the rooms on a real server, attacked and killed", _postgresql),
    "chromium": Component(("chromium",), "the pages in a real browser", _browser),
    "cjk-font": Component(("fonts-noto-cjk",), "Chinese text in screenshots", _chinese_font),
    "nss": Component(("libnss3-tools",), "client certificates in the browser's store", _program("certutil", "pk12util")),
    "curl": Component(("curl",), "the lines that an application's people copy for their first decision", _program("curl")),
    "nginx": Component(("nginx-light",), "the production door: TLS, client certificates, the gate's forward-auth", _program("nginx")),
    "slapd": Component(
        ("slapd", "ldap-utils"), "a real directory server, and attacks on its client", _program("slapd", "slapadd", "ldapmodify")
    ),
    "sshd": Component(("openssh-server",), "an SFTP server that takes backups", _program("sshd", "ssh-keygen")),
    "systemd": Component(("systemd",), "the units of `deploy/`, read by systemd itself", _program("systemd-analyze")),
    "machine": Component(
        ("systemd", "iproute2", "util-linux"),
        "the production form with accounts, mounts and networks of its own (needs root)",
        _own_namespaces,
    ),
    "gcc": Component(("gcc", "libc6-dev"), "a slow disk: `fsync` is preloaded", _program("cc")),
    "debootstrap": Component(("debootstrap",), "a minimal Debian, in `make proof`", _program("debootstrap")),
}

#: Not needed by the suite itself, so nobody is asked to install them for it.
FOR_PROOF = frozenset({"debootstrap"})

#: Asked for by no test and installed with the rest where there is such a package: Chromium without windows takes a quarter of the time.
QUICKER = Component(("chromium-headless-shell",), "the pages in a real browser, sooner", _program("chromium-headless-shell"))


def missing(names: Iterable[str]) -> list[str]:
    """Those of `names` that this machine lacks.

    Raises:
        KeyError: a name is not in `COMPONENTS`.
    """
    return [name for name in names if not COMPONENTS[name].present()]


def must_have_all(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a missing component is a failure here."""
    return environ.get("CI", "").lower() in {"true", "1"}


def browser() -> str | None:
    """The program in which tests look at pages."""
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


def install(wanted: Iterable[Component]) -> None:
    """Install these with apt-get; says so when it fails, which `missing` will then show."""
    packages = sorted({package for component in wanted for package in component.packages})
    print("installing", *packages, flush=True)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
        if subprocess.run(["apt-get", *command], env=environment, stdout=subprocess.DEVNULL, check=False).returncode:
            print(f"apt-get {command[0]} failed", file=sys.stderr)


def main(arguments: list[str]) -> int:
    """Show, and with `--install` bring, what the tests need; 1 when something is missing and nothing may be."""
    lacking = [name for name in missing(COMPONENTS) if name not in FOR_PROOF]
    if "--install" in arguments and os.geteuid() == 0 and shutil.which("apt-get"):
        if lacking:
            install(COMPONENTS[name] for name in lacking)
            lacking = missing(lacking)
        if not QUICKER.present():
            install([QUICKER])
    for name in lacking:
        component = COMPONENTS[name]
        print(f"missing: {name} ({component.purpose}); its tests are skipped. Debian: apt-get install {' '.join(component.packages)}")
    return 1 if lacking and must_have_all() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
