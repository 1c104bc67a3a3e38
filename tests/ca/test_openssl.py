"""OpenSSL as the relying party: what it accepts, and that it stops accepting after a revocation."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca.status import Responder
from ca.tables import Certificate
from tests.ca.town import Town

pytestmark = pytest.mark.component("openssl")


class Party:
    """Files of one relying party, and what openssl says about them."""

    def __init__(self, town: Town, folder: Path, certificate: Certificate) -> None:
        self.town, self.folder, self.certificate = town, folder, certificate
        for name, one in zip(("leaf", "issuing", "root"), town.chain(certificate), strict=True):
            (folder / f"{name}.pem").write_bytes(one.public_bytes(Encoding.PEM))

    def run(self, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(["openssl", *arguments], cwd=self.folder, capture_output=True, text=True, timeout=30, check=False)
        return done.returncode, done.stdout + done.stderr

    def verify(self) -> tuple[int, str]:
        responder = self.town.responder()
        lists = b"".join(
            x509.load_der_x509_crl(responder.crl(name) or b"").public_bytes(Encoding.PEM) for name in ("root", self.certificate.authority)
        )
        (self.folder / "lists.pem").write_bytes(lists)
        checks = ["-x509_strict", "-crl_check_all", "-CRLfile", "lists.pem"]
        return self.run("verify", *checks, "-CAfile", "root.pem", "-untrusted", "issuing.pem", "leaf.pem")

    def ocsp(self, responder: Responder, *options: str, issuer: str = "issuing.pem", serial: str = "") -> str:
        asked = ["-serial", serial] if serial else ["-cert", "leaf.pem"]
        who = ["ocsp", *options, "-issuer", issuer, *asked]
        code, said = self.run(*who, "-reqout", "request.der")
        assert code == 0, said
        request = (self.folder / "request.der").read_bytes()
        (self.folder / "answer.der").write_bytes(responder.answer(self.certificate.authority, request).der)
        # Without -no_nonce openssl would add a second, new nonce to the request that it reads back.
        checked = ["-no_nonce", "-CAfile", "root.pem", "-verify_other", "issuing.pem"]
        return self.run(*who, *checked, "-reqin", "request.der", "-respin", "answer.der")[1]


@pytest.fixture
def party(town: Town, tmp_path: Path) -> Party:
    (tmp_path / "party").mkdir()
    return Party(town, tmp_path / "party", town.issued())


def test_openssl_accepts_the_chain_with_lists_and_refuses_it_after_revocation(party: Party):
    code, said = party.verify()
    assert (code, said) == (0, "leaf.pem: OK\n"), said
    party.town.revoke("zhangsan", party.certificate)
    party.town.worker().step()
    code, said = party.verify()
    assert code != 0
    assert "certificate revoked" in said


def test_openssl_finds_the_list_to_be_about_certificates_from_before_and_after_the_address_moved(party: Party):
    party.town.http_url = "http://status.jiangzhou.example"
    (party.folder / "new").mkdir()
    new = Party(party.town, party.folder / "new", party.town.issued())
    party.town.revoke("zhaoliu", party.town.issued())
    party.town.worker().step()
    for each in (party, new):
        code, said = each.verify()
        assert (code, said) == (0, "leaf.pem: OK\n"), said
        assert "leaf.pem: good" in each.ocsp(party.town.responder())
    party.town.revoke("zhangsan", party.certificate)
    party.town.worker().step()
    assert "certificate revoked" in party.verify()[1]
    assert new.verify()[0] == 0


@pytest.mark.parametrize("options", [[], ["-sha256"], ["-no_nonce"], ["-sha256", "-no_nonce"]], ids=" ".join)
def test_openssl_reads_good_then_revoked(party: Party, options: list[str]):
    responder = party.town.responder()
    said = party.ocsp(responder, *options)
    assert "leaf.pem: good" in said
    assert "Response verify OK" in said
    assert "WARNING" not in said.replace("WARNING: no nonce in response", "") if "-no_nonce" in options else "WARNING" not in said
    party.town.revoke("zhangsan", party.certificate, "keyCompromise")
    responder.poll()
    said = party.ocsp(responder, *options)
    assert "leaf.pem: revoked" in said
    assert "Reason: keyCompromise" in said
    assert "Response verify OK" in said


def test_openssl_never_reads_good_for_a_serial_never_issued_or_another_authority(party: Party):
    responder = party.town.responder()
    said = party.ocsp(responder, serial="0xbeef")
    assert "0xbeef: unknown" in said
    assert "good" not in said
    said = party.ocsp(responder, issuer="root.pem", serial=f"0x{party.certificate.serial}")
    assert "unauthorized" in said
    assert "good" not in said


def test_openssl_reads_the_lists_and_the_bundle(party: Party):
    responder = party.town.responder()
    (party.folder / "staff.crl").write_bytes(responder.crl("staff") or b"")
    code, said = party.run("crl", "-inform", "DER", "-in", "staff.crl", "-CAfile", "issuing.pem", "-noout", "-text")
    assert code == 0
    assert "verify OK" in said
    (party.folder / "staff.p7c").write_bytes(responder.p7c("staff") or b"")
    code, said = party.run("pkcs7", "-inform", "DER", "-in", "staff.p7c", "-print_certs", "-noout")
    assert code == 0
    assert "Yumen DEMO Staff" in said


def test_a_request_about_several_certificates_is_malformed(party: Party):
    party.run("ocsp", "-issuer", "issuing.pem", "-serial", "1", "-serial", "2", "-reqout", "two.der")
    answer = party.town.responder().answer("staff", (party.folder / "two.der").read_bytes())
    (party.folder / "answer.der").write_bytes(answer.der)
    assert "malformedrequest" in party.run("ocsp", "-respin", "answer.der", "-noverify")[1].lower()
