"""Texts that no pattern can describe, for schemathesis: what the document's formats name. Loaded by `schemathesis.toml`."""

from __future__ import annotations

import datetime as dt
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import schemathesis
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import strategies as st
from schemathesis.core import NotSet

#: One line for each session that may be ended.
SPARE = Path(os.environ["YUMEN_SPARE_TOKENS"])
#: Account whose session asks: it must not end it.
OWN = os.environ["YUMEN_OWN_ACCOUNT"]
DEMO = json.loads(Path(os.environ["YUMEN_DEMO"]).read_text("utf-8"))

_TERMS = ("actor:oa", "-out:ok", "code:CA*", "code:AZ1001", "log:access", "since:2026-01-01", "until:2026-12-31", 'obj:"x y"', "uid:lisi")
_HOSTS = ("a.example", "files.qinghe.example", "192.0.2.1", "2001:db8::1", "x" * 63 + ".example")


@cache
def _requests() -> list[str]:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "=cmd|'<script>")])
    keys = [ec.generate_private_key(curve) for curve in (ec.SECP256R1(), ec.SECP384R1()) for _ in range(8)]
    made = (x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256()) for key in keys)
    return [one.public_bytes(Encoding.PEM).decode() for one in made]


@cache
def _chains() -> list[str]:
    return [Path(one["cert"]).read_text("ascii") for one in DEMO["applications"]] + [Path(DEMO["ca_file"]).read_text("ascii")]


schemathesis.openapi.format("pkcs10", st.deferred(lambda: st.sampled_from(_requests())))
schemathesis.openapi.format("pem-certificate-chain", st.deferred(lambda: st.sampled_from(_chains())))
schemathesis.openapi.format("trail-query", st.lists(st.sampled_from(_TERMS), max_size=4).map(" ".join))
schemathesis.openapi.format("host", st.sampled_from(_HOSTS))
schemathesis.openapi.format("page-token", st.just(""))
schemathesis.openapi.format("date-time", st.datetimes(dt.datetime(1970, 1, 1)).map(lambda at: at.isoformat(timespec="seconds") + "Z"))


@schemathesis.serializer("application/ocsp-request")
def _as_it_is(_context: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


@schemathesis.hook
def filter_case(_context: Any, case: Any) -> bool:
    """Leave out fields with line breaks, which the client refuses to send, and blank queries that are meant to be broken: they are not."""
    if any("\r" in value or "\n" in value for value in (case.headers or {}).values() if isinstance(value, str)):
        return False
    query = case.body.get("q") if isinstance(case.body, dict) else None
    return not (isinstance(query, str) and not query.strip() and case.meta and case.meta.generation.mode.is_negative)


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """Ending sessions is tried on others than the one that asks; state changes by certificate say that they are no form, as they must."""
    label = case.operation.label
    if case.method != "GET" and isinstance(case.body, NotSet):
        case.headers.setdefault("Content-Type", "application/json")
    if label == "DELETE /api/v1/sessions/current" and (spare := SPARE.read_text("ascii").split()):
        case.headers["Authorization"] = f"Bearer {spare[0]}"
        SPARE.write_text("\n".join(spare[1:]), "ascii")
    if label == "DELETE /api/v1/persons/{name}/sessions" and OWN:
        case.path_parameters["name"] = "wangwu"
    if label.endswith(("/sessions", "/totp/enrolments", "/totp/enrolments/confirm")) and label.startswith("POST"):
        case.headers.pop("Authorization", None)  # who begins a session has none
