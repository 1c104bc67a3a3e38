"""Attacks on the client of directory servers, each against a real one or a trap in its place."""

from __future__ import annotations

import signal
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz import ldif, province
from authz.dialects import matching
from authz.people import Entry
from core.errors import Unauthenticated, Unavailable
from tests.authz.slapd import PASSWORD, SUFFIX
from tests.authz.sources import whole
from tests.authz.traps import Cut, Trap

pytestmark = [pytest.mark.alone, pytest.mark.component("slapd")]

PLACE = province.unit_dn("qinghe.linhe.jiangzhou")
ZHANGSAN = province.accounts()[0]
#: BER of "StartTLS: success" and "StartTLS: protocolError" for the first message of a connection (RFC 4511 section 4.14).
STARTED = bytes.fromhex("300c02010178070a010004000400")
REFUSED = bytes.fromhex("300c02010178070a010204000400")


@contextmanager
def closing(thing):
    try:
        yield thing
    finally:
        thing.close()


def many(number: int) -> list[Entry]:
    """Persons beyond the province."""
    facts = {"objectclass": ("inetOrgPerson",), "cn": ("Extra",), "sn": ("Extra",)}
    return [
        Entry(
            f"uid=x{count:05d},ou=people,{PLACE}",
            {**facts, "uid": (f"x{count:05d}",), "entryuuid": (province.entry_uuid(5, f"x{count}"),)},
        )
        for count in range(number)
    ]


@pytest.mark.parametrize("scheme", ["ldaps", "ldap"])
def test_a_server_of_an_unknown_authority_is_refused(servers, reading, scheme):
    server = servers(certificate="stranger")
    port = server.ldaps if scheme == "ldaps" else server.ldap
    with pytest.raises(Unavailable, match="certificate verify failed"):
        reading(f"{scheme}://localhost:{port}").read()


@pytest.mark.parametrize("scheme", ["ldaps", "ldap"])
def test_a_server_with_a_certificate_for_another_name_is_refused(servers, reading, scheme):
    server = servers(certificate="wrong")
    port = server.ldaps if scheme == "ldaps" else server.ldap
    for host in ("localhost", "127.0.0.1"):
        with pytest.raises(Unavailable, match="mismatch"):
            reading(f"{scheme}://{host}:{port}").read()


@pytest.mark.parametrize("certificate", ["stranger", "wrong"])
def test_a_server_that_is_refused_has_heard_nothing(pki, reading, certificate):
    with closing(Trap(certificate=pki / certificate)) as trap:
        directory = reading(f"ldaps://localhost:{trap.port}")
        for ask in (directory.read, lambda: directory.check_password("zhangsan", ZHANGSAN.password)):
            with pytest.raises(Unavailable):
                ask()
        assert trap.connections
        assert trap.heard == b""


@pytest.mark.parametrize("answer", [STARTED, REFUSED, b"\x30\x84\xff\xff\xff\xff", b"220 smtp\r\n", b""])
def test_before_tls_nothing_is_said_but_the_wish_for_it(reading, answer):
    with closing(Trap(answers=(answer, b"garbage", b"garbage"))) as trap:
        began = time.monotonic()
        with pytest.raises(Unavailable):
            reading(f"ldap://localhost:{trap.port}").read()
        assert time.monotonic() - began < 5
        assert b"1.3.6.1.4.1.1466.20037" in trap.heard
        assert PASSWORD.encode() not in trap.heard
        assert b"reader" not in trap.heard


@pytest.mark.parametrize("how", ["ldaps", "starttls", "certificate", "certificate-starttls"])
def test_each_way_in_reads_everything(pki, servers, reading, how):
    server = servers()
    url = f"ldap://localhost:{server.ldap}" if "starttls" in how else server.url
    certified = {"bind_dn": "", "password_file": Path(), "client_cert": pki / "reader.pem", "client_key": pki / "reader.key"}
    directory = reading(url, **(certified if "certificate" in how else {}))
    assert len(directory.read().entries) > 150
    directory.check_password("zhangsan", ZHANGSAN.password)


def test_no_password_is_ever_asked_for(servers, reading):
    assert not [entry for entry in reading(servers().url).read().entries if "userpassword" in entry.attributes]


def test_a_new_password_of_the_reader_is_used_without_a_new_start(tmp_path, pki, servers, reading):
    server = servers()
    (tmp_path / "password").write_text("wrong")
    directory = reading(server.url, password_file=tmp_path / "password")
    with pytest.raises(Unavailable, match="refused the account"):
        directory.read()
    (tmp_path / "password").write_text(PASSWORD)
    time.sleep(2.1)
    assert directory.read().entries


@pytest.mark.parametrize("below", [False, True])
def test_a_referral_is_never_followed(servers, reading, below):
    """Below the base it would leave a part of the directory out; as the base it would send the password to whoever it names."""
    server = servers()
    with closing(Trap()) as trap:
        server.change(
            f"dn: cn=elsewhere,{PLACE}\nchangetype: add\nobjectClass: referral\nobjectClass: extensibleObject\n"
            f"cn: elsewhere\nref: ldap://127.0.0.1:{trap.port}/dc=trap\n"
        )
        directory = reading(server.url, **({} if below else {"base": f"ou=people,cn=elsewhere,{PLACE}"}))
        with pytest.raises(Unavailable, match="referral"):
            directory.read()
        if not below:
            with pytest.raises(Unavailable):
                directory.check_password("zhangsan", ZHANGSAN.password)
        time.sleep(0.2)
        assert (trap.connections, trap.heard) == (0, b"")


@pytest.mark.parametrize("ill", [signal.SIGSTOP, signal.SIGKILL])
def test_the_next_server_is_asked_when_one_is_dead_or_frozen(servers, reading, ill):
    first, second = servers(), servers()
    directory = reading(first.url, second.url)
    before = directory.read()
    first.signal(ill)
    try:
        for ask in (directory.read, lambda: directory.check_password("zhangsan", ZHANGSAN.password)):
            began = time.monotonic()
            ask()
            assert time.monotonic() - began < 2
        assert directory.read().by_id == before.by_id
        began = time.monotonic()
        for _ in range(20):
            directory.read()
        assert time.monotonic() - began < 1, "a server that failed a moment ago is asked again at each question"
    finally:
        first.signal(signal.SIGCONT)


def test_a_server_that_came_back_is_asked_again_and_lost_connections_are_renewed(servers, reading):
    server = servers()
    directory = reading(server.url)
    before = directory.read()
    server.kill()
    server.start()
    assert directory.read().by_id is before.by_id
    server.kill()
    with pytest.raises(Unavailable):
        directory.read()
    server.start()
    time.sleep(2.1)
    assert directory.read().by_id is before.by_id


def test_when_every_server_is_frozen_the_answer_comes_within_the_deadline(servers, reading):
    frozen = [servers() for _ in range(3)]
    directory = reading(*(server.url for server in frozen))
    directory.read()
    for server in frozen:
        server.signal(signal.SIGSTOP)
    most = 5 + 0.5
    began = time.monotonic()
    with pytest.raises(Unavailable):
        directory.read()
    assert time.monotonic() - began < most
    began = time.monotonic()
    with pytest.raises(Unavailable):
        directory.check_password("zhangsan", ZHANGSAN.password)
    assert time.monotonic() - began < most
    for server in frozen:
        server.signal(signal.SIGCONT)


def test_a_server_that_lags_behind_does_not_bring_back_what_was_taken(servers, reading):
    """The second server never heard of the change: what it says was true once."""
    first, second = servers(), servers()
    group, stays = province.group_dn("registrar", "qinghe.linhe.jiangzhou"), province.person_dn("sunqi", "qinghe.linhe.jiangzhou")
    directory = reading(first.url, second.url)
    directory.read()
    first.change(f"dn: {group}\nchangetype: modify\nreplace: member\nmember: {stays}\n")
    after = directory.read()
    assert next(entry for entry in after.entries if entry.dn == group).attributes["member"] == (stays,)
    first.kill()
    with pytest.raises(Unavailable, match="lags behind"):
        directory.read()


@given(st.text(max_size=40))
def test_a_filter_holds_values_and_never_syntax(text):
    try:
        made = matching("(uid={uid})", uid=text)
    except UnicodeEncodeError:
        return
    value = made.removeprefix("(uid=").removesuffix(")")
    assert not set(value) & set("()*&|!=\0")
    octets = bytes(int(each[1:], 16) if each[0] == "\\" else ord(each) for each in _split(value))
    assert octets.decode() == text


def _split(value):
    place = 0
    while place < len(value):
        size = 3 if value[place] == "\\" else 1
        yield value[place : place + size]
        place += size


def test_filters_are_written_in_one_place():
    """Only the dialects hold filters, only the client fills them in, and nobody else knows how to escape."""
    root = Path(__file__).parents[2]
    found = {
        str(path.relative_to(root))
        for room in ("core", "certs", "audit", "authz", "ca", "ops", "web", "cli")
        for path in (root / room).rglob("*.py")
        if any(word in path.read_text("utf-8") for word in ("(objectClass=", "escape_filter", "(uid={"))
    }
    assert found == {"authz/dialects.py", "authz/directory.py"}


def test_an_empty_password_is_refused_before_anything_is_asked(reading):
    """A bind with a name and no password is an anonymous one, and succeeds (RFC 4513 section 5.1.2)."""
    with closing(Trap()) as trap:
        directory = reading(f"ldaps://localhost:{trap.port}")
        for uid, word in (("zhangsan", ""), ("", "x"), ("zhangsan", "\0"), ("zhangsan", "x" * 2000), ("x" * 300, "x")):
            with pytest.raises(Unauthenticated):
                directory.check_password(uid, word)
        assert trap.connections == 0


def test_a_refusal_does_not_tell_whether_the_account_exists(servers, reading):
    directory = reading(servers().url)
    took = []
    for uid in ("zhangsan", "nobody", "*"):
        began = time.monotonic()
        with pytest.raises(Unauthenticated):
            directory.check_password(uid, "wrong")
        took.append(time.monotonic() - began)
    assert min(took) >= 0.25


def test_two_accounts_of_one_name_are_none(servers, reading, jiangzhou):
    twin = Entry(
        f"uid=zhangsan,ou=people,{province.unit_dn('yunshan.jiangzhou')}",
        {
            "objectclass": ("inetOrgPerson",),
            "uid": ("zhangsan",),
            "cn": ("Other",),
            "sn": ("Other",),
            "userpassword": (ldif.password(ZHANGSAN.password, province.QUICK),),
            "entryuuid": (province.entry_uuid(3, "twin"),),
        },
    )
    with pytest.raises(Unauthenticated):
        reading(servers([*jiangzhou, twin]).url).check_password("zhangsan", ZHANGSAN.password)


def test_more_entries_than_a_page_are_read_whole(servers, reading, jiangzhou):
    assert len(reading(servers([*jiangzhou, *many(2_500)]).url).read().entries) == len(jiangzhou) - 2 + 2_500


@pytest.mark.parametrize("limits", ["size=100", "size.soft=unlimited size.hard=unlimited size.prtotal=150", "size.pr=50"])
def test_a_limit_of_the_server_is_an_error_and_not_a_shorter_directory(servers, reading, limits):
    with pytest.raises(Unavailable, match=r"Limit"):
        reading(servers(limits=limits).url).read()


def test_a_refused_search_is_an_error_by_its_result_alone(servers, reading):
    """The library raises no exception for a referral; a base that does not exist is none either, unless it is asked to raise."""
    with pytest.raises(Unavailable, match="ended with `noSuchObject`"):
        reading(servers().url, base=f"dc=nowhere,{SUFFIX}").read()


def test_a_reading_that_breaks_off_changes_nothing(servers, reading, jiangzhou):
    """Wherever the connection is cut, the answer is an error; when it is whole again, the whole directory."""
    server = servers([*jiangzhou, *many(1_200)])
    with closing(Cut(server.ldaps)) as cut:
        directory = reading(f"ldaps://localhost:{cut.port}")
        before = directory.read()
        size = cut.passed
        server.change(f"dn: uid=x00000,ou=people,{PLACE}\nchangetype: modify\nreplace: mail\nmail: x@jiangzhou.example\n")
        for share in (0.02, 0.1, 0.5, 0.9):
            fresh = reading(f"ldaps://localhost:{cut.port}")
            cut.passed, cut.most = 0, int(size * share)
            with pytest.raises(Unavailable):
                fresh.read()
            fresh.close()
        server.change(f"dn: uid=x00001,ou=people,{PLACE}\nchangetype: delete\n")
        cut.passed, cut.most = 0, 300
        with pytest.raises(Unavailable):
            directory.read()
        cut.most = None
        time.sleep(2.1)
        after = directory.read()
        assert not after.settled
        assert after.by_id.keys() == before.by_id.keys()
        assert [entry for entry in after.entries if entry.one("mail") == "x@jiangzhou.example"]
        cut.passed, cut.most = 0, int(size * 0.1)
        with pytest.raises(Unavailable):
            directory.read()
        cut.most = None
        time.sleep(2.1)
        assert len(whole(directory).entries) == len(before.entries) - 1
        directory.close()


def test_a_server_that_hides_its_last_change_is_not_read(servers, reading):
    """Without the mark nobody would notice that a role ended."""
    with pytest.raises(Unavailable, match="lastusn"):
        reading(servers().url, dialect="389ds").read()


def test_nothing_is_left_open(servers, reading):
    server, before = servers(), _sockets()
    directory = reading(server.url)
    for _ in range(20):
        directory.read()
        directory.check_password("zhangsan", ZHANGSAN.password)
    assert _sockets() - before <= 2
    directory.close()
    assert _sockets() == before


def _sockets() -> int:
    return sum("socket" in _target(link) for link in Path("/proc/self/fd").iterdir())


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""
