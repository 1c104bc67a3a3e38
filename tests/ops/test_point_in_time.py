"""PostgreSQL is put back to a moment by its own tools, with the settings of `deploy/`, and Yumen goes on as after a restore."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from audit import history
from audit.verifier.note import Checkpoint, Note
from core.errors import Conflict
from ops import homes, restore, running
from ops.node import Node, open_node
from ops.restore import Terms
from tests.ops import disaster
from tests.postgres import Cluster
from tests.shape.rules import ROOT

pytestmark = [pytest.mark.proof, pytest.mark.component("postgresql")]


@pytest.fixture
def server() -> Iterator[Cluster]:
    """A server of its own: it is lost and comes back."""
    made = Cluster()
    yield made
    made.close()


def archive(server: Cluster) -> str:
    """The settings of `deploy/postgresql/archive.conf` for this server, as options of its start."""
    folder = server.folder / "wal"
    server.take(folder)
    text = (ROOT / "deploy" / "postgresql" / "archive.conf").read_text().replace("/srv/yumen-wal", str(folder))
    found = re.findall(r"^(\w+) = '?(.*?)'?$", text, re.MULTILINE)
    assert {name for name, _ in found} == {"wal_level", "archive_mode", "archive_timeout", "archive_command"}
    (server.data / "archive.conf").write_text("".join(f"{name} = '{value}'\n" for name, value in found))
    with (server.data / "postgresql.conf").open("a") as file:
        file.write("include 'archive.conf'\n")
    return str(folder)


def noted(node: Node) -> int:
    """How many entries of the log `ca` the last signed head covers."""
    return Checkpoint.parse(Note.parse((homes.notes_folder(node.settings.home) / "ca.note").read_bytes()).text).size


def test_a_recovery_to_a_point_in_time_goes_on_in_a_new_epoch_and_on_hold(server: Cluster, tmp_path: Path) -> None:
    wal = archive(server)
    server.stop("fast")
    server.start()
    settings = disaster.found(tmp_path, server)
    base = server.folder / "base"
    server._run("pg_basebackup", "--pgdata", base, "--host", server.folder, "--username", "admin", "--checkpoint=fast", "--wal-method=none")
    with running.working(settings):
        node = open_node(settings, role="serve", with_keys=True)
        asking = disaster.Asking(node)
        asking.start()
        disaster.until(lambda: len(disaster.serials(node)) >= 20)
        known, moment = disaster.serials(node), time.time()
        time.sleep(1)
        disaster.until(lambda: len(disaster.serials(node)) >= len(known) + 10)
        asking.stop()
        disaster.revoke(node, known[1])
        disaster.until(lambda: disaster.is_listed(node, known[1]))
        lists = disaster.lists_of(node, tmp_path / "lists")
        with node.database.reading() as session:
            size = history.heads(session)[("ca", 1)]
        disaster.until(lambda: noted(node) >= size)
        node.close()
    database = settings.database.url.partition("@/")[2].partition("?")[0]
    server.admin("SELECT pg_switch_wal()", "postgres")
    disaster.until(lambda: len(list(Path(wal).iterdir())) >= 2)
    server.stop("fast")
    shutil.rmtree(server.data)
    base.rename(server.data)
    target = time.strftime("%Y-%m-%d %H:%M:%S+00", time.gmtime(moment + 1))
    with (server.data / "postgresql.conf").open("a") as file:
        file.write(f"restore_command = 'cp {wal}/%f %p'\nrecovery_target_time = '{target}'\nrecovery_target_action = 'promote'\n")
    server.signal_recovery()
    server.start()
    disaster.until(lambda: not server.is_recovering())
    terms = Terms(lists=tuple(lists.values()), admin_url=server.url("admin", database))
    with pytest.raises(Conflict, match="older than what was witnessed"):
        restore.adopt(settings, terms=terms, tell=lambda _: None)
    done = restore.adopt(settings, terms=replace(terms, accept_loss=True), tell=lambda _: None)
    assert (done.epochs, done.held, done.revoked) == ({"ca": 2, "access": 2}, (), 1)
    assert not homes.restoring_file(settings.home).exists()
    node = open_node(settings, role="operator", with_keys=True)
    try:
        assert set(known) <= set(disaster.serials(node))
    finally:
        node.close()
