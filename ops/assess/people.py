"""Roles: the three administrators apart from each other, every officer confirmed and with two factors, nobody forgotten."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from sqlalchemy import func, select

from authz.people import Holding
from authz.snapshot import ADMINISTRATORS, CONFIRMED, Snapshot
from authz.tables import ApiKey, Confirmation, GrantRow, OneTime
from ca.states import Standing
from ca.tables import Certificate, Revocation
from ops.assess.finding import Check, Evidence, Seen, Text, advice, few, good, wrong

#: A key that is older should be changed.
OLD_KEY = dt.timedelta(days=365)


def _holders(snapshot: Snapshot, role: str) -> list[str]:
    """Who counts as `role` now, by entryUUID."""
    return [uuid for uuid in snapshot.directory.people if role in snapshot.role_names(uuid)]


def _offices(seen: Seen) -> Iterator[Evidence]:
    for role in sorted(ADMINISTRATORS):
        number = len(_holders(seen.snapshot, role))
        fits = wrong if number == 0 else advice if number == 1 else good
        yield fits("{number} hold the role {role}", "角色 {role} 有 {number} 人", number=number, role=role)
    number = len(_holders(seen.snapshot, "registrar"))
    fits = advice if number < 2 else good
    yield fits("{number} hold the role {role}", "角色 {role} 有 {number} 人", number=number, role="registrar")


def _apart(seen: Seen) -> Iterator[Evidence]:
    snapshot = seen.snapshot
    for uuid, person in snapshot.directory.people.items():
        if roles := snapshot.conflict(uuid):
            yield wrong(
                "{person} is given {roles} by the directory, so none of them counts",
                "目录同时授予 {person} 以下角色，均不生效：{roles}",
                person=person.id,
                roles=", ".join(sorted(roles)),
            )
        mine = frozenset(snapshot.role_names(uuid))
        if "registrar" in mine and mine & ADMINISTRATORS:
            yield advice("{person} is registrar and administrator", "{person} 兼任注册员与管理员", person=person.id)
    yield good("the product lets nobody act under two of the three roles", "系统不允许任何人同时行使三员中的两种角色")


def _confirmed(seen: Seen) -> Iterator[Evidence]:
    snapshot = seen.snapshot
    waiting = [snapshot.directory.people[uuid].id for uuid in snapshot.directory.people if snapshot.unconfirmed(uuid)]
    if waiting:
        yield advice(
            "{number} hold roles that nobody confirmed: {names}",
            "{number} 人持有未经确认的角色：{names}",
            number=len(waiting),
            names=few(waiting),
        )
    rows = list(seen.session.scalars(select(Confirmation)))
    left = [f"{row.role} {row.person[:8]}…" for row in rows if not _given(snapshot, row)]
    if left:
        yield advice(
            "{number} confirmations are left of roles that the directory gives no more: {names}",
            "{number} 项确认所对应的角色已不在目录中：{names}",
            number=len(left),
            names=few(left),
        )
    yield good("{number} roles are confirmed", "已确认角色 {number} 项", number=len(rows) - len(left))


def _given(snapshot: Snapshot, row: Confirmation) -> bool:
    person = snapshot.directory.people.get(row.person)
    return person is not None and person.active and Holding(row.role, row.unit) in snapshot.directory.holdings.get(row.person, ())


def _factors(seen: Seen) -> Iterator[Evidence]:
    officers = {uuid for role in CONFIRMED for uuid in _holders(seen.snapshot, role)}
    people = seen.snapshot.directory.people
    coded = set(seen.session.scalars(select(OneTime.person).where(OneTime.state == "active").distinct()))
    bad = select(Revocation.intent_id).where(Revocation.standing != Standing.VALID)
    wanted = select(Certificate.owner).where(Certificate.not_after > seen.now, Certificate.intent_id.not_in(bad)).distinct()
    certified = set(seen.session.scalars(wanted.where(Certificate.subject == "person:" + Certificate.owner)))
    without = sorted(people[uuid].id for uuid in officers if uuid not in coded and people[uuid].id not in certified)
    if without:
        yield advice(
            "{number} officers have neither a certificate nor one-time codes, so they cannot sign in: {names}",
            "{number} 名管理员或注册员既无证书也未绑定动态口令，无法登录：{names}",
            number=len(without),
            names=few(without),
        )
    yield good(
        "{number} officers have a second factor; a password alone opens no session",
        "{number} 名管理员或注册员已有第二因素；仅凭口令无法登录",
        number=len(officers) - len(without),
    )


def _keys(seen: Seen) -> Iterator[Evidence]:
    old = select(ApiKey.application).where(ApiKey.withdrawn_at.is_(None), ApiKey.made_at < seen.now - OLD_KEY).order_by(ApiKey.made_at)
    names = list(seen.session.scalars(old))
    live = seen.session.scalar(select(func.count()).where(ApiKey.withdrawn_at.is_(None))) or 0
    if names:
        yield advice(
            "{number} API keys are older than a year: {names}",
            "{number} 个 API 密钥使用超过一年：{names}",
            number=len(names),
            names=few(names),
        )
    yield good("{number} API keys are in use", "在用 API 密钥 {number} 个", number=live)


def _grants(seen: Seen) -> Iterator[Evidence]:
    held = {holding.role for holdings in seen.snapshot.directory.holdings.values() for holding in holdings}
    rows = list(seen.session.execute(select(GrantRow.role, func.count()).where(GrantRow.withdrawn_at.is_(None)).group_by(GrantRow.role)))
    idle = sorted(role for role, _ in rows if role not in held)
    if idle:
        yield advice("grants name roles that nobody holds: {names}", "授权涉及无人持有的角色：{names}", names=few(idle))
    number = sum(count for _, count in rows)
    yield good("{number} grants are in force", "生效授权 {number} 条", number=number)


CHECKS = (
    Check(
        id="roles.offices",
        asks=Text("Each of the three administrators' offices is held, with a deputy.", "三员均有人任职，且有后备人员。"),
        do=Text(
            "Give the role in the directory, and let a security administrator confirm it on the page /security.",
            "在目录中授予角色，由安全管理员在 /security 页面确认。",
        ),
        clauses=("GB/T 22239-2019 8.1.4.2", "GB/T 39786-2021 8.6"),
        look=_offices,
    ),
    Check(
        id="roles.apart",
        asks=Text("Nobody holds two offices that watch each other.", "无人兼任相互制约的职务。"),
        do=Text("Take one of the roles away in the directory.", "在目录中去掉其中一个角色。"),
        clauses=("GB/T 22239-2019 8.1.4.2",),
        look=_apart,
    ),
    Check(
        id="roles.confirmed",
        asks=Text("Directory and confirmations agree on who administrators and registrars are.", "管理员和注册员在目录与确认记录中一致。"),
        do=Text(
            "Confirm what is right on the page /security, take the rest away in the directory; withdraw confirmations that are left.",
            "在 /security 页面确认应有的角色，其余在目录中去掉；撤回多余的确认。",
        ),
        clauses=("GB/T 22239-2019 8.1.4.2",),
        look=_confirmed,
    ),
    Check(
        id="roles.factors",
        asks=Text("Every administrator and registrar signs in with two factors.", "管理员和注册员均以双因素登录。"),
        do=Text(
            "Hand out an enrolment code, or let the person request a certificate; take roles away from who does not need them.",
            "发放绑定码或由本人申请证书；对不需要的人员取消角色。",
        ),
        clauses=("GB/T 22239-2019 8.1.4.1 d", "GB/T 39786-2021 8.4"),
        look=_factors,
    ),
    Check(
        id="roles.keys",
        asks=Text("No application's API key is older than a year.", "应用的 API 密钥使用期不超过一年。"),
        do=Text("Make a new key, change the application over, withdraw the old one.", "生成新密钥，切换应用后作废旧密钥。"),
        clauses=("GB/T 22239-2019 8.1.4.1 a",),
        look=_keys,
    ),
    Check(
        id="roles.grants",
        asks=Text("Grants name roles that somebody holds.", "授权所涉及的角色均有人持有。"),
        do=Text("Withdraw what nobody uses, or create the group in the directory.", "撤回无人使用的授权，或在目录中建立相应组。"),
        clauses=("GB/T 22239-2019 8.1.4.2",),
        look=_grants,
    ),
)
