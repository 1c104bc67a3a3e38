"""A home whose people come from a directory server: made, opened and refused like one that reads a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from authz import province
from authz.ldif import LdifDirectory
from core.errors import Unavailable
from core.settings import load
from ops import init
from ops.node import open_node
from tests.authz import slapd
from tests.ops.test_production import CEREMONY, people

pytestmark = pytest.mark.component("slapd")


def test_a_home_lives_on_a_directory_server_and_starts_only_when_it_answers(tmp_path: Path):
    home, pki = tmp_path / "home", tmp_path / "pki"
    home.mkdir()
    pki.mkdir()
    slapd.make_pki(pki)
    province.write(tmp_path / "province.ldif", seed=7, hasher=province.QUICK)
    server = slapd.Slapd.load(pki, [*LdifDirectory(tmp_path / "province.ldif").read().entries, slapd.reader()])
    for name in ("web", "worker"):
        (tmp_path / f"{name}.secret").write_text(name * 8)
    keys = "".join(f'{name}_secret = "{tmp_path}/{name}.secret"\n' for name in ("web", "worker"))
    directory = f'urls = "{server.url}"\nbase = "{slapd.SUFFIX}"\nca_file = "{pki}/ca.pem"\n'
    reader = f'bind_dn = "{slapd.READER}"\npassword_file = "{pki}/reader.password"\n'
    web = 'https_url = "https://yumen.jiangzhou.example"\n'
    (home / "yumen.toml").write_text(f"[web]\n{web}[keys]\n{keys}[directory]\n{directory}{reader}")
    settings = load({"YUMEN_HOME": str(home)})
    try:
        init.make_home(settings, tell=lambda _: None)
        init.hold_ceremony(settings, CEREMONY + people(), say=lambda _: None, hand_over=lambda _: None)
        node = open_node(settings, role="serve", with_keys=False)
        try:
            snapshot = node.world.current()
            auditor = snapshot.directory.by_uid["qianyi"]
            assert "auditor" in {holding.role for holding in snapshot.roles(auditor.uuid)}
            node.world.source.check_password("qianyi", next(a.password for a in province.accounts(seed=7) if a.uid == "qianyi"))
        finally:
            node.close()
        assert not (home / "directory.ldif").exists()
        server.kill()
        with pytest.raises(Unavailable, match="cannot be reached"):
            open_node(settings, role="serve", with_keys=False)
    finally:
        server.remove()
