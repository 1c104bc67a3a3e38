"""The measurement of the production form runs, on real servers and processes; what it finds is not judged here, but for the gross."""

from __future__ import annotations

import pytest

from bench import production, rounds
from bench.__main__ import embedded
from bench.province import Size

pytestmark = [pytest.mark.proof, pytest.mark.component("postgresql", "slapd", "openssl"), pytest.mark.timeout(300)]


SMALL = Size(units=60, staff=500, grants=0)


def told(rows):
    found = {}
    for row in rows:
        print(row)
        found.setdefault(row.what, []).append(row)
    return found


def test_the_embedded_form_is_measured_without_a_refusal(tmp_path, monkeypatch):
    monkeypatch.setattr(rounds, "ROUNDS", 2)
    found = told(embedded(tmp_path))
    assert found["evaluations, many callers"][0].ours.least > 0


def test_a_batch_of_commits_is_worth_many_single_ones(monkeypatch, tmp_path):
    monkeypatch.setattr(rounds, "ROUNDS", 2)
    found = told(production.decisions(tmp_path, SMALL, 0))
    assert found["decisions over HTTP, one instance"][0].ratio.median > 2


@pytest.mark.component("gcc")
def test_a_slow_disk_slows_what_commits_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(rounds, "ROUNDS", 1)
    found = told(production.decisions(tmp_path, SMALL, 20))
    commits = found["decisions over HTTP, two instances"][2]
    assert commits.limit.most < 2 * production.CLIENTS / 0.020


def test_a_role_that_ended_in_ldap_is_refused_at_both_instances(tmp_path):
    found = told(production.changes(tmp_path, SMALL, 3))
    assert all(found[f"role gone in LDAP, refused at web-{number}"][0].ours.most < 10 for number in (1, 2))
