"""Sealed keys open with the right secret, in the right place, whole; or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from core.errors import NotFound, Unavailable
from core.seal import Vault, unseal, write_durably

SECRET = b"correct horse battery staple"


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Vault:
    """One vault with one sealed value; tests add purposes of their own."""
    folder = tmp_path_factory.mktemp("vault")
    (folder / "secret").write_bytes(SECRET)
    vault = Vault(folder / "keys", folder / "secret")
    vault.put("ca/staff", b"the key")
    return vault


def sealed(vault: Vault, purpose: str) -> Path:
    return vault._path(purpose)


def test_what_was_sealed_opens_again(vault: Vault) -> None:
    again = Vault(vault._folder, vault._folder.parent / "secret")
    assert again.get("ca/staff") == b"the key"
    assert "ca/staff" in again.names()


def test_a_sealed_value_is_carried_elsewhere_and_opens_with_the_secret_alone(vault: Vault, tmp_path: Path) -> None:
    carried = vault.carried("ca/staff")
    assert unseal(carried, "ca/staff", vault._folder.parent / "secret") == b"the key"
    (tmp_path / "other").write_bytes(SECRET + b"!")
    for purpose, secret in (("ca/staff", tmp_path / "other"), ("ca/root", vault._folder.parent / "secret")):
        with pytest.raises(Unavailable, match="wrong unsealing secret"):
            unseal(carried, purpose, secret)


def test_wrong_secret_opens_nothing(vault: Vault, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(SECRET + b"!")
    with pytest.raises(Unavailable, match="wrong unsealing secret"):
        Vault(vault._folder, tmp_path / "secret").get("ca/staff")


def test_file_moved_to_another_purpose_does_not_open(vault: Vault) -> None:
    vault.put("ocsp/staff", b"other")
    sealed(vault, "ca/servers").write_bytes(sealed(vault, "ocsp/staff").read_bytes())
    with pytest.raises(Unavailable):
        vault.get("ca/servers")


@pytest.mark.parametrize("place", [0, 20, -1])
def test_changed_byte_is_noticed(vault: Vault, place: int) -> None:
    data = bytearray(sealed(vault, "ca/staff").read_bytes())
    data[place] ^= 1
    path = sealed(vault, "ca/staff")
    whole = path.read_bytes()
    path.write_bytes(data)
    try:
        with pytest.raises(Unavailable):
            vault.get("ca/staff")
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("length", [0, 10, 16, 30, 40])
def test_cut_file_is_noticed(vault: Vault, length: int) -> None:
    sealed(vault, "cut").write_bytes(sealed(vault, "ca/staff").read_bytes()[:length])
    with pytest.raises(Unavailable):
        vault.get("cut")
    sealed(vault, "cut").unlink()


def test_sealed_bytes_show_nothing(vault: Vault) -> None:
    vault.put("log/ca", b"a value worth hiding")
    assert b"worth hiding" not in sealed(vault, "log/ca").read_bytes()


def test_sealed_key_is_never_overwritten(vault: Vault) -> None:
    with pytest.raises(RuntimeError):
        vault.put("ca/staff", b"another")
    assert vault.get("ca/staff") == b"the key"


def test_a_secret_is_made_once(vault: Vault) -> None:
    made = vault.secret("made-at-first-use")
    assert len(made) == 32
    assert vault.secret("made-at-first-use") == made == vault.get("made-at-first-use")
    assert vault.secret("another") != made


def test_missing_key_is_not_found(vault: Vault) -> None:
    with pytest.raises(NotFound, match="ca/none"):
        vault.get("ca/none")


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(SECRET)
    Vault(tmp_path / "keys", tmp_path / "secret").put("ca/staff", b"the key")
    for path in (tmp_path / "keys", *(tmp_path / "keys").rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


@pytest.mark.parametrize(("folder", "file"), [(0o700, 0o600), (0o750, 0o640), (0o2750, 0o640), (0o770, 0o640)])
@pytest.mark.parametrize("umask", [0, 0o077])
def test_files_are_for_the_group_only_where_the_folder_is_and_never_to_be_written_by_it(
    tmp_path: Path, folder: int, file: int, umask: int
) -> None:
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys").chmod(folder)
    former = os.umask(umask)
    try:
        Vault(tmp_path / "keys", tmp_path / "secret").put("tls/server", b"the key")
    finally:
        os.umask(former)
    for name in ("salt", "tls/server.sealed"):
        assert stat.S_IMODE((tmp_path / "keys" / name).stat().st_mode) == file
    assert stat.S_IMODE((tmp_path / "keys" / "tls").stat().st_mode) & 0o777 == folder & 0o750


@pytest.mark.parametrize("content", [b"", b"short", b"  padded 12345  \n"])
def test_weak_secret_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret").write_bytes(content)
    with pytest.raises(Unavailable, match="shorter than 16"):
        Vault(tmp_path / "keys", tmp_path / "secret")


def test_missing_secret_names_its_file(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="secret"):
        Vault(tmp_path / "keys", tmp_path / "secret")


def test_two_vaults_with_one_secret_have_different_keys(vault: Vault, tmp_path: Path) -> None:
    other = Vault(tmp_path / "keys", vault._folder.parent / "secret")
    sealed(other, "ca/staff").parent.mkdir()
    sealed(other, "ca/staff").write_bytes(sealed(vault, "ca/staff").read_bytes())
    with pytest.raises(Unavailable):
        other.get("ca/staff")


def test_failed_durable_write_leaves_the_old_file_and_no_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "note"
    write_durably(path, b"old")
    monkeypatch.setattr(os, "fsync", lambda _descriptor: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_durably(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
