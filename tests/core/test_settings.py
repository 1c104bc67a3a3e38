"""Settings: everything wrong is said at once, and a demo home stays on the loopback."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.settings import BadSettings, Settings, load, parse
from tests.shape.rules import ROOT

HOME = Path("/srv/yumen")
SECRETS = {"web_secret": "/etc/yumen/web", "worker_secret": "/etc/yumen/worker"}


def complaints(raw: dict[str, Any], environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(BadSettings) as caught:
        parse(raw, environ or {}, HOME)
    return str(caught.value).splitlines()


def test_defaults_make_a_demo_home() -> None:
    settings = parse({"mode": "demo"}, {}, HOME)
    assert settings == Settings(home=HOME, mode="demo")
    assert settings.demo


def test_all_unknown_and_unreadable_values_are_named_at_once() -> None:
    found = complaints({"colour": 1, "web": {"threads": "many", "port": 1}, "ca": {"crl_lifetime": "soon"}, "audit": 7})
    assert [line.split(":")[0] for line in sorted(found)] == ["audit", "ca.crl_lifetime", "colour", "web.port", "web.threads"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("YUMEN_WEB_HTPS", "YUMEN_WEB_HTTPS"),
        ("YUMEN_DATABSE_URL", "YUMEN_DATABASE_URL"),
        ("YUMEN_HOMES", "YUMEN_HOME"),
        ("YUMEN_AUTHZ_STALE_LIMITS", "YUMEN_AUTHZ_STALE_LIMIT"),
    ],
)
def test_a_variable_that_is_nearly_a_setting_is_refused_with_what_was_meant(name: str, meant: str) -> None:
    assert complaints({"mode": "demo"}, {name: "x"}) == [f"{name}: unknown; did you mean {meant}?; see docs/settings.md"]


def test_a_variable_of_a_section_is_a_setting_or_refused() -> None:
    assert complaints({"mode": "demo"}, {"YUMEN_WEB_PORT_8443_TCP": "x"}) == ["YUMEN_WEB_PORT_8443_TCP: unknown; see docs/settings.md"]


def test_variables_of_others_are_left_alone() -> None:
    assert parse({"mode": "demo"}, {"YUMEN_BUILD": "7", "YUMENX": "1", "PATH": "/bin"}, HOME).demo


def test_every_variable_that_the_commands_read_is_let_pass() -> None:
    named = {name for file in (ROOT / "cli").rglob("*.py") for name in re.findall(r"\bYUMEN_[A-Z0-9_]*[A-Z0-9]\b", file.read_text("utf-8"))}
    assert {"YUMEN_PASSWORD", "YUMEN_CA_FILE"} <= named
    with pytest.raises(BadSettings) as caught:
        parse({"mode": "demo"}, dict.fromkeys(named, "x") | {"YUMEN_WEB_HTPS": "x"}, HOME)
    assert [line for line in str(caught.value).splitlines() if "unknown" in line and "YUMEN_WEB_HTPS" not in line] == []


def test_all_values_that_do_not_fit_together_are_named_at_once() -> None:
    found = complaints(
        {
            "mode": "demo",
            "web": {"https": "0.0.0.0:8443", "http": "localhost:8080", "https_url": "http://x"},
            "ca": {"crl_lifetime": "8d", "ocsp_lifetime": "9d"},
            "authz": {"poll": "9s", "session_idle": "11h"},
        }
    )
    assert {line.split(":")[0] for line in found} == {
        "web.https", "web.http", "web.https_url", "ca.ocsp_lifetime", "ca.crl_lifetime", "authz.stale_limit", "authz.session_idle",
    }  # fmt: skip


@pytest.mark.parametrize("address", ["0.0.0.0:8443", "[::]:8443", "192.0.2.1:8443"])
def test_demo_home_refuses_to_serve_a_network(address: str) -> None:
    assert [line for line in complaints({"mode": "demo", "web": {"https": address}}) if "loopback" in line]
    assert parse({"mode": "production", "keys": SECRETS, "web": {"https": address}}, {}, HOME).web.https == address


@pytest.mark.parametrize("address", ["127.0.0.1:8443", "127.8.8.8:1", "[::1]:65535"])
def test_demo_home_listens_on_loopback(address: str) -> None:
    assert parse({"mode": "demo", "web": {"https": address}}, {}, HOME).web.https == address


@pytest.mark.parametrize("secret", ["", "keys/web", str(HOME / "web.secret")])
def test_production_secrets_lie_outside_the_home(secret: str) -> None:
    keys = {name: value for name, value in (SECRETS | {"web_secret": secret}).items() if value}
    assert [line.split(":")[0] for line in complaints({"keys": keys})] == ["keys.web_secret"]


LDAP = {
    "urls": "ldaps://one.example ldap://two.example:1389 ldaps://[::1]:636",
    "base": "dc=example,dc=cn",
    "bind_dn": "cn=reader,dc=example,dc=cn",
    "password_file": "/etc/yumen/reader",
    "ca_file": "/etc/yumen/ca.pem",
}


def test_a_directory_on_servers_is_described_whole() -> None:
    assert parse({"mode": "demo", "directory": LDAP}, {}, HOME).directory.base == "dc=example,dc=cn"
    certified = {name: LDAP[name] for name in ("urls", "base", "ca_file")} | {"client_cert": "reader.pem", "client_key": "/etc/yumen/key"}
    assert parse({"mode": "demo", "directory": certified}, {}, HOME).directory.client_cert == HOME / "reader.pem"


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"urls": "ldaps://ok.example http://x"}, {"urls"}),
        ({"urls": "ldaps://user:word@x"}, {"urls"}),
        ({"urls": "ldaps://x/dc=other"}, {"urls"}),
        ({"urls": "ldaps://x?uid"}, {"urls"}),
        ({"urls": "ldapi:///run/ldapi"}, {"urls"}),
        ({"urls": "ldaps://x:99999"}, {"urls"}),
        ({"dialect": "lotus"}, {"dialect"}),
        ({"base": None, "ca_file": None, "bind_dn": None}, {"base", "ca_file", "bind_dn", "password_file"}),
        ({"password_file": "reader"}, {"password_file"}),
        ({"client_cert": "/etc/yumen/reader.pem"}, {"client_key"}),
        ({"client_cert": "/etc/yumen/reader.pem", "client_key": "reader.key"}, {"client_key"}),
        ({"receive_timeout": "1500ms", "connect_timeout": "2m"}, {"receive_timeout", "connect_timeout"}),
        ({"deadline": "1s"}, {"deadline"}),
        ({"urls": None}, {"base", "bind_dn", "password_file", "ca_file"}),
    ],
)
def test_everything_wrong_with_a_directory_on_servers_is_named_at_once(change: dict[str, str | None], names: set[str]) -> None:
    raw = {name: value for name, value in (LDAP | change).items() if value is not None}
    assert {line.split(":")[0] for line in complaints({"mode": "demo", "directory": raw})} == {f"directory.{name}" for name in names}


def test_asking_a_second_server_ends_before_decisions_do() -> None:
    raw = {"mode": "demo", "directory": LDAP | {"deadline": "10s"}}
    assert [line.split(":")[0] for line in complaints(raw)] == ["authz.stale_limit"]


def test_environment_wins_over_the_file() -> None:
    environ = {"YUMEN_WEB_THREADS": "3", "YUMEN_CA_CRL_LIFETIME": "12h", "YUMEN_MODE": "demo", "YUMEN_DIRECTORY_LDIF": "other.ldif"}
    settings = parse({"mode": "production", "web": {"threads": 9}}, environ, HOME)
    assert (settings.web.threads, settings.ca.crl_lifetime, settings.demo) == (3, dt.timedelta(hours=12), True)
    assert settings.directory.ldif == HOME / "other.ldif"


def test_environment_is_checked_like_the_file() -> None:
    assert [line.split(":")[0] for line in complaints({"mode": "demo"}, {"YUMEN_WEB_THREADS": "0"})] == ["web.threads"]


def test_file_is_read_from_the_home(tmp_path: Path) -> None:
    (tmp_path / "yumen.toml").write_text('mode = "demo"\n[web]\nthreads = 5\n', "utf-8")
    assert load({"YUMEN_HOME": str(tmp_path)}).web.threads == 5
    (tmp_path / "else.toml").write_text('mode = "demo"\n[web]\nthreads = 6\n', "utf-8")
    assert load({"YUMEN_HOME": str(tmp_path), "YUMEN_SETTINGS": str(tmp_path / "else.toml")}).web.threads == 6


def test_missing_file_says_how_to_make_a_home(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="yumen init --demo"):
        load({"YUMEN_HOME": str(tmp_path)})


@pytest.mark.parametrize("content", [b"mode = ", b"\xff\xfe"])
def test_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "yumen.toml").write_bytes(content)
    with pytest.raises(BadSettings, match=r"yumen\.toml"):
        load({"YUMEN_HOME": str(tmp_path)})


_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@given(st.integers(1, 9999), st.sampled_from(sorted(_UNITS)))
def test_durations_mean_what_they_say(number: int, unit: str) -> None:
    settings = parse({"mode": "demo", "audit": {"heartbeat": f"{number}{unit}"}}, {}, HOME)
    assert settings.audit.heartbeat == dt.timedelta(**{_UNITS[unit]: number})


@given(st.text(max_size=8) | st.integers() | st.booleans() | st.none() | st.floats())
def test_whatever_stands_for_a_duration_is_read_or_refused(value: Any) -> None:
    try:
        assert parse({"mode": "demo", "audit": {"heartbeat": value}}, {}, HOME).audit.heartbeat > dt.timedelta()
    except BadSettings as error:
        assert "audit.heartbeat" in str(error)


@given(
    st.one_of(st.booleans(), st.integers(max_value=0), st.integers(min_value=1 << 31), st.floats(), st.text(max_size=3, alphabet="-+ ٣x"))
)
def test_whole_numbers_are_positive_and_really_numbers(value: Any) -> None:
    assert complaints({"mode": "demo", "web": {"threads": value}}) == ["web.threads: must be a positive whole number"]


def test_settings_are_frozen_all_the_way_down() -> None:
    for kind in (Settings, *(hint for hint in get_type_hints(Settings).values() if dataclasses.is_dataclass(hint))):
        assert kind.__dataclass_params__.frozen, kind


BACKUP = {
    "targets": "file:///mnt/backups sftp://yumen@store.example:2222/srv/yumen s3://s3.example/yumen/daily",
    "sftp_key": "/etc/yumen/sftp.key",
    "sftp_known_hosts": "/etc/yumen/known_hosts",
    "s3_credentials": "/etc/yumen/s3.credentials",
}


def test_targets_of_backups_are_described_whole() -> None:
    assert parse({"mode": "demo", "backup": BACKUP}, {}, HOME).backup.targets == BACKUP["targets"]


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"targets": "sftp://yumen:word@store.example/srv"}, {"targets"}),
        ({"targets": "sftp://store.example/srv"}, {"targets"}),
        ({"targets": "s3://key:word@s3.example/yumen"}, {"targets"}),
        ({"targets": "s3://s3.example"}, {"targets"}),
        ({"targets": "http://s3.example/yumen"}, {"targets"}),
        ({"targets": "file://relative"}, {"targets"}),
        ({"targets": "file:///mnt/$(id)"}, {"targets"}),
        ({"targets": "s3://s3.example/yumen?acl"}, {"targets"}),
        ({"sftp_key": None, "sftp_known_hosts": None}, {"sftp_key", "sftp_known_hosts"}),
        ({"s3_credentials": None}, {"s3_credentials"}),
        ({"sftp_key": "sftp.key", "s3_credentials": "s3"}, {"sftp_key", "s3_credentials"}),
        ({"keep": "1h"}, {"keep"}),
    ],
)
def test_everything_wrong_with_targets_is_named_at_once(change: dict[str, str | None], names: set[str]) -> None:
    raw = {name: value for name, value in (BACKUP | change).items() if value is not None}
    assert {line.split(":")[0] for line in complaints({"mode": "demo", "backup": raw})} == {f"backup.{name}" for name in names}
