"""Promise 6 on the running service: who loses a role in the directory is refused within two seconds, and so is a session."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from authz import ldif
from authz.ldif import LdifDirectory
from authz.people import Entry
from cli.client.api import Api
from cli.story.ending import question
from cli.story.people import login
from cli.story.stage import Stage, fresh_service, stage
from core.errors import Denied, Error, Unavailable

pytestmark = [pytest.mark.alone, pytest.mark.journey, pytest.mark.timeout(300)]

LIMIT = 2.0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("freshness")
    with fresh_service(folder / "var", print) as home, stage(home, print) as found:
        yield found


def rewrite(place: Stage, change: Callable[[Entry], Entry | None]) -> float:
    """Change the directory; the moment at which that was done."""
    path = place.home / "directory.ldif"
    entries = LdifDirectory(path).read().entries
    ldif.write(path, [new for entry in entries if (new := change(entry)) is not None])
    return time.monotonic()


def until(refused: Callable[[], bool], since: float) -> float:
    while not refused():
        assert time.monotonic() - since < LIMIT, "still let through"
        time.sleep(0.02)
    return time.monotonic() - since


def out_of_group(uid: str, role: str) -> Callable[[Entry], Entry]:
    def change(entry: Entry) -> Entry:
        if not entry.dn.startswith(f"cn={role},"):
            return entry
        members = tuple(member for member in entry.attributes["member"] if not member.startswith(f"uid={uid},"))
        return Entry(entry.dn, {**entry.attributes, "member": members or ("cn=nobody",)})

    return change


def answers(call: Callable[[], object]) -> bool:
    """Whether `call` is refused now."""
    try:
        call()
    except Error:
        return True
    return False


def test_a_registrar_without_the_role_approves_no_more(place: Stage):
    with login(place, "zhouba") as registrar:
        since = rewrite(place, out_of_group("zhouba", "registrar"))
        until(lambda: "registrar" not in {held["role"] for held in registrar.get("/api/v1/me")["roles"]}, since)
        with pytest.raises(Denied, match="needs the role registrar"):
            registrar.post("/api/v1/requests/1/approve", {"comment": ""})


def test_a_decision_follows_the_directory(place: Stage):
    with Api(place.application("oa")) as oa:
        asked = question("wangwu", "submit", "elsewhere")
        assert oa.post("/access/v1/evaluation", asked)["decision"]
        since = rewrite(place, out_of_group("wangwu", "staff"))
        until(lambda: not oa.post("/access/v1/evaluation", asked)["decision"], since)


def test_who_is_gone_is_gone_from_every_session(place: Stage):
    with login(place, "lisi") as gone:
        assert gone.get("/api/v1/me")["name"] == "李四"
        since = rewrite(place, lambda entry: None if entry.dn.startswith("uid=lisi,") else entry)
        until(lambda: answers(lambda: gone.get("/api/v1/me")), since)


def test_a_directory_that_cannot_be_read_refuses_decisions_within_its_limit(place: Stage):
    path = place.home / "directory.ldif"
    with Api(place.application("oa")) as oa:
        asked = question("zhaoliu", "read", "plan-2026")
        assert oa.post("/access/v1/evaluation", asked)["decision"]
        kept = path.rename(path.with_suffix(".away"))
        try:
            began = time.monotonic()
            while not answers(lambda: oa.post("/access/v1/evaluation", asked)):
                assert time.monotonic() - began < 12, "decides on a stale directory"
                time.sleep(0.2)
            with pytest.raises(Unavailable, match="directory"):
                oa.post("/access/v1/evaluation", asked)
        finally:
            kept.rename(path)
