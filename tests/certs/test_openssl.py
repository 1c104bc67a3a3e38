"""The openssl program as a relying party: it accepts chain, CRL and OCSP answers, and refuses after revocation."""

import datetime as dt
import subprocess
from pathlib import Path

import pytest

from certs import bundles, crl, ocsp
from tests.certs.hierarchy import NOW, ROOT_URLS, URLS

pytestmark = [pytest.mark.component("openssl"), pytest.mark.slow]

DAY = dt.timedelta(days=1)
AT = str(int((NOW + dt.timedelta(hours=1)).timestamp()))


@pytest.fixture
def folder(every_house, tmp_path):
    for name, cert in every_house.certificates.items():
        (tmp_path / f"{name}.pem").write_bytes(bundles.pem([cert]))
    return tmp_path


def openssl(*arguments) -> tuple[int, str]:
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def write_crls(house, folder: Path, revoked=()) -> None:
    """Root's and the issuing CA's lists in one file, as `-CRLfile` takes them."""
    text = b""
    for ca, url, entries in ((house.root, ROOT_URLS.crl, ()), (house.staff, URLS.crl, revoked)):
        template = crl.Template(ca.cert, url)
        tbs = template.tbs(number=3, this_update=NOW, next_update=NOW + DAY, entries=entries)
        (folder / "one.crl").write_bytes(template.assemble(tbs, template.suite.sign(ca.key, tbs)))
        text += subprocess.run(["openssl", "crl", "-inform", "DER", "-in", folder / "one.crl"], capture_output=True, check=True).stdout
    (folder / "all.crl").write_bytes(text)


def verify(folder: Path, leaf: str, *more) -> tuple[int, str]:
    trust = ("-CAfile", folder / "root.pem", "-untrusted", folder / "issuing.pem", "-attime", AT, "-x509_strict")
    return openssl("verify", *trust, *more, folder / f"{leaf}.pem")


@pytest.mark.parametrize(
    ("leaf", "purpose"),
    [
        ("staff-sign", "sslclient"),
        ("staff-sign", "smimesign"),
        ("application", "sslclient"),
        ("device", "sslclient"),
        ("server", "sslserver"),
    ],
)
def test_chain_is_accepted_for_its_purpose(folder, leaf, purpose):
    assert verify(folder, leaf, "-purpose", purpose)[0] == 0


@pytest.mark.parametrize(("leaf", "purpose"), [("server", "sslclient"), ("staff-sign", "sslserver"), ("ocsp", "sslclient")])
def test_chain_is_refused_for_another_purpose(folder, leaf, purpose):
    assert verify(folder, leaf, "-purpose", purpose)[0] != 0


@pytest.mark.parametrize("host", ["portal.example.gov.cn", "other.example.gov.cn"])
def test_server_is_known_by_its_names(folder, host):
    assert (verify(folder, "server", "-verify_hostname", host)[0] == 0) is host.startswith("portal")


def test_revoked_certificate_is_refused_and_only_that(every_house, folder):
    write_crls(every_house, folder)
    checks = ("-crl_check_all", "-CRLfile", folder / "all.crl")
    assert verify(folder, "staff-sign", *checks)[1].endswith("OK\n")
    serial = every_house.leaves["staff-sign"].serial_number
    write_crls(every_house, folder, [crl.entry(serial, NOW, "keyCompromise")])
    code, said = verify(folder, "staff-sign", *checks)
    assert code != 0
    assert "certificate revoked" in said
    assert verify(folder, "device", *checks)[0] == 0


def ask(house, folder: Path, profile: str, status, digest: str, about=None) -> tuple[int, str]:
    """openssl makes the request, we answer, openssl judges the answer with a trust store that has the root only."""
    request, answer = folder / "request.der", folder / "answer.der"
    common = ("-issuer", folder / "issuing.pem", f"-{digest}", "-cert", folder / f"{profile}.pem")
    assert openssl("ocsp", *common, "-reqout", request, "-no_nonce" if about == "no nonce" else "-nonce")[0] == 0
    asked = ocsp.parse(request.read_bytes())
    assert ocsp.cert_ids(house.staff.cert)[digest].matches(asked)
    assert asked.serial == house.leaves[profile].serial_number
    template = ocsp.Template(house.leaves["ocsp"])
    now = dt.datetime.now(dt.UTC)
    tbs = template.tbs(asked.cert_id, status, now, now + DAY, asked.nonce)
    answer.write_bytes(template.assemble(tbs, template.suite.sign(house.key("ocsp"), tbs)))
    trust = ("-CAfile", folder / "root.pem", "-verify_other", folder / "issuing.pem")
    # Without `-no_nonce` it would put a second nonce into the request that it reads. The responder is judged at our hour,
    # thisUpdate always at the machine's.
    return openssl("ocsp", *common, "-no_nonce", "-reqin", request, "-respin", answer, *trust, "-attime", AT)


@pytest.mark.parametrize("digest", ["sha1", "sha256"])
def test_ocsp_answers_are_verified(every_house, folder, digest):
    revoked_at = NOW - DAY
    for status, word in ((ocsp.Good(), "good"), (ocsp.Unknown(), "unknown"), (ocsp.Revoked(revoked_at, "keyCompromise"), "revoked")):
        code, said = ask(every_house, folder, "staff-sign", status, digest)
        assert code == 0, said
        assert "Response verify OK" in said
        assert f": {word}" in said
        assert "WARNING" not in said
    assert "Reason: keyCompromise" in said


def test_ocsp_answer_without_nonce_is_verified(every_house, folder):
    code, said = ask(every_house, folder, "device", ocsp.Good(), "sha256", "no nonce")
    assert code == 0, said
    assert "Response verify OK" in said


def test_openssl_prints_every_field(every_house, folder):
    """Nothing in a certificate is shown as unparsed bytes but our own otherName."""
    for name in every_house.certificates:
        said = openssl("x509", "-in", folder / f"{name}.pem", "-noout", "-text", "-certopt", "ext_dump")[1]
        assert "Version: 3" in said
    write_crls(every_house, folder, [crl.entry(5, NOW, "superseded")])
    said = openssl("crl", "-inform", "DER", "-in", folder / "one.crl", "-noout", "-text", "-nameopt", "utf8")[1]
    assert "Superseded" in said
    assert URLS.crl in said
