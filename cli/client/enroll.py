"""Enrolment from one's own machine: key, request, wait, verify, PKCS#12. Can be interrupted and taken up again.

1. A key is made and kept, encrypted under the chosen password, in `<out>.waiting` (mode 0600).
2. Its request is sent; the file then also holds the request's id.
3. When the registrar has approved and the authority has signed, the chain is fetched.
4. It must hold our key and chain to the pinned root; else it is refused and nothing is written.
5. Key and chain are written to `<out>` as PKCS#12, and the waiting file is deleted.
"""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from certs import bundles, chain
from certs.profiles import Purpose
from cli.client import keys
from cli.client.api import Api
from cli.client.session import write_private
from core.errors import Conflict, Denied, Malformed

#: Pause between two looks at a request.
POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Waiting:
    """An enrolment on its way: where the request stands and the key that waits for it."""

    path: Path
    request: str
    key: ec.EllipticCurvePrivateKey


def waiting_file(out: Path) -> Path:
    """Where the key waits until the certificate for `out` is there."""
    return out.with_name(out.name + ".waiting")


def begin(api: Api, out: Path, password: str, *, profile: str) -> Waiting:
    """Make a key and ask for its certificate, or take up the enrolment that waits beside `out`.

    Raises:
        Malformed: the waiting file does not open with `password`.
        Error: whatever the server answered to the request.
    """
    path = waiting_file(out)
    if path.exists():
        kept = _read(path)
        key = keys.unlock_key(kept["key"], password)
        if kept["request"]:
            return Waiting(path, kept["request"], key)
    else:
        key = keys.new_key()
        _write(path, keys.lock_key(key, password), "")
    request = str(api.post("/api/v1/requests", {"profile": profile, "csr": keys.request_pem(key)})["id"])
    _write(path, keys.lock_key(key, password), request)
    return Waiting(path, request, key)


def wait(api: Api, waiting: Waiting, *, until: float, tell: Callable[[str], None]) -> str | None:
    """Poll until the certificate is there; its serial, or `None` when `until` (monotonic seconds) passed first.

    Raises:
        Denied: the request was refused.
    """
    while True:
        request = api.get(f"/api/v1/requests/{waiting.request}")
        tell(request["state"])
        if request["state"] == "issued":
            return str(request["serial"])
        if request["state"] in {"refused", "returned", "failed"}:
            raise Denied(
                "request `{id}` was {state}; ask your registrar why, delete `{file}` and begin again",
                id=waiting.request,
                state=request["state"],
                file=waiting.path,
            )
        if time.monotonic() >= until:
            return None
        time.sleep(POLL_SECONDS)


def collect(api: Api, waiting: Waiting, serial: str, *, root_pem: bytes, now: dt.datetime) -> list[x509.Certificate]:
    """The verified chain of `serial`, leaf first.

    Raises:
        Malformed: it is not a chain to our root, or not for our key.
    """
    pem = api.text(f"/api/v1/certificates/{serial}", "application/pem-certificate-chain")
    return verified(pem.encode(), root_pem, waiting.key.public_key(), now)


def verified(chain_pem: bytes, root_pem: bytes, key: ec.EllipticCurvePublicKey, now: dt.datetime) -> list[x509.Certificate]:
    """The certificates of `chain_pem` when they chain to the root and the leaf is for `key`."""
    certificates = bundles.pem_chain(chain_pem)
    found = chain.check(certificates, chain.Trust(roots=bundles.pem_chain(root_pem)), at=now, purpose=Purpose.CLIENT)
    reasons = [str(reason) for reason in found.reasons]
    if found.leaf.public_key() != key:
        reasons.append("other-key")
    if reasons:
        raise Malformed(
            "the certificate that came does not verify ({reasons}); nothing was written, tell the operator", reasons=", ".join(reasons)
        )
    return certificates


def finish(waiting: Waiting, certificates: list[x509.Certificate], out: Path, password: str) -> None:
    """Write key and chain to `out` as PKCS#12 (mode 0600) and delete the waiting file."""
    write_private(out, bundles.pkcs12(waiting.key, certificates[0], certificates[1:], password.encode()))
    waiting.path.unlink(missing_ok=True)


def require_free(out: Path) -> None:
    """Refuse to overwrite a key that may be the only one.

    Raises:
        Conflict: `out` exists.
    """
    if out.exists():
        raise Conflict("`{path}` exists already; choose another --out or move it away", path=out)


def _write(path: Path, key_pem: str, request: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_private(path, json.dumps({"key": key_pem, "request": request}).encode())


def _read(path: Path) -> dict[str, Any]:
    try:
        kept = json.loads(path.read_bytes())
        return {"key": str(kept["key"]), "request": str(kept["request"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Malformed("the waiting file `{path}` cannot be read; delete it and begin again", path=path) from error
