"""Targets of backups against real servers: what lies under a name is whole, and nothing half stays."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import Unavailable
from core.settings import Backup
from ops.targets import Stored, Target, opened, s3
from tests.ops.stores import Sshd, Store

pytestmark = pytest.mark.slow

FIRST, SECOND = "yumen-20261121T020000Z-0a1b2c3d.backup", "yumen-20261122T020000Z-4e5f6a7b.backup"
SIZE = 6 << 20


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    found = Sshd(tmp_path_factory.mktemp("sshd"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    found = Store(tmp_path_factory.mktemp("s3") / "moto")
    yield found
    found.close()


class Shelf:
    """A folder, with the same face."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def settings(self) -> Backup:
        return Backup(targets=f"file://{self.folder}")

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture(params=["folder", pytest.param("sftp", marks=pytest.mark.component("sshd")), "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Shelf | Sshd | Store:
    """Each kind of target, empty."""
    if request.param == "folder":
        (tmp_path / "shelf").mkdir()
        return Shelf(tmp_path / "shelf")
    found = request.getfixturevalue("sshd" if request.param == "sftp" else "store")
    for target in opened(found.settings()):
        for left in target.listing():
            target.remove(left.name)
    assert found.files() == []
    return found


@pytest.fixture
def target(place: Shelf | Sshd | Store) -> Target:
    (found,) = opened(place.settings())
    return found


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    path = tmp_path / FIRST
    path.write_bytes(os.urandom(SIZE))
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_was_stored_is_listed_newest_first_fetched_and_taken_away(place, target: Target, backup: Path, tmp_path: Path):
    target.put(backup, sha256(backup))
    later = backup.with_name(SECOND)
    later.write_bytes(b"small")
    target.put(later, sha256(later))
    assert target.listing() == [Stored(SECOND, 5), Stored(FIRST, SIZE)]
    (tmp_path / "fetched").mkdir()
    assert target.get(FIRST, tmp_path / "fetched").read_bytes() == backup.read_bytes()
    target.remove(FIRST)
    assert place.files() == [SECOND]


def test_a_target_that_gives_back_other_bytes_keeps_nothing(place, target: Target, backup: Path):
    with pytest.raises(Unavailable, match="other bytes"):
        target.put(backup, sha256(backup)[::-1])
    assert place.files() == []


def test_what_is_not_there_is_told(target: Target, tmp_path: Path):
    with pytest.raises(Unavailable):
        target.get(SECOND, tmp_path)


class Cut:
    """A line to a server that breaks after so many bytes have gone up."""

    def __init__(self, port: int, after: int) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port, self._to, self._left = self._server.getsockname()[1], port, after
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._to))
            self._ends += [near, far]
            threading.Thread(target=self._pump, args=(near, far, True), daemon=True).start()
            threading.Thread(target=self._pump, args=(far, near, False), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, up: bool) -> None:
        with suppress(OSError):
            while self._left > 0 and (data := source.recv(65_536)):
                self._left -= len(data) if up else 0
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for end in self._ends:
            end.close()


@pytest.mark.parametrize("kind", [pytest.param("sftp", marks=pytest.mark.component("sshd")), "s3"])
def test_a_line_that_breaks_leaves_no_backup_and_the_next_one_sweeps(kind: str, request: pytest.FixtureRequest, backup: Path, monkeypatch):
    place: Sshd | Store = request.getfixturevalue("sshd" if kind == "sftp" else "store")
    cut = Cut(place.port, SIZE // 2)
    settings = replace(place.settings(), targets=place.url(cut.port))
    if isinstance(place, Sshd):
        known = place.known_hosts.with_name("known_by_cut")
        known.write_text(place.known_hosts.read_text().replace(f":{place.port} ", f":{cut.port} "))
        settings = replace(settings, sftp_known_hosts=known)
    (broken,) = opened(settings)
    with pytest.raises(Unavailable):
        broken.put(backup, sha256(backup))
    cut.close()
    (whole,) = opened(place.settings())
    assert FIRST not in [each.name for each in whole.listing()]
    monkeypatch.setattr(f"ops.targets.{kind}.STALE", -s3.STALE)
    whole.put(backup, sha256(backup))
    assert place.files() == [FIRST]


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path, backup: Path):
    """Where nothing is mounted the machine's own disk must not be filled."""
    (target,) = opened(Backup(targets=f"file://{tmp_path}/unmounted"))
    with pytest.raises(Unavailable, match="No such file"):
        target.put(backup, sha256(backup))
    assert not (tmp_path / "unmounted").exists()


def test_a_disk_that_takes_no_more_keeps_nothing(tmp_path: Path, backup: Path):
    (tmp_path / "shelf").mkdir()
    (target,) = opened(Backup(targets=f"file://{tmp_path}/shelf"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handled = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE // 2, before[1]))
    try:
        with pytest.raises(Unavailable):
            target.put(backup, sha256(backup))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handled)
    assert list((tmp_path / "shelf").iterdir()) == []


def test_what_a_killed_upload_left_in_a_folder_goes_when_it_is_old(tmp_path: Path, backup: Path):
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    old, young = shelf / f".{SECOND}.upload", shelf / ".yumen-20261123T020000Z-00000000.backup.upload"
    for path in (old, young):
        path.touch()
    os.utime(old, (time.time() - 90_000,) * 2)
    (target,) = opened(Backup(targets=f"file://{shelf}"))
    target.put(backup, sha256(backup))
    assert sorted(path.name for path in shelf.iterdir()) == [young.name, FIRST]


@pytest.mark.component("sshd")
@pytest.mark.parametrize("pinned", ["another", "none"])
def test_a_host_with_another_key_or_an_unknown_one_is_refused(sshd: Sshd, tmp_path: Path, backup: Path, pinned: str):
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{sshd.port} {sshd.stranger.with_suffix('.pub').read_text()}" if pinned == "another" else "")
    (target,) = opened(replace(sshd.settings(), sftp_known_hosts=known))
    before = sshd.files()
    with pytest.raises(Unavailable, match=r"[Hh]ost key"):
        target.put(backup, sha256(backup))
    assert sshd.files() == before


@pytest.mark.component("sshd")
def test_a_key_that_the_account_does_not_know_is_refused(sshd: Sshd):
    (target,) = opened(replace(sshd.settings(), sftp_key=sshd.stranger))
    with pytest.raises(Unavailable, match=r"[Pp]ermission denied"):
        target.listing()


@pytest.mark.component("sshd")
def test_no_configuration_and_no_key_of_the_user_is_asked(sshd: Sshd, tmp_path: Path, monkeypatch):
    """Whatever lies in the account's own folder can neither lend a key nor have a command run."""
    folder, ran = tmp_path / ".ssh", tmp_path / "ran"
    folder.mkdir()
    (folder / "id_ed25519").write_bytes(sshd.key.read_bytes())
    (folder / "config").write_text(f"Host *\n  IdentityFile {sshd.key}\n  ProxyCommand touch {ran}\n")
    for path in folder.iterdir():
        path.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    (target,) = opened(replace(sshd.settings(), sftp_key=sshd.stranger))
    with pytest.raises(Unavailable, match=r"[Pp]ermission denied"):
        target.listing()
    assert not ran.exists()


def test_a_store_whose_certificate_nobody_we_trust_issued_is_refused(store: Store, backup: Path):
    (target,) = opened(replace(store.settings(), s3_ca_file=Path()))
    with pytest.raises(Unavailable, match="certificate verify failed"):
        target.put(backup, sha256(backup))


@pytest.mark.parametrize("wrong", ["key", "secret"])
def test_wrong_credentials_are_refused_and_not_told(store: Store, tmp_path: Path, wrong: str):
    secret = "mistaken-secret-of-forty-characters-xxxx"
    lines = {"key": f"aws_access_key_id=AKIAWRONGWRONGWRONGW\naws_secret_access_key={secret}"}
    lines["secret"] = f"aws_access_key_id={store.key}\naws_secret_access_key={secret}"
    mistaken = tmp_path / "mistaken"
    mistaken.write_text(f"[default]\n{lines[wrong]}\n")
    mistaken.chmod(0o600)
    (target,) = opened(replace(store.settings(), s3_credentials=mistaken))
    with pytest.raises(Unavailable, match="403 ") as refused:
        target.listing()
    assert secret not in str(refused.value)


@pytest.mark.parametrize("name", ["sftp_key", "s3_credentials"])
def test_credentials_that_others_may_read_are_not_used(name: str, tmp_path: Path):
    path = tmp_path / "open"
    path.write_text("[default]\naws_access_key_id=a\naws_secret_access_key=b\n")
    path.chmod(0o644)
    url = "sftp://yumen@127.0.0.1:1/backups" if name == "sftp_key" else "s3://127.0.0.1:1/backups"
    (target,) = opened(replace(Backup(targets=url), **{name: path}))
    with pytest.raises(Unavailable, match="others may read"):
        target.listing()


def test_a_large_backup_goes_up_in_parts_and_aws_own_client_reads_it(store: Store, backup: Path, monkeypatch):
    monkeypatch.setattr(s3, "PART", 5 << 20)
    (target,) = opened(store.settings())
    target.put(backup, sha256(backup))
    found = store.client().get_object(Bucket=store.bucket, Key=f"province/daily/{FIRST}")
    assert found["Body"].read() == backup.read_bytes()
    assert found["ETag"].strip('"').endswith("-2"), "it went up in two parts"


def test_only_backups_are_listed_page_by_page(store: Store, monkeypatch):
    monkeypatch.setattr(s3, "PAGE", 3)
    (target,) = opened(store.settings())
    for left in target.listing():
        target.remove(left.name)
    client = store.client()
    names = [f"yumen-20261121T{number // 60:02}{number % 60:02}00Z-0a1b2c3d.backup" for number in range(10)]
    for key in (*names, "notes.txt", "yumen-x.backup"):
        client.put_object(Bucket=store.bucket, Key=f"province/daily/{key}", Body=b"x")
    found = [each.name for each in target.listing()]
    client.delete_objects(Bucket=store.bucket, Delete={"Objects": [{"Key": f"province/daily/{key}"} for key in names]})
    assert found == names[::-1]
