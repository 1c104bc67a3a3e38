"""A machine of the tests' own, on which the files of `deploy/` lie where they belong: accounts, folders, services, networks.

Its root is a folder: programs of this machine shown read-only, `/etc` copied, everything else empty. Its accounts, mounts
and networks are in private namespaces and end with it. Nothing here says how Yumen is deployed; that is read from `deploy/`.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
DEPLOY = CHECKOUT / "deploy"

#: Commands of the runbook that are not carried out: the machine has the packages, and whoever tests starts the services.
_LEFT_OUT = ("apt-get", "curl", "git", "make", "rsync", "systemctl")
_SHOWN = ("bin", "lib", "lib32", "lib64", "libx32", "sbin", "usr")

#: As systemd does for MemoryDenyWriteExecute=: memory is written or executed, never both (PR_SET_MDWE, Linux 6.3).
_NO_WRITE_EXECUTE = "import ctypes,os,sys; ctypes.CDLL(None).prctl(65, 1, 0, 0, 0); os.execv(sys.argv[1], sys.argv[1:])"


@dataclass(frozen=True, slots=True)
class Network:
    """A network of its own, tied to the machine by one cable."""

    holder: subprocess.Popen[bytes]
    #: This end of the cable.
    cable: str

    def plug(self, *, connected: bool) -> None:
        """Connect the cable, or take it out."""
        _do("ip", "link", "set", self.cable, "up" if connected else "down")


@dataclass(slots=True)
class Unit:
    """A service of systemd as its file describes it: `[Service]` lines in their order."""

    name: str
    lines: list[tuple[str, str]]

    def all(self, key: str) -> list[str]:
        """The values of every line with this key."""
        return [value for name, value in self.lines if name == key]

    def one(self, key: str) -> str:
        """The last value, which counts."""
        return self.all(key)[-1]


def read_unit(path: Path, instance: str = "", *drop_ins: Path) -> Unit:
    """The unit in `path` with its specifiers replaced; what `drop_ins` say comes after."""
    lines = []
    for file in (path, *drop_ins):
        for line in file.read_text("utf-8").splitlines():
            key, equals, value = line.partition("=")
            if equals and not line.startswith(("#", "[")):
                lines.append((key, value.replace("%i", instance)))
    return Unit(path.name.replace("@.", f"@{instance}."), lines)


@dataclass
class Machine:
    """The machine. `values` replaces words in the copy of `deploy/`, as the runbook tells its reader to do."""

    values: Mapping[str, str]
    root: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="yumen-machine-", dir="/tmp")))
    networks: dict[str, Network] = field(default_factory=dict)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    #: How each service that must not end is started again, and after how many seconds.
    _kept: dict[str, tuple[Callable[[], None], float]] = field(default_factory=dict)
    #: The folder in which whoever follows the runbook stands.
    standing: str = "/"
    #: The first three numbers of its addresses.
    subnet: str = field(default_factory=lambda: f"10.{secrets.randbelow(55) + 200}.{secrets.randbelow(256)}")

    def __post_init__(self) -> None:
        self._bridge = f"ym{secrets.token_hex(4)}"
        self.root.chmod(0o755)
        (self.root / "tmp").mkdir()
        (self.root / "tmp").chmod(0o1777)
        shutil.copytree("/etc", self.root / "etc", symlinks=True, ignore=shutil.ignore_patterns("postgresql", "sysusers.d"))
        for folder in (
            "proc",
            "dev",
            "run/postgresql",
            "run/slapd",
            "var/lib/nginx",
            "var/log/nginx",
            "var/tmp",
            "opt/yumen",
            "root",
            "etc/sysusers.d",
        ):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        (self.root / "var/run").symlink_to("../run")
        self._deploy = self.root / "deploy"
        shutil.copytree(DEPLOY, self._deploy)
        for file in filter(Path.is_file, self._deploy.rglob("*")):
            text = file.read_text("utf-8")
            for old, new in {"10.0.0.": f"{self.subnet}.", **self.values}.items():
                text = text.replace(old, new)
            file.write_text(text)
        self._closed, self._changing = threading.Event(), threading.RLock()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._holder = self._hold("--mount", "--propagation", "private")
        self._show()
        _do("ip", "link", "add", self._bridge, "type", "bridge")
        _do("ip", "address", "add", f"{self.subnet}.1/24", "dev", self._bridge)
        _do("ip", "link", "set", self._bridge, "up")

    def _hold(self, *options: str) -> subprocess.Popen[bytes]:
        """A process that keeps namespaces, until it or this process ends."""
        command = ["setpriv", "--pdeathsig=KILL", "unshare", *options, "sh", "-c", "echo; exec sleep infinity"]
        holder = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert holder.stdout is not None
        with holder.stdout as ready:
            ready.readline()
        return holder

    def _keep(self) -> None:
        """Start again what ended by itself, as systemd does."""
        while not self._closed.wait(0.1):
            for name, (start, pause) in list(self._kept.items()):
                process = self.running.get(name)
                if process is not None and process.poll() is not None and not self._closed.wait(pause):
                    with self._changing:
                        if name in self._kept:
                            start()

    def keep(self, name: str, start: Callable[[], None], pause: float) -> None:
        """Start a service, and again `pause` seconds after it ended, until `end`."""
        with self._changing:
            start()
            self._kept[name] = (start, pause)
        if not self._keeper.is_alive():
            self._keeper.start()

    def _show(self) -> None:
        """Show the programs of this machine, the checkout and the interpreter inside, where they are and as /opt/yumen."""
        for name in _SHOWN:
            path = Path("/", name)
            if path.is_symlink():
                (self.root / name).symlink_to(path.readlink())
            elif path.is_dir():
                self.mount("--rbind", path, name)
        self.mount("-t tmpfs", "tmpfs", "usr/local/sbin")
        _do(*self._inside(chroot=False), "mount", "-o", "remount,bind,ro", str(self.root / "usr"))
        self.mount("--rbind", "/dev", "dev")
        self.mount("--rbind", "/proc", "proc")
        for path in (CHECKOUT, Path(sys.base_prefix)):
            if not path.is_relative_to("/usr"):
                self.mount("--bind", path, str(path).lstrip("/"))
        self.mount("--bind", CHECKOUT, "opt/yumen")
        self.mount("--bind", self._deploy, "opt/yumen/deploy")

    def mount(self, how: str, what: object, where: str) -> None:
        """Mount inside, seen from nowhere else."""
        target = self.root / where
        target.mkdir(parents=True, exist_ok=True)
        _do(*self._inside(chroot=False), "mount", *shlex.split(how), str(what), str(target))

    def _inside(self, network: str = "", folder: str = "/", *, chroot: bool = True) -> list[str]:
        enter = ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt"]
        if network:
            enter.append(f"--net=/proc/{self.networks[network].holder.pid}/ns/net")
        return [*enter, "chroot", str(self.root), "env", "-C", folder] if chroot else enter

    def inside(self, path: str) -> Path:
        """A path as the processes of the machine see it, mounts included."""
        return Path(f"/proc/{self._holder.pid}/root{self.root}") / path

    def network(self, name: str, number: int) -> Network:
        """A network with the address `<subnet>.<number>`."""
        holder, cable = self._hold("--net"), f"{self._bridge}{number}"
        _do("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", str(holder.pid))
        _do("ip", "link", "set", cable, "master", self._bridge, "up")
        self.networks[name] = Network(holder, cable)
        for words in ("address add {}/24 dev eth0", "link set eth0 up", "link set lo up"):
            _do("nsenter", f"--net=/proc/{holder.pid}/ns/net", "ip", *words.format(f"{self.subnet}.{number}").split())
        return self.networks[name]

    def do(self, command: str, *, folder: str = "/", network: str = "", **environ: str) -> str:
        """Carry out a line of shell as root; gives what it printed."""
        told = subprocess.run(
            [*self._inside(network, folder), "sh", "-euc", command],
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "EDITOR": "true"} | environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert told.returncode == 0, f"{command}\n{told.stdout}{told.stderr}"
        return told.stdout

    def follow(self, section: str, happened: Callable[[str], None] = lambda _: None) -> None:
        """Carry out the commands of one section of the runbook; `happened` is told of each that is left out."""
        text = (self._deploy / "README.md").read_text("utf-8").partition(f"\n## {section}")[2].partition("\n## ")[0]
        assert text, f"the runbook has no section `{section}`"
        for block in text.split("```sh\n")[1:]:
            for command in _commands(block.partition("```")[0]):
                kept = " && ".join(part for part in command.split(" && ") if part.split()[0] not in _LEFT_OUT)
                if kept:
                    said = self.do(f"{kept}\nprintf '\\n%s' \"$PWD\"", folder=self.standing)
                    self.standing = said.rpartition("\n")[2]
                if kept != command:
                    happened(command)

    def log(self, name: str) -> Path:
        """What a service has said."""
        return self.root / "var/log" / f"{name}.log"

    def last_words(self, characters: int = 3000) -> str:
        """The end of everything that the services have said: for whoever reads of a failure when the machine is gone."""
        logs = sorted(self.root.glob("var/log/*.log"))
        return "\n".join(f"--- {log.name}\n{log.read_text('utf-8', 'replace')[-characters:]}" for log in logs)

    def popen(
        self, account: str, command: list[str], *, name: str = "", group: str = "", network: str = "", **environ: str
    ) -> subprocess.Popen[bytes]:
        """A process of `account`, which speaks to the log `name`, or its program's."""
        who = [
            f"--reuid={account}",
            f"--regid={group or account}",
            "--init-groups",
            "--no-new-privs",
            "--bounding-set=-all",
            "--inh-caps=-all",
        ]
        whole = [*self._inside(network), "setpriv", "--pdeathsig=KILL", *(who if account != "root" else []), *command]
        with self.log(name or Path(command[0]).name).open("ab") as log:
            return subprocess.Popen(whole, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **environ}, stdout=log, stderr=log)

    def start(self, unit: Unit, network: str = "") -> None:
        """Start a service as its unit says: account, group, mask, environment, credentials and program."""
        credentials = self.root / "run/credentials" / unit.name
        self.do(f"install -d -m 0500 -o {unit.one('User')} /run/credentials/{unit.name}")
        for line in unit.all("LoadCredential"):
            name, _, path = line.partition(":")
            self.do(f"install -m 0400 -o {unit.one('User')} {path} /run/credentials/{unit.name}/{name}")
        where = f"/{credentials.relative_to(self.root)}"
        environ = dict(pair.partition("=")[::2] for line in unit.all("Environment") for pair in shlex.split(line.replace("%d", where)))
        program = unit.one("ExecStart").replace("%d", where)
        assert unit.one("MemoryDenyWriteExecute") == "yes"
        script = f"umask {unit.one('UMask')}; cd {unit.one('WorkingDirectory')}; exec /usr/bin/python3 -c '{_NO_WRITE_EXECUTE}' {program}"
        account, group = unit.one("User"), unit.one("Group")

        def start() -> None:
            self.running[unit.name] = self.popen(account, ["sh", "-c", script], name=unit.name, group=group, network=network, **environ)

        assert unit.one("Restart") == "always"
        self.keep(unit.name, start, float(unit.one("RestartSec")))

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a service."""
        self.running[name].send_signal(number)

    def end(self, name: str, number: signal.Signals = signal.SIGTERM, patience: float = 20) -> int:
        """End a service and wait for it; gives its exit status."""
        with self._changing:
            self._kept.pop(name, None)
            process = self.running.pop(name)
        process.send_signal(number)
        try:
            return process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return -signal.SIGKILL

    def close(self) -> None:
        """End everything, and leave nothing."""
        self._closed.set()
        for process in [*self.running.values()]:
            process.send_signal(signal.SIGCONT)
        for name in [*reversed(self.running)]:
            self.end(name, signal.SIGKILL)
        for holder in (*(network.holder for network in self.networks.values()), self._holder):
            holder.kill()
            holder.wait()
        with suppress(subprocess.CalledProcessError):
            _do("ip", "link", "delete", self._bridge)
        shutil.rmtree(self.root, ignore_errors=True)


def _commands(block: str) -> list[str]:
    """The commands of a block, a loop being one."""
    found = [""]
    for line in block.splitlines():
        found[-1] += line + "\n"
        if len(re.findall(r"\bdo\b", found[-1])) == len(re.findall(r"\bdone\b", found[-1])):
            found.append("")
    return [command.strip() for command in found if command.strip()]


def until(true: Callable[[], object], patience: float, what: str) -> float:
    """Wait until `true`; gives the seconds that it took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < patience, what
        time.sleep(0.02)
    return time.monotonic() - began


def _do(*command: str) -> None:
    subprocess.run(command, check=True, env=os.environ, stdout=subprocess.DEVNULL)
