"""Bytes that never change by accident: fixed key, fixed clock, compared with the files beside this one.

`python -m tests.certs.test_golden` writes them anew; a difference in them is a new profile version, or a mistake.
"""

import datetime as dt
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from certs import crl, ocsp
from certs.profiles import PROFILES, Issuer, template
from tests.certs.hierarchy import NOW, SUBJECTS, URLS, Ca, Content

FOLDER = Path(__file__).parent / "golden"

#: Keys for these files only; Ed25519, because its signatures are the same every time.
ROOT, STAFF, OTHER = (ed25519.Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2, 3))


def golden() -> dict[str, bytes]:
    """Every golden file's content by its name."""

    def content(profile, key, **more):
        return Content(**{"subject": SUBJECTS[profile], "public_key": key.public_key(), "serial": 0x1234, "not_before": NOW} | more)

    first = content("root", ROOT)
    root = Ca(template(PROFILES["root"], issuer=Issuer.itself(first, PROFILES["root"]), content=first).sign(ROOT, None), ROOT)
    staff = Ca(root.issue("issuing", content("issuing", STAFF, urls=URLS)), STAFF)
    certs = {"root": root.cert, "issuing": staff.cert}
    for profile in set(PROFILES) - set(certs):
        certs[profile] = staff.issue(profile, content(profile, OTHER, urls=URLS))
    files = {f"{name}.tbs": cert.tbs_certificate_bytes for name, cert in certs.items()}
    lists = crl.Template(staff.cert, URLS.crl)
    entries = [crl.entry(serial, NOW, reason) for serial, reason in enumerate(crl.REASONS, 1)]
    tbs = lists.tbs(number=9, this_update=NOW, next_update=NOW + dt.timedelta(days=1), entries=entries)
    files["staff.crl"] = lists.assemble(tbs, lists.suite.sign(STAFF, tbs))
    answers = ocsp.Template(certs["ocsp"])
    cert_id = ocsp.cert_ids(staff.cert)["sha256"].encode(0x1234)
    tbs = answers.tbs(cert_id, ocsp.Revoked(NOW, "superseded"), NOW, NOW + dt.timedelta(hours=8), b"nonce")
    files["revoked.ors"] = answers.assemble(tbs, answers.suite.sign(OTHER, tbs))
    return files


@pytest.mark.parametrize("name", sorted(golden()))
def test_bytes_are_the_golden_ones(name):
    assert golden()[name] == (FOLDER / name).read_bytes()


def test_no_golden_file_is_left_over():
    assert {file.name for file in FOLDER.iterdir()} == set(golden())


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, content in golden().items():
        (FOLDER / name).write_bytes(content)
