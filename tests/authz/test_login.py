from __future__ import annotations

import datetime as dt
import threading

import pytest
from sqlalchemy import select

from audit.permit import Action
from audit.record import recording
from authz import enrol, login, province, sessions, throttle, totp
from authz.decide import Target
from authz.login import Attempt
from authz.tables import OneTime, SessionRow, Throttle
from core.errors import CodeUsed, Conflict, RateLimited, Unauthenticated


def attempt(place, uid="zhangsan", *, code=None, password=None, source="10.1.2.3"):
    account = place.accounts.get(uid)
    word = account.password if password is None else password
    return Attempt(uid=uid, password=word, code=place.code(uid) if code is None else code, source=source)


def test_password_and_code_open_a_session_whose_token_is_not_stored(enrolled):
    opened = login.by_password(enrolled.world, attempt(enrolled))
    assert opened.token.startswith("ys_")
    assert opened.assurance == "password+totp"
    caller = sessions.caller(enrolled.world, opened.token, "")
    assert caller.person.name == "张三"
    assert caller.actor.roles == ("everyone", "staff")
    stored = enrolled.stored()
    assert opened.token.encode() not in stored
    assert caller.person.uuid.encode() in stored
    assert enrolled.count("AZ2001") == 1


def test_wrong_password_and_unknown_account_read_alike_and_are_recorded_without_the_typed_name(enrolled):
    told = []
    for uid, password in (("zhangsan", "wrong"), ("wangmazi", "wrong")):
        with pytest.raises(Unauthenticated) as refused:
            login.by_password(enrolled.world, Attempt(uid=uid, password=password, code="123456", source="10.1.2.3"))
        told.append((refused.value.detail, refused.value.facts))
    assert told[0] == told[1]
    bodies = enrolled.bodies("AZ2002")
    assert len(bodies) == 2
    assert not any(b"wangmazi" in body or b"zhangsan" in body for body in bodies)


def test_empty_password_is_refused(enrolled):
    with pytest.raises(Unauthenticated):
        login.by_password(enrolled.world, attempt(enrolled, password=""))


@pytest.mark.parametrize("steps", [-1, 0, 1])
def test_code_is_accepted_one_step_either_side(enrolled, steps):
    assert login.by_password(enrolled.world, attempt(enrolled, code=enrolled.code("zhangsan", steps)))


@pytest.mark.parametrize("steps", [-2, 2])
def test_code_two_steps_away_is_refused(enrolled, steps):
    with pytest.raises(Unauthenticated):
        login.by_password(enrolled.world, attempt(enrolled, code=enrolled.code("zhangsan", steps)))


def test_used_code_is_named_as_used_only_after_a_right_password(enrolled):
    login.by_password(enrolled.world, attempt(enrolled))
    with pytest.raises(CodeUsed) as used:
        login.by_password(enrolled.world, attempt(enrolled))
    assert 0 < used.value.retry_after_seconds <= 30
    with pytest.raises(Unauthenticated):
        login.by_password(enrolled.world, attempt(enrolled, password="wrong"))


def test_code_of_an_earlier_step_is_refused_after_a_later_one(enrolled):
    login.by_password(enrolled.world, attempt(enrolled, code=enrolled.code("zhangsan", 1)))
    with pytest.raises(CodeUsed):
        login.by_password(enrolled.world, attempt(enrolled, code=enrolled.code("zhangsan", 0)))


def test_one_code_opens_one_session_however_many_try_at_once(enrolled):
    outcomes, barrier = [], threading.Barrier(8)
    tried = attempt(enrolled)

    def run():
        barrier.wait()
        try:
            outcomes.append(login.by_password(enrolled.world, tried).session)
        except (CodeUsed, RateLimited) as error:
            outcomes.append(type(error))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 8
    assert sum(type(outcome) is str for outcome in outcomes) == 1
    with enrolled.trail.database.reading() as db:
        assert len(list(db.scalars(select(SessionRow)))) == 1


def test_five_failures_delay_that_account_from_that_network_and_nobody_else(enrolled):
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            login.by_password(enrolled.world, attempt(enrolled, password="wrong"))
    with pytest.raises(RateLimited) as slow:
        login.by_password(enrolled.world, attempt(enrolled))
    assert 0 < slow.value.retry_after_seconds <= 61
    assert enrolled.count("AZ2003") == 1
    assert login.by_password(enrolled.world, attempt(enrolled, "zhaoliu"))
    assert login.by_password(enrolled.world, attempt(enrolled, source="192.0.2.1"))
    enrolled.time.pass_(seconds=61)
    enrolled.world.refresh()
    assert login.by_password(enrolled.world, attempt(enrolled))


def test_existing_session_is_not_delayed_by_failures(enrolled):
    opened = login.by_password(enrolled.world, attempt(enrolled))
    for _ in range(6):
        with pytest.raises((Unauthenticated, RateLimited)):
            login.by_password(enrolled.world, attempt(enrolled, password="wrong"))
    assert sessions.caller(enrolled.world, opened.token, "").known


def test_wrong_codes_after_a_right_password_delay_from_everywhere(enrolled):
    for number in range(5):
        with pytest.raises(Unauthenticated):
            login.by_password(enrolled.world, attempt(enrolled, code="000000", source=f"10.{number}.0.1"))
    with pytest.raises(RateLimited):
        login.by_password(enrolled.world, attempt(enrolled, source="10.99.0.1"))


def test_failed_logins_beyond_ten_a_minute_are_counted_not_recorded_each(place):
    for number in range(15):
        with pytest.raises((Unauthenticated, RateLimited)):
            login.by_password(place.world, attempt(place, code="1", password="wrong", source=f"10.{number}.0.1"))
    assert place.count("AZ2002") == throttle.EACH
    place.time.pass_(seconds=61)
    place.world.refresh()
    assert place.count("AZ2010") == 1
    assert b'"count":5' in place.bodies("AZ2010")[0]


def test_recovery_code_logs_in_once(place):
    person = place.person("zhangsan")
    permit = place.permit("service:demo", Action.TOTP_ENROL, Target(f"person:{person.id}", owner=person.id))
    with recording(place.trail) as tx:
        codes = totp.enrol_known(tx, place.world.keys, person, "JBSWY3DPEHPK3PXP", permit=permit)
    assert len(set(codes)) == 10
    assert login.by_password(place.world, attempt(place, code=codes[3].upper()))
    assert place.count("AZ2007") == 1
    with pytest.raises(Unauthenticated):
        login.by_password(place.world, attempt(place, code=codes[3]))


def hand_out(place, registrar="zhaoliu", uid="zhangsan"):
    person = place.person(uid)
    permit = place.permit(registrar, Action.TOTP_CODE_ISSUE, Target(f"person:{person.id}", unit=person.unit, owner=person.id))
    with recording(place.trail) as tx:
        return totp.hand_out(tx, place.world.keys, person, dt.timedelta(days=3), permit=permit)


def test_enrolment_needs_password_and_the_registrars_code_which_works_once(place):
    with pytest.raises(Unauthenticated) as first:
        login.by_password(place.world, attempt(place, code="000000"))
    assert first.value.facts["reason"] == "not-enrolled"
    code = hand_out(place)
    offer = enrol.begin(place.world, attempt(place, code=code))
    assert offer.uri.startswith("otpauth://totp/")
    place.secrets["zhangsan"] = offer.secret
    recovery = enrol.finish(place.world, attempt(place, code=code), place.code("zhangsan"))
    assert len(recovery) == 10
    with pytest.raises(CodeUsed):
        login.by_password(place.world, attempt(place))
    place.time.pass_(seconds=30)
    place.world.refresh()
    assert login.by_password(place.world, attempt(place))
    with pytest.raises(Unauthenticated):
        enrol.begin(place.world, attempt(place, code=code))


def test_stolen_password_alone_enrols_nothing(place):
    with pytest.raises(Unauthenticated):
        enrol.begin(place.world, attempt(place, code="aaaaa-bbbbb"))
    code = hand_out(place, uid="zhangsan")
    with pytest.raises(Unauthenticated):
        enrol.begin(place.world, attempt(place, "lisi", code=code))


def test_enrolment_code_ends_with_its_time_and_with_the_next_one(place):
    old = hand_out(place)
    new = hand_out(place)
    with pytest.raises(Unauthenticated):
        enrol.begin(place.world, attempt(place, code=old))
    place.time.pass_(days=3)
    place.world.refresh()
    with pytest.raises(Unauthenticated):
        enrol.begin(place.world, attempt(place, code=new))


def test_unfinished_offer_is_forgotten(place):
    code = hand_out(place)
    offer = enrol.begin(place.world, attempt(place, code=code))
    place.secrets["zhangsan"] = offer.secret
    place.time.pass_(minutes=16)
    place.world.refresh()
    with pytest.raises(Conflict):
        enrol.finish(place.world, attempt(place, code=code), place.code("zhangsan"))


def test_secret_is_sealed_to_its_person_and_row(enrolled):
    with enrolled.trail.database.reading() as db:
        rows = {row.person: row for row in db.scalars(select(OneTime))}
        mine, other = (rows[enrolled.accounts[uid].uuid] for uid in ("zhangsan", "zhaoliu"))
        assert enrolled.secrets["zhangsan"].encode() not in mine.secret
        mine.secret = other.secret
        with pytest.raises(Exception, match="does not open"):
            totp.step_of(enrolled.world.keys, mine, "123456", enrolled.time.now)


def test_session_ends_when_idle_when_old_and_when_ended(enrolled):
    idle = login.by_password(enrolled.world, attempt(enrolled))
    enrolled.time.pass_(minutes=29)
    assert sessions.caller(enrolled.world, idle.token, "").known
    enrolled.time.pass_(minutes=29)
    assert sessions.caller(enrolled.world, idle.token, "").known
    enrolled.time.pass_(minutes=31)
    with pytest.raises(Unauthenticated) as ended:
        sessions.caller(enrolled.world, idle.token, "")
    assert ended.value.facts["reason"] == "idle"
    other = login.by_password(enrolled.world, attempt(enrolled))
    for _ in range(25):
        enrolled.time.pass_(minutes=25)
        try:
            sessions.caller(enrolled.world, other.token, "")
        except Unauthenticated as error:
            assert error.facts["reason"] == "too-old"
            break
    else:
        pytest.fail("the session never grew too old")


def test_ended_session_is_refused_at_once(enrolled):
    opened = login.by_password(enrolled.world, attempt(enrolled))
    me = enrolled.person("zhangsan").id
    permit = enrolled.permit("zhangsan", Action.SESSION_END, Target(f"session:{opened.session}", owner=me))
    with recording(enrolled.trail) as tx:
        sessions.end(tx, opened.session, permit=permit)
    with pytest.raises(Unauthenticated):
        sessions.caller(enrolled.world, opened.token, "")


def test_session_of_who_left_is_refused(enrolled):
    opened = login.by_password(enrolled.world, attempt(enrolled))
    dn = province.person_dn("zhangsan", "qinghe.linhe.jiangzhou")
    enrolled.edit(lambda entry: entry._replace(attributes={**entry.attributes, "employeetype": ("inactive",)}) if entry.dn == dn else entry)
    enrolled.time.pass_(seconds=1)
    with pytest.raises(Unauthenticated) as left:
        sessions.caller(enrolled.world, opened.token, "")
    assert left.value.facts["reason"] == "inactive"


@pytest.mark.parametrize("token", ["", "ys_", "ys_unknown", "x" * 5000, "ys_\udcff"])
def test_token_that_nobody_has_is_refused(place, token):
    with pytest.raises(Unauthenticated):
        sessions.caller(place.world, token, "")


def test_invented_names_cannot_fill_the_trail_however_many_are_tried(enrolled):
    tries = 3 * throttle.EACH
    for number in range(tries):
        with pytest.raises(Unauthenticated):
            login.by_password(enrolled.world, Attempt(uid=f"invented-{number}", password="x", code="123456", source="192.0.2.7"))
    assert enrolled.count("AZ2002") == throttle.EACH
    enrolled.time.pass_(seconds=61)
    enrolled.world.tally.flush(enrolled.trail, enrolled.time.now)
    (counted,) = enrolled.bodies("AZ2010")
    assert b'"count":%d' % (tries - throttle.EACH) in counted
    assert b"network:192.0.2.0/24" in counted


def test_a_network_that_must_wait_cannot_fill_the_trail_with_invented_names(enrolled, monkeypatch):
    monkeypatch.setattr(throttle, "NETWORK_STEPS", ((1, dt.timedelta(minutes=1)),))
    for number in range(3 * throttle.EACH):
        with pytest.raises((Unauthenticated, RateLimited)):
            login.by_password(enrolled.world, Attempt(uid=f"invented-{number}", password="x", code="123456", source="192.0.2.7"))
    assert enrolled.count("AZ2002") + enrolled.count("AZ2003") == throttle.EACH


def test_networks_beyond_the_limit_are_counted_together(enrolled):
    tally, now = throttle.Tally(), enrolled.time.now
    for number in range(throttle.MAX_TOLD_APART):
        assert tally.admit(f"network:{number}", now)
    assert sum(tally.admit(f"network:more-{number}", now) for number in range(100)) == throttle.EACH


def test_counters_of_guesses_are_forgotten_after_a_day(enrolled):
    for number in range(5):
        with pytest.raises(Unauthenticated):
            login.by_password(enrolled.world, Attempt(uid=f"invented-{number}", password="x", code="123456", source="192.0.2.7"))
    enrolled.time.pass_(hours=25)
    enrolled.world.refresh()
    with pytest.raises(Unauthenticated):
        login.by_password(enrolled.world, Attempt(uid="one-more", password="x", code="123456", source="198.51.100.1"))
    with enrolled.trail.database.reading() as db:
        assert len(list(db.scalars(select(Throttle)))) == 2


def test_a_person_sees_the_sessions_that_are_still_good_and_ends_the_others(enrolled):
    first = login.by_password(enrolled.world, attempt(enrolled))
    enrolled.time.pass_(minutes=20)
    second = login.by_password(enrolled.world, attempt(enrolled))
    me = first.person
    assert [one.id for one in sessions.of_person(enrolled.world, me)] == [second.session, first.session]
    permit = enrolled.permit("zhangsan", Action.SESSION_END, Target(f"person:{me.id}", me.unit, me.id))
    with recording(enrolled.trail) as tx:
        assert sessions.end_others(tx, me, second.session, permit=permit) == 1
    assert [one.id for one in sessions.of_person(enrolled.world, me)] == [second.session]
    with recording(enrolled.trail) as tx:
        assert sessions.end_others(tx, me, second.session, permit=permit) == 0
    enrolled.time.pass_(minutes=31)
    assert sessions.of_person(enrolled.world, me) == []


def test_failed_logins_are_found_under_the_name_that_the_trail_has_for_the_account(enrolled):
    with pytest.raises(Unauthenticated):
        login.by_password(enrolled.world, attempt(enrolled, password="wrong"))
    assert login.failures_of(enrolled.world, "zhangsan").encode() in enrolled.bodies("AZ2002")[0]
