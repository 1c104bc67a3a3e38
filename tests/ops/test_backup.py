"""A backup holds one moment of a home that goes on working, is read back, recorded, and closed to whoever lacks the secret."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from audit.event import Kind
from audit.history import newest
from cli.main import main
from core.errors import Malformed, Unavailable
from core.settings import Keys, load
from ops import archive, backup, homes, restore
from ops.node import Node, open_node


@pytest.fixture(scope="module")
def node(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One open home for all claims: a backup changes nothing in it but the trail."""
    home = tmp_path_factory.mktemp("saved") / "var"
    shutil.copytree(made, home)
    shutil.copy(made.with_name("var.secret"), home.with_name("var.secret"))
    opened = open_node(load({"YUMEN_HOME": str(home)}), role="operator", with_keys=True)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def saved(node: Node) -> backup.Made:
    return backup.make(node, node.settings.home / "backups", tell=lambda _: None)


def secret(node: Node) -> Path:
    return homes.secrets(node.settings)["worker_secret"]


def files(path: Path, key: Path) -> dict[str, bytes]:
    """Everything in a backup."""
    found: dict[str, bytes] = {}
    with backup.opened(path, key) as opened:
        for entry, piece in opened.pieces():
            found[entry.name] = found.get(entry.name, b"") + piece
    return found


def test_a_backup_holds_the_rows_and_what_only_the_home_has(node: Node, saved: backup.Made, tmp_path: Path) -> None:
    found = files(saved.path, secret(node))
    assert {"database.sqlite", "home/yumen.toml", "home/keys/worker/ca/staff.sealed", "home/keys/web/privacy.sealed"} <= found.keys()
    (tmp_path / "copy.db").write_bytes(found["database.sqlite"])
    with sqlite3.connect(tmp_path / "copy.db") as copy:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        (size,) = copy.execute("SELECT max(size) FROM trail_batch WHERE log = 'ca'").fetchone()
    assert size == saved.manifest.logs["ca"].size


def test_the_heads_in_the_manifest_are_those_of_that_moment(saved: backup.Made) -> None:
    for log, head in saved.manifest.logs.items():
        origin, size, *_ = head.note.splitlines()
        assert origin == f"yumen.local/{log}/1"
        assert int(size) <= head.size
    assert set(saved.manifest.lists) == {"root", "staff", "servers", "applications"}


def test_the_unsealing_secret_is_in_no_backup(node: Node, saved: backup.Made) -> None:
    word = secret(node).read_bytes().strip()
    assert [name for name, data in files(saved.path, secret(node)).items() if word in data] == []
    assert word not in saved.path.read_bytes()


def test_without_the_secret_nothing_is_read(saved: backup.Made, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("another unsealing secret")
    with pytest.raises(Unavailable, match="wrong unsealing secret"):
        backup.check(saved.path, tmp_path / "other")


def test_a_backup_is_recorded_with_its_hash_before_it_has_a_name(node: Node, saved: backup.Made) -> None:
    with node.database.reading() as session:
        told = next(one for one in newest(session, Kind.BACKUP_MADE, 10) if one.details["id"] == saved.manifest.id)
    assert told.object == f"backup:{saved.manifest.id}"
    assert (told.details["name"], told.details["sha256"], told.details["size"]) == (saved.name, saved.sha256, saved.path.stat().st_size)
    assert [path.name for path in saved.path.parent.iterdir()] == [saved.name]
    assert archive.NAME.fullmatch(saved.name)
    assert saved.path.stat().st_mode & 0o777 == 0o600


def test_a_backup_that_cannot_be_recorded_gets_no_name(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(_events: object) -> None:
        raise Unavailable("the trail cannot be written now")

    monkeypatch.setattr(node.trail, "append", closed)
    with pytest.raises(Unavailable, match="trail"):
        backup.make(node, tmp_path / "backups", tell=lambda _: None)
    assert list((tmp_path / "backups").iterdir()) == []


def test_bytes_that_the_disk_changed_are_found_by_reading_back(node: Node, tmp_path: Path) -> None:
    def damage(now: str) -> None:
        if now == "reading back":
            (part,) = (tmp_path / "backups").iterdir()
            data = bytearray(part.read_bytes())
            data[len(data) // 2] ^= 1
            part.write_bytes(data)

    with pytest.raises(Malformed, match="damaged"):
        backup.make(node, tmp_path / "backups", tell=damage)
    assert list((tmp_path / "backups").iterdir()) == []
    with node.database.reading() as session:
        (told,) = newest(session, Kind.BACKUP_FAILED)
    assert "damaged" in told.details["problem"]


def test_nothing_is_left_of_a_backup_that_was_killed(node: Node, tmp_path: Path) -> None:
    (tmp_path / "backups").mkdir()
    (tmp_path / "backups" / ".4711.backup.part").write_bytes(b"half of one")
    made = backup.make(node, tmp_path / "backups", tell=lambda _: None)
    assert [path.name for path in (tmp_path / "backups").iterdir()] == [made.name]
    assert not list(node.settings.home.glob("*.scratch*"))


def test_a_folder_that_cannot_be_written_is_a_failure_that_is_told(node: Node, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable, match="no backup could be made"):
        backup.make(node, tmp_path / "file" / "backups", tell=lambda _: None)
    with node.database.reading() as session:
        assert newest(session, Kind.BACKUP_FAILED)


def test_the_command_tells_where_the_backup_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YUMEN_HOME", str(home))
    ended = CliRunner().invoke(main, ["backup", "--json"])
    told = json.loads(ended.stdout)
    assert ended.exit_code == 0
    assert Path(told["backup"]).parent == home / "backups"
    secret = home.with_name("var.secret")
    assert told["not_in_it"] == [f"keys.web_secret: {secret}", f"keys.worker_secret: {secret}"]
    assert backup.check(Path(told["backup"]), home.with_name("var.secret")).logs["ca"].size == told["logs"]["ca"]["size"]


def test_a_backup_needs_no_directory(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YUMEN_HOME", str(home))
    (home / "directory.ldif").unlink()
    ended = CliRunner().invoke(main, ["backup", "--to", str(tmp_path / "elsewhere")])
    assert ended.exit_code == 0, ended.stderr
    assert len(list((tmp_path / "elsewhere").iterdir())) == 1


def test_a_backup_of_a_rewritten_trail_is_refused_and_nothing_is_left_of_it(home: Path, tmp_path: Path) -> None:
    settings = load({"YUMEN_HOME": str(home)})
    with sqlite3.connect(home / "yumen.db") as stranger:
        stranger.execute("DROP TRIGGER trail_event_no_update")
        stranger.execute("UPDATE trail_event SET body = replace(body, 'ok', 'no') WHERE log = 'ca' AND idx = 5")
    made = backup.run(settings, tmp_path / "backups", tell=lambda _: None)
    again = tmp_path / "again"
    with pytest.raises(Malformed, match=r"does not verify: .*entry 5 of ca/1"):
        restore.restore(
            replace(settings, home=again, keys=Keys(web_secret=secret_of(home), worker_secret=secret_of(home))),
            made.path,
            tell=lambda _: None,
        )
    assert not again.exists()


def secret_of(home: Path) -> Path:
    return home.with_name("var.secret")
