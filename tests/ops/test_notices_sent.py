"""Notices arrive over verified TLS, each at most once whatever dies, and what cannot arrive is given up visibly."""

from __future__ import annotations

import hmac
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from audit.event import Event
from audit.event import Kind as Happened
from audit.permit import Actor, ActorKind
from core.clock import system
from core.database import open_sqlite
from core.settings import BadSettings, Settings, load, parse
from ops.node import open_node
from ops.notices import outbox
from ops.notices.notice import Kind, State
from ops.status import look
from ops.tables import Notice
from ops.worker import Worker
from tests.ca.conftest import founded, founded_on_postgresql, town  # noqa: F401
from tests.ca.town import Town, copy, open_town
from tests.ops.post import HANG_UP, PASSWORD, MailServer, Platform
from tests.ops.told import Told
from tests.production.machine import until
from tests.shape.rules import ROOT
from tests.web import pki

NUMBER = "138-0013-8000"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MailServer]:
    made = MailServer(tmp_path)
    yield made
    made.close()


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    made = Platform(tmp_path)
    yield made
    made.close()


@pytest.fixture
def small(founded: Path, tmp_path: Path) -> Iterator[Town]:  # noqa: F811
    """A town in SQLite: what is claimed here has nothing to do with the database."""
    opened = open_town(copy(founded, tmp_path / "town"))
    yield opened
    opened.close()


def states(told: Told) -> list[tuple[str, str]]:
    return [(row.state, row.problem) for row in told.rows()]


def test_a_mail_arrives_in_both_languages_and_is_recorded(town: Town, server: MailServer):  # noqa: F811
    told = Told.of(town, **server.settings)
    town.submit("zhangsan")
    told.turn(minutes=20)
    told.turn(minutes=20)
    assert {mail["To"] for mail in server.mails} == {"sunqi@jiangzhou.example", "zhaoliu@jiangzhou.example"}
    mail = server.mails[0]
    assert mail["X-Envelope-To"] == mail["To"]
    assert mail["Subject"] == "玉门：1 份申请等待审批 / Yumen: 1 request waits for you"
    assert (mail["Auto-Submitted"], mail.get_content_type()) == ("auto-generated", "text/plain")
    text = mail.get_content()
    assert "有 1 份证书申请等待您审批" in text
    assert "1 request for a certificate waits for your decision" in text
    assert "https://localhost:8443/desk" in text
    assert states(told) == [("sent", "")] * 2
    person = town.person("sunqi").id
    [event] = town.events(f"code:AZ5001 obj:person:{person}")
    assert event["d"] == {"notice": "approval", "way": "mail", "about": "approval:1", "attempts": 1}
    assert event["actor"]["id"] == "notices"


def test_no_mail_says_more_of_anybody_than_where_it_goes(small: Town, server: MailServer):
    told = Told.of(small, **server.settings)
    small.issued("zhangsan")
    small.submit("zhangsan")
    told.turn()
    told.signed_in("zhangsan", "10.1.2.3", "one")
    told.refused = "a digest"
    told.turn(days=340)
    told.turn(minutes=2)
    assert {row.kind for row in told.rows()} == set(Kind)
    people = told.current().directory.people.values()
    for mail in server.mails:
        text = mail.get_content() + mail["Subject"]
        found = [word for one in people for word in (one.name, one.name_en, one.uid, one.id, one.uuid, "10.1.2") if word in text]
        assert found == []


def test_nothing_is_said_to_a_server_that_cannot_prove_its_name(small: Town, server: MailServer, tmp_path: Path):
    stranger, _ = pki.make("Another CA").write(tmp_path, "another")
    small.submit("zhangsan")
    for section in (
        {"mail_ca_file": stranger},
        {"mail_server": server.settings["mail_server"].replace("localhost", "127.0.0.1")},
    ):
        told = Told.of(small, **(server.settings | section))
        told.turn(minutes=20)
        assert server.steps == []
    assert {state for state, _ in states(told)} == {"waiting"}


def test_nothing_is_said_to_a_server_without_tls(small: Town, tmp_path: Path):
    bare = MailServer(tmp_path, offers_tls=False)
    try:
        small.submit("zhangsan")
        told = Told.of(small, **bare.settings)
        told.turn(minutes=20)
        assert bare.steps == []
        assert {state for state, _ in states(told)} == {"waiting"}
    finally:
        bare.close()


NO_ADDRESSES = (
    "a@b.example\r\nBcc: victim@elsewhere.example",
    "a@b.example, victim@elsewhere.example",
    "a@b.example>\r\nDATA",
    "张三@b.example",
    " a@b.example",
    "",
)


@pytest.mark.parametrize("mail", NO_ADDRESSES)
def test_an_address_that_is_none_gets_nothing_and_puts_nothing_into_a_mail(small: Town, server: MailServer, mail: str):
    told = Told.of(small, **server.settings)
    small.move("zhangsan", mail=mail)
    told.turn()
    told.signed_in("zhangsan", "10.1.2.3", "one")
    told.signed_in("lisi", "10.1.2.3", "two")
    told.turn(seconds=6)
    assert [each["X-Envelope-To"] for each in server.mails] == ["lisi@jiangzhou.example"]
    assert states(told) == [("given-up", "no-address"), ("sent", "")]


def test_a_name_made_of_headers_stays_out_of_every_mail(small: Town, server: MailServer):
    told = Told.of(small, **server.settings)
    small.move("zhangsan", name="张三\r\nBcc: victim@elsewhere.example\r\n\r\n=cmd|' /C calc'!A0")
    told.turn()
    told.signed_in("zhangsan", "10.1.2.3", "one")
    told.turn(seconds=6)
    [mail] = server.mails
    assert mail["Bcc"] is None
    assert "victim" not in mail.as_string()


def test_what_is_refused_for_now_is_tried_again_ever_more_rarely(town: Town, server: MailServer):  # noqa: F811
    told = Told.of(town, **server.settings)
    told.turn()
    told.signed_in("zhangsan", "10.1.2.3", "one")
    server.answers["RCPT"] = "451 later"
    told.turn(seconds=6)
    tried = []
    for _ in range(30):
        told.turn(minutes=1)
        tried.append(told.rows()[0].attempts)
    assert tried[-1] in {5, 6}
    assert states(told) == [("waiting", "refused 451")]
    del server.answers["RCPT"]
    told.turn(hours=7)
    assert states(told) == [("sent", "refused 451")]
    assert len(server.mails) == 1


def test_what_is_refused_for_good_is_given_up_visibly(small: Town, server: MailServer):
    told = Told.of(small, **server.settings)
    told.turn()
    told.signed_in("zhangsan", "10.1.2.3", "one")
    server.answers["DATA"] = "554 5.7.1 <zhangsan@jiangzhou.example> is not wanted"
    told.turn(seconds=6)
    told.turn(hours=7)
    assert states(told) == [("given-up", "refused 554")]
    [event] = small.events("code:AZ5002")
    assert (event["out"], event["rsn"], event["d"]["attempts"]) == ("fail", "refused 554", 1)
    assert "zhangsan" not in json.dumps(event)
    with small.trail.database.reading() as session:
        now = small.clock.now()
        assert outbox.problems(session, now) == ["1 notices of the last seven days were given up: refused 554"]
        assert outbox.counts(session) == {"waiting": 0, "sending": 0, "sent": 0, "given-up": 1}


def test_a_mail_that_may_have_arrived_is_not_sent_again(small: Town, server: MailServer):
    told = Told.of(small, **server.settings)
    told.turn()
    told.signed_in("zhangsan", "10.1.2.3", "one")
    server.answers["DATA"] = HANG_UP
    told.turn(seconds=6)
    told.turn(hours=7)
    assert len(server.mails) == 1
    assert states(told) == [("given-up", "interrupted")]


def test_a_server_that_is_gone_delays_and_an_old_notice_is_given_up(small: Town, server: MailServer):
    told = Told.of(small, **server.settings)
    server.close()
    told.turn()
    told.signed_in("zhangsan", "10.1.2.3", "one")
    told.turn(seconds=6)
    told.turn(hours=2)
    assert states(told) == [("waiting", "")]
    with small.trail.database.reading() as session:
        assert outbox.problems(session, small.clock.now()) == ["1 notices wait for more than an hour; read the worker's log"]
    told.turn(days=3)
    assert states(told) == [("given-up", "unreachable")]


def test_two_leaders_at_once_send_each_notice_once(town: Town, server: MailServer):  # noqa: F811
    """As when a leader was frozen, another took over, and the first goes on."""
    one, other = (Told.of(town, **server.settings) for _ in range(2))
    for uid in ("zhangsan", "lisi", "wangwu", "zhouba", "fenger"):
        one.signed_in(uid, "10.1.2.3", f"of-{uid}")
    threads = [threading.Thread(target=told.turn) for told in (one, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(mail["To"].partition("@")[0] for mail in server.mails) == ["fenger", "lisi", "wangwu", "zhangsan", "zhouba"]


def test_what_was_claimed_and_never_ended_is_given_up_and_not_sent_again(town: Town, server: MailServer):  # noqa: F811
    told = Told.of(town, **server.settings)
    told.turn()
    told.signed_in("zhangsan", "10.1.2.3", "one")
    with told.trail.database.reading() as session:
        planned = list(told.notices._found(Kind.SIGN_IN, session))
    outbox.plan(told.trail, planned, {Kind.SIGN_IN: ["mail"]})
    assert outbox.claim(told.trail, "mail") is not None  # and its process dies
    told.restart()
    told.turn(minutes=5)
    assert states(told) == [("sending", "")]
    told.turn(minutes=6)
    assert states(told) == [("given-up", "interrupted")]
    assert server.mails == []
    assert len(town.events("code:AZ5002")) == 1


LEADER = """
import sys
from pathlib import Path
from tests.ca.town import open_town
from tests.ops.told import Told
from tests.production.machine import until
folder, port, ca = sys.argv[1:]
told = Told.of(open_town(Path(folder)), mail_server=f"localhost:{port}", mail_ca_file=Path(ca), mail_account="yumen",
               mail_from="yumen@jiangzhou.example")
print("leads", flush=True)
told.turn()
"""


@pytest.mark.slow
def test_a_leader_that_is_killed_while_it_sends_makes_nobody_hear_twice(founded: Path, tmp_path: Path, server: MailServer):  # noqa: F811
    """Killed at each step of the conversation in turn; the next leader goes on with the rest."""
    folder = copy(founded, tmp_path / "town")
    town = open_town(folder)  # noqa: F811
    told = Told.of(town, **server.settings)
    everybody = ("zhangsan", "lisi", "wangwu", "zhouba", "fenger", "sunqi")
    for uid in everybody:
        told.signed_in(uid, "10.1.2.3", f"of-{uid}")
    town.close()
    port = server.settings["mail_server"].rpartition(":")[2]
    child: list[subprocess.Popen[str]] = []
    for at in ("AUTH", "MAIL", "RCPT", "DATA", ""):
        server.heard = lambda step, at=at: os.kill(child[-1].pid, signal.SIGKILL) if step == at else None
        command = [sys.executable, "-c", LEADER, str(folder), port, str(server.ca_file)]
        child.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True))
        with child[-1]:
            assert child[-1].wait(60) == (0 if not at else -signal.SIGKILL)
    heard = sorted(mail["To"].partition("@")[0] for mail in server.mails)
    assert len(heard) == len(set(heard))
    after = open_town(folder)
    try:
        rows = Told.of(after, **server.settings)
        rows.turn(minutes=11)
        ends = [state for state, _ in states(rows)]
        assert (ends.count(State.SENT), ends.count(State.GIVEN_UP)) == (3, 3)
        assert len(server.mails) == 4  # three that are known to have arrived, and one that was killed a moment after it did
        assert set(heard) <= set(everybody)
    finally:
        after.close()


def test_a_short_message_is_posted_signed_and_only_with_a_number(town: Town, platform: Platform):  # noqa: F811
    told = Told.of(town, **platform.settings)
    town.move("zhangsan", mobile=NUMBER)
    told.turn()
    told.signed_in("zhangsan", "10.1.2.3", "one")
    told.signed_in("lisi", "10.1.2.3", "two")
    told.turn(seconds=6)
    [(headers, content)] = platform.posted
    message = json.loads(content)
    assert message["to"] == "13800138000"
    assert message["text"] == {"zh": "玉门：您的账户从新的网络登录", "en": "Yumen: your account was used from a new place"}
    assert set(message) == {"id", "kind", "to", "text", "made_at"}
    at, mac = (part.partition("=")[2] for part in headers["Yumen-Signature"].split(","))
    expected = hmac.new(b"a secret of the platform's", at.encode() + b"." + content, "sha256").hexdigest()
    assert mac == expected
    assert sorted(states(told)) == [("given-up", "no-address"), ("sent", "")]


def test_a_redirect_is_not_followed(small: Town, platform: Platform, tmp_path: Path):
    (tmp_path / "other").mkdir()
    other = Platform(tmp_path / "other")
    try:
        platform.status, platform.location = 307, other.url
        told = Told.of(small, **platform.settings)
        small.move("zhangsan", mobile=NUMBER)
        told.turn()
        told.signed_in("zhangsan", "10.1.2.3", "one")
        told.turn(seconds=6)
        assert (len(platform.posted), other.posted) == (1, [])
        assert states(told) == [("waiting", "refused 307")]
    finally:
        other.close()


def test_a_platform_that_cannot_prove_its_name_hears_nothing(small: Town, platform: Platform, tmp_path: Path):
    stranger, _ = pki.make("Another CA").write(tmp_path, "another")
    told = Told.of(small, **(platform.settings | {"webhook_ca_file": stranger}))
    small.move("zhangsan", mobile=NUMBER)
    told.turn()
    told.signed_in("zhangsan", "10.1.2.3", "one")
    told.turn(seconds=6)
    assert platform.posted == []
    assert {state for state, _ in states(told)} == {"waiting"}


def test_that_the_trail_is_closed_is_told_though_nothing_can_be_written_and_written_down_later(small: Town, server: MailServer):
    told, of_ends_only = Told.of(small, **server.settings), Told.of(small, **server.settings, by_mail="expiry")
    for each in (told, of_ends_only):
        each.turn()
    lock = next(small.folder.glob("*.lock"))
    lock.unlink()
    lock.mkdir()  # no writer can begin
    small.trail.failed()
    told.turn(seconds=5)
    assert server.mails == []  # a moment's trouble
    for _ in range(3):
        told.turn(minutes=2)
        of_ends_only.turn()  # a way that carries no alarms carries this one neither
    assert sorted(mail["To"].partition("@")[0] for mail in server.mails) == ["qianyi", "wujiu", "zhengshi"]
    assert "告警：审计记录无法写入" in server.mails[0]["Subject"]
    lock.rmdir()
    small.trail.beat()
    told.turn(minutes=1)
    assert [(row.state, row.kind) for row in told.rows()] == [("sent", "alarm")] * 3
    assert len(small.events("code:AZ5001")) == 3
    assert len(server.mails) == 3


def test_status_tells_what_was_not_delivered(home: Path, settings: Settings):
    database = open_sqlite(home / "yumen.db")
    now = system()
    lost = Notice(key="k", person="p", channel="mail", kind="alarm", facts="{}", state="given-up", attempts=3, problem="unreachable")
    lost.made_at = lost.due_at = lost.ended_at = now
    with database.writing() as session:
        session.add(lost)
    database.engine.dispose()
    assert [warning for warning in look(settings).warnings if "given up: unreachable" in warning]


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"webhook_url": "http://sms.example/send"}, "notices.webhook_url: write it as `https://host/path`"),
        ({"webhook_url": "https://user:word@sms.example/"}, "notices.webhook_url: write it as `https://host/path`"),
        ({"webhook_url": "https://sms.example/"}, "notices.webhook_secret_file: the platform's address"),
        ({"mail_server": "smtp.example"}, "notices.mail_server: write `host:port`"),
        ({"mail_server": "smtp.example:587", "mail_from": "a@b\r\nBcc: c@d"}, "notices.mail_from: name the address"),
        ({"mail_tls": "none"}, "notices.mail_tls: `none` is not one of starttls, tls"),
        ({"mail_account": "a"}, "notices.mail_password_file: an account and its password file"),
        ({"mail_account": "a", "mail_password_file": "word"}, "notices.mail_password_file: secrets lie outside the home"),
        ({"by_mail": "alarm gossip"}, "notices.by_mail: `gossip` is not one of alarm"),
        ({"expiry_days": "30 soon"}, "notices.expiry_days: write days"),
    ],
)
def test_settings_that_would_be_unsafe_are_refused(section: dict[str, str], said: str):
    with pytest.raises(BadSettings) as caught:
        parse({"mode": "demo", "notices": section}, {}, Path("/srv/yumen"))
    assert said in str(caught.value)


@pytest.mark.slow
def test_the_leading_worker_sends_by_itself(home: Path, tmp_path: Path, server: MailServer):
    (tmp_path / "word").write_text(PASSWORD)
    section = server.settings | {"mail_password_file": tmp_path / "word"}
    settings = "\n".join(f'{name} = "{value}"' for name, value in section.items())
    (home / "yumen.toml").write_text((home / "yumen.toml").read_text() + f"\n[notices]\n{settings}\n")
    node = open_node(load({"YUMEN_HOME": str(home)}), role="worker", with_keys=True)
    worker = Worker(node)
    try:
        person = node.world.current().directory.by_uid["zhangsan"]
        actor = Actor(ActorKind.PERSON, person.id, "cert")
        node.trail.append([Event(kind=Happened.LOGIN, actor=actor, object="session:one", source="10.1.2.3")])
        worker.start()
        until(lambda: server.mails, 30, "nothing arrives")
    finally:
        worker.stop()
        node.close()
    assert [mail["To"] for mail in server.mails] == ["zhangsan@jiangzhou.example"]
