"""The protections of the promises, where each stands, and the test that must notice when it is gone."""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """One protection: `protection` stands exactly once in `path`; with `without` in its place `guard` must fail."""

    name: str
    path: str
    protection: str
    without: str
    guard: str


MUTANTS: tuple[Mutant, ...] = (
    # 1. No signature without a record.
    Mutant(
        "lints block",
        "ca/issuance.py",
        "    if found:\n        fail(works, order,",
        "    if False:\n        fail(works, order,",
        "tests/ca/test_issuance.py::test_what_breaks_a_lint_is_not_signed",
    ),
    Mutant(
        "signatures are verified before they leave",
        "ca/issuance.py",
        "made.issuer.suite.verify(signer.public_key, signature, made.tbs)",
        "pass",
        "tests/ca/test_issuance.py::test_a_faulty_signature_never_leaves_and_stops_that_authority_only",
    ),
    Mutant(
        "late certificates are discarded",
        "ca/intents.py",
        "if intent is None or intent.state != IntentState.OPEN:",
        "if intent is None:",
        "tests/ca/test_issuance.py::test_a_late_certificate_is_discarded",
    ),
    Mutant(
        "facts are read again before the signature",
        "ca/worker.py",
        "if changed := facts.changes(find_facts(snapshot, request.subject)):",
        "if changed := []:",
        "tests/ca/test_issuance.py::test_a_request_goes_back_when_the_directory_changed",
    ),
    # 2. No act without a permit.
    Mutant(
        "a permit is for one act",
        "audit/permit.py",
        "if (self.action, self.resource) != (action, resource):",
        "if False:",
        "tests/ca/test_registration.py::test_a_permit_for_another_request_is_a_bug",
    ),
    Mutant(
        "nobody decides on their own",
        "ca/registration.py",
        "if permit.actor.id in",
        "if False and permit.actor.id in",
        "tests/ca/test_registration.py::test_the_locked_row_refuses_one_s_own_request_whatever_the_policy_said",
    ),
    # 3. No change without an event.
    Mutant(
        "unrecorded changes are refused",
        "audit/record.py",
        "            tx.must_be_recorded()\n",
        "",
        "tests/audit/test_record.py::test_a_change_without_an_event_is_refused",
    ),
    # 4. If the trail cannot be written, the answer is no.
    Mutant(
        "those who wait for a failed write get no receipt",
        "audit/flusher.py",
        "        if waiting.error is not None:\n",
        "        if False:\n",
        "tests/audit/test_trail.py::test_when_the_trail_cannot_be_written_the_answer_is_no_and_later_told",
    ),
    Mutant(
        "the queue is bounded",
        "audit/flusher.py",
        "self._stopped or self._size + len(entries) > self._limit",
        "self._stopped",
        "tests/audit/test_trail.py::test_a_full_queue_answers_no_instead_of_growing",
    ),
    # 5. The trail cannot be thinned, cut or rewritten unseen.
    Mutant(
        "notes are believed under their key only",
        "audit/verifier/note.py",
        "ed25519.valid(key.public, self.text.encode(), one.data)",
        "True",
        "tests/audit/test_note.py::test_a_wrong_signature_under_a_trusted_name_rejects_the_whole_note",
    ),
    # 6. A revoked certificate or a removed role is refused within two seconds.
    Mutant(
        "kept answers are dropped under every hash",
        "ca/status.py",
        "self._kept.pop((authority, int(serial, 16)), None)",
        "pass",
        "tests/ca/test_status.py::test_kept_answers_are_the_same_bytes_until_the_poll_that_sees_the_revocation",
    ),
    Mutant(
        "a stale directory decides nothing",
        "authz/decide.py",
        'return "stale" if rule.directory and snapshot.freshness >= _TOO_OLD[rule.high_risk] else ""',
        'return ""',
        "tests/authz/test_world.py::test_unreadable_directory_keeps_the_last_reading_until_it_is_too_old",
    ),
    # 7. A serial that was never issued is never good, and neither is a right serial with the wrong issuer.
    Mutant(
        "what was never issued is unknown",
        "ca/status.py",
        "ocsp.Unknown() if issued is None else ocsp.Good()",
        "ocsp.Good()",
        "tests/ca/test_status.py::test_a_serial_that_was_never_issued_is_unknown_and_never_kept",
    ),
    Mutant(
        "standing is looked up each time, also for a chain that was verified before",
        "authz/evidence.py",
        ", *(snapshot.standing[pair] for pair in read.evidence if pair in snapshot.standing)",
        "",
        "tests/authz/test_certificates.py::test_revoked_certificate_opens_no_session_and_ends_those_it_opened",
    ),
    Mutant(
        "a verified chain is kept for the authorities that it was measured against",
        "authz/evidence.py",
        "kept_for is trust and ",
        "",
        "tests/authz/test_certificates.py::test_certificate_verified_before_is_measured_anew_when_the_authorities_change",
    ),
    Mutant(
        "a verified chain is kept while its dates allow",
        "authz/evidence.py",
        " and kept.not_before <= at <= kept.not_after",
        "",
        "tests/authz/test_certificates.py::test_expired_certificate_is_refused_also_when_it_was_verified_before",
    ),
    Mutant(
        "the issuer of a question is looked at",
        "ca/status.py",
        " or not any(mine.matches(request) for mine in desk.cert_ids)",
        "",
        "tests/ca/test_status.py::test_a_right_serial_with_another_issuer_is_refused",
    ),
    # 8. Deny by default, with the reason.
    Mutant(
        "a used code opens nothing",
        "authz/totp.py",
        "OneTime.last_step < step, ",
        "",
        "tests/authz/test_login.py::test_code_of_an_earlier_step_is_refused_after_a_later_one",
    ),
    # What certificate bytes mean.
    Mutant(
        "a request proves possession",
        "certs/csr.py",
        'if not reading.read("certification request", lambda: request.is_signature_valid):',
        "if False:",
        "tests/certs/test_csr.py::test_key_of_someone_else_is_not_proved",
    ),
    Mutant(
        "chains have a second opinion",
        "certs/chain.py",
        "reasons = reasons or _second_opinion(path, at)",
        "reasons = reasons",
        "tests/certs/test_chain.py::test_chain",
    ),
    Mutant(
        "CRL numbers grow",
        "certs/crl.py",
        "if fresh.number <= former.number:",
        "if fresh.number < former.number:",
        "tests/certs/test_crl.py::test_gate_holds_back_a_number_that_is_not_greater",
    ),
    Mutant(
        "a CRL forgets nobody",
        "certs/crl.py",
        "if serial in expected.unexpired and not released:",
        "if False:",
        "tests/certs/test_crl.py::test_gate_holds_back_a_list_that_forgets",
    ),
    Mutant(
        "an OCSP question is about one issuer",
        "certs/ocsp.py",
        "return mine == (request.hash_name, request.issuer_name_hash, request.issuer_key_hash)",
        "return True",
        "tests/certs/test_ocsp.py::test_right_serial_of_the_wrong_issuer_does_not_match",
    ),
    # The door.
    Mutant(
        "forged certificate fields are refused",
        "web/front.py",
        "            refuse_forged(environ)\n",
        "",
        "tests/web/test_door.py::test_forged_certificate_fields_are_refused_everywhere",
    ),
    Mutant(
        "two callers in one request are refused",
        "web/callers.py",
        "not _is(other, caller):",
        "False:",
        "tests/web/test_door.py::test_two_credentials_that_name_two_callers_are_refused",
    ),
    Mutant(
        "another site's page cannot act with a certificate",
        "web/credentials.py",
        "if seen.changes_state and seen.origin is not None and not _same(seen.origin, own):",
        "if False:",
        "tests/web/test_door.py::test_another_sites_page_cannot_act_with_a_certificate",
    ),
    Mutant(
        "a form cannot act with a certificate",
        "web/callers.py",
        "    require_json(seen)\n",
        "",
        "tests/web/test_door.py::test_every_state_change_by_certificate_wants_json_also_without_a_body",
    ),
    Mutant(
        "a person's certificate alone does nothing but open a session",
        "web/callers.py",
        "if not shown.reasons and shown.identity and shown.identity.kind is Kind.PERSON:",
        "if False:",
        "tests/web/test_door.py::test_a_persons_certificate_opens_a_session_and_nothing_else",
    ),
    Mutant(
        "routes are open to whom they say",
        "web/visit.py",
        "        if welcome:\n",
        "        if True:\n",
        "tests/web/test_routes.py::test_nobody_known_is_turned_away_everywhere_else",
    ),
    Mutant(
        "members given twice are refused",
        "web/strict.py",
        "if len(found) != len(pairs):",
        "if False:",
        "tests/web/test_strict.py::test_what_is_not_exactly_one_well_formed_value_is_refused",
    ),
    Mutant(
        "header fields given twice are refused",
        "web/server.py",
        'raise ValueError("a header field is given twice")',
        "pass",
        "tests/web/test_server.py::test_what_is_no_clean_request_gets_a_problem_document_and_the_connection_ends",
    ),
    Mutant(
        "resumed sessions keep their certificate",
        "web/server.py",
        '    context.set_session_id(b"yumen")\n',
        "",
        "tests/web/test_server.py::test_a_client_certificate_works_on_a_resumed_session",
    ),
    Mutant(
        "a connection takes no thread before its request is whole",
        "web/wire.py",
        "        if len(self._inbox) >= whole:\n",
        "        if True:\n",
        "tests/web/test_server.py::test_who_waits_for_100_continue_gets_it",
    ),
    Mutant(
        "silent clients are dropped",
        "web/server.py",
        "                self._sweep(swept)\n",
        "",
        "tests/web/test_server.py::test_a_handshake_has_five_seconds",
    ),
    Mutant(
        "what goes wrong for a known caller is recorded",
        "web/visit.py",
        "            self.note(error)\n",
        "            pass\n",
        "tests/web/test_door.py::test_bad_json_is_refused_and_on_record",
    ),
    Mutant(
        "the staff client believes one root only",
        "cli/client/api.py",
        "context = ssl.create_default_context(cafile=str(server.ca_file))",
        "context = ssl._create_unverified_context()",
        "tests/cli/test_client.py::test_another_authority_is_not_believed",
    ),
    Mutant(
        "the staff client takes no certificate for another key",
        "cli/client/enroll.py",
        "if found.leaf.public_key() != key:",
        "if False:",
        "tests/cli/test_client.py::test_a_certificate_for_another_key_is_refused",
    ),
    Mutant(
        "sessions are kept private",
        "cli/client/session.py",
        "os.O_EXCL, 0o600)",
        "os.O_EXCL, 0o644)",
        "tests/cli/test_client.py::test_a_session_is_kept_private_and_comes_back",
    ),
    Mutant(
        "a demonstration is one for ever",
        "ops/node.py",
        "    _must_keep_its_mode(database, settings)\n",
        "",
        "tests/ops/test_demo.py::test_a_demonstration_never_becomes_a_home_of_production",
    ),
    Mutant(
        "the settings file of a demonstration comes last",
        "ops/demo.py",
        '    tell("province")\n',
        '    tell("province")\n    write_durably(settings.home / "yumen.toml", _settings_text(settings).encode())\n',
        "tests/ops/test_demo.py::test_killed_again_and_again_it_is_completed_by_the_next_run[short]",
    ),
    Mutant(
        "one process leads",
        "ops/worker.py",
        "            if not self._claim.take():\n",
        "            if False:\n",
        "tests/ops/test_worker.py::test_only_the_leader_does_the_jobs",
    ),
    # Pages: what a browser of ours must not be led to, and what it must not give away.
    Mutant(
        "forms carry a token",
        "web/pages/__init__.py",
        "protection = CSRFProtect(app)",
        "protection = CSRFProtect()",
        "tests/pages/test_ways.py::test_form_without_its_token_changes_nothing",
    ),
    Mutant(
        "a login leads nowhere else",
        "web/pages/entrance.py",
        'return wanted if _LOCAL.fullmatch(wanted) else ""',
        "return wanted",
        "tests/pages/test_ways.py::test_login_leads_nowhere_else",
    ),
    Mutant(
        "the waiting key is encrypted",
        "web/static/enrol.js",
        'await subtle.encrypt({ name: "AES-GCM", iv, additionalData: utf8(id) }, wrapping, plain)',
        "plain",
        "tests/pages/test_enrol_module.py::test_waiting_key_is_stored_only_encrypted",
    ),
    Mutant(
        "a file holds a key and its own certificate",
        "web/static/enrol.js",
        'if (hex(await sha256(publicKeyOf(certificates[0]))) !== id) throw new EnrolmentError("other-key");',
        "",
        "tests/pages/test_enrol_module.py::test_failures_are_named",
    ),
    # The directory over LDAP: an error gives, keeps and takes no role, and nobody unproved is told anything.
    Mutant(
        "the server's certificate is verified",
        "authz/directory.py",
        "        context.minimum_version = ssl.TLSVersion.TLSv1_2\n",
        "        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE\n",
        "tests/authz/test_ldap_attacks.py::test_a_server_of_an_unknown_authority_is_refused",
    ),
    Mutant(
        "the server's name is verified",
        "authz/directory.py",
        "        context.minimum_version = ssl.TLSVersion.TLSv1_2\n",
        "        context.check_hostname = False\n",
        "tests/authz/test_ldap_attacks.py::test_a_server_with_a_certificate_for_another_name_is_refused",
    ),
    Mutant(
        "referrals are not followed",
        "authz/directory.py",
        "            auto_referrals=False,\n",
        '            auto_referrals=setattr(server, "allowed_referral_hosts", [("*", True)]) is None,\n',
        "tests/authz/test_ldap_attacks.py::test_a_referral_is_never_followed",
    ),
    Mutant(
        "a part that is elsewhere is an error",
        "authz/directory.py",
        'if any(each["type"] != "searchResEntry" for each in response):',
        'response = [each for each in response if each["type"] == "searchResEntry"]\n        if False:',
        "tests/authz/test_ldap_attacks.py::test_a_referral_is_never_followed",
    ),
    Mutant(
        "answers of a search are complete",
        "authz/directory.py",
        'cookie = result["controls"][_PAGED]["value"]["cookie"]',
        'cookie = b""',
        "tests/authz/test_ldap_attacks.py::test_more_entries_than_a_page_are_read_whole",
    ),
    Mutant(
        "names are escaped",
        "authz/dialects.py",
        'return character if character.isascii() and character.isalnum() else f"\\\\{byte:02x}"',
        "return character",
        "tests/authz/test_ldap_attacks.py::test_a_filter_holds_values_and_never_syntax",
    ),
    Mutant(
        "an account has exactly the typed name",
        "authz/directory.py",
        "if len(found) != 1 or found[0].attributes.get(name.lower()) != (uid.encode(),):",
        "if not found:",
        "tests/authz/test_sources.py::test_the_right_password_is_accepted_and_nothing_else",
    ),
    Mutant(
        "two accounts of one name are none",
        "authz/directory.py",
        "if len(found) != 1 or found",
        "if not found or found",
        "tests/authz/test_ldap_attacks.py::test_two_accounts_of_one_name_are_none",
    ),
    Mutant(
        "an empty password is not tried",
        "authz/directory.py",
        "return 0 < len(text.encode()) <= most",
        "return len(text.encode()) <= most",
        "tests/authz/test_ldap_attacks.py::test_an_empty_password_is_refused_before_anything_is_asked",
    ),
    Mutant(
        "a server that lags behind is not asked",
        "authz/directory.py",
        "if dialect.ordered and self._stamp is not None and stamp.behind(self._stamp):",
        "if False:",
        "tests/authz/test_ldap_attacks.py::test_a_server_that_lags_behind_does_not_bring_back_what_was_taken",
    ),
    Mutant(
        "a frozen server is given up",
        "authz/directory.py",
        "            self._connection.socket.settimeout(patience)\n",
        "            self._connection.socket.settimeout(30)\n",
        "tests/authz/test_ldap_attacks.py::test_the_next_server_is_asked_when_one_is_dead_or_frozen",
    ),
    Mutant(
        "a failed server is left alone",
        "authz/failover.py",
        "            if self._monotonic() < self._closed_until:\n                return False\n",
        "",
        "tests/authz/test_failover.py::test_a_failed_server_costs_one_caller_and_is_left_alone_for_longer_each_time",
    ),
    Mutant(
        "parts of long groups are fetched",
        "authz/dialects.py",
        """f"{match['name']};range={first + len(values)}-*\"""",
        '""',
        "tests/authz/test_dialects.py::test_members_that_come_in_parts_are_all_fetched",
    ),
    Mutant(
        "an unreadable entry is not left out",
        "authz/dialects.py",
        "            raise Malformed(",
        "            return None\n            raise Malformed(",
        "tests/authz/test_dialects.py::test_an_entry_that_cannot_be_read_spoils_the_reading_and_is_not_left_out",
    ),
    Mutant(
        "a silent directory does not age the rows",
        "authz/world.py",
        'self._looking = {"directory": threading.Lock(), "rows": threading.Lock()}',
        'self._looking = dict.fromkeys(("directory", "rows"), threading.Lock())',
        "tests/authz/test_ldap_world.py::test_while_no_server_answers_roles_stay_until_they_are_too_old_and_then_nobody_has_any",
    ),
    # What an attack from outside has shown.
    Mutant(
        "invented names are counted, not told one by one",
        "authz/login.py",
        "if person is not None or world.tally.admit(_whom(world, attempt), tx.now):",
        "if True:",
        "tests/authz/test_login.py::test_invented_names_cannot_fill_the_trail_however_many_are_tried",
    ),
    Mutant(
        "refused certificates are counted",
        "authz/login.py",
        'if not STRANGERS.intersection(shown.reasons) and world.tally.admit(f"cert:{cert}", world.clock()):',
        "if not STRANGERS.intersection(shown.reasons):",
        "tests/authz/test_certificates.py::test_a_revoked_certificate_cannot_fill_the_trail_with_its_refusals",
    ),
    Mutant(
        "a length is read whole",
        "web/wire.py",
        "([0-9]{1,18})",
        "([0-9]{1,9})",
        "tests/web/test_attack.py::test_a_length_written_in_many_digits_hides_no_second_request",
    ),
    Mutant(
        "a host name belongs to one asset",
        "authz/applications.py",
        "    _names_must_be_free(tx, names)\n",
        "",
        "tests/authz/test_authzen.py::test_nobody_registers_the_name_of_another_asset_or_an_application_as_an_asset",
    ),
)
