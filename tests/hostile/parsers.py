"""Every parser of what others send: how it is called, what it may answer with, and honest inputs to begin from.

`test_parsers.py` gives each of them a corpus of known tricks, `fuzz.py` what coverage leads to.
"""

from __future__ import annotations

import datetime as dt
import io
import json
import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as builders

from audit import search
from audit.tiles import TilePath
from audit.verifier.bundle import check_bundle
from audit.verifier.errors import Tampered, Unreadable
from audit.verifier.note import Checkpoint, Note, VerifierKey
from audit.verifier.proof import Proof
from authz import authzen, ldif
from ca import ceremony
from certs import bundles, crl, csr, names, ocsp
from core import settings
from core.errors import Error
from core.seal import Carried
from ops import archive
from web import credentials, handover, paths, shapes, strict
from web.behind import environ_of

_NOW = dt.datetime(2026, 1, 1)


class Parser(NamedTuple):
    """One way in."""

    name: str
    call: Callable[[bytes], object]
    #: What it may say no with; everything else is a bug.
    refusals: tuple[type[Exception], ...] = (Error,)
    seeds: Callable[[], tuple[bytes, ...]] = lambda: (b"",)


@cache
def _key() -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(sha256(b"seeds").digest(), "big") >> 1, ec.SECP256R1())


@cache
def _certificate() -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "seed")])
    made = x509.CertificateBuilder(name, name, _key().public_key(), 77, _NOW, _NOW + dt.timedelta(days=9))
    identity = x509.SubjectAlternativeName([names.Identified.encode(names.Identity(names.Kind.PERSON, "a-1"))])
    return made.add_extension(identity, critical=False).sign(_key(), hashes.SHA256())


def _certificates() -> tuple[bytes, ...]:
    return tuple(_certificate().public_bytes(form) for form in (Encoding.PEM, Encoding.DER))


def _requests() -> tuple[bytes, ...]:
    made = x509.CertificateSigningRequestBuilder().subject_name(_certificate().subject).sign(_key(), hashes.SHA256())
    return tuple(made.public_bytes(form) for form in (Encoding.PEM, Encoding.DER))


def _lists() -> tuple[bytes, ...]:
    gone = x509.RevokedCertificateBuilder(77, _NOW).add_extension(x509.CRLReason(x509.ReasonFlags.key_compromise), critical=False).build()
    made = x509.CertificateRevocationListBuilder(_certificate().subject, _NOW, _NOW + dt.timedelta(days=1)).add_revoked_certificate(gone)
    made = made.add_extension(x509.CRLNumber(5), critical=False)
    return (made.sign(_key(), hashes.SHA256()).public_bytes(Encoding.DER),)


def _questions() -> tuple[bytes, ...]:
    plain = builders.OCSPRequestBuilder().add_certificate(_certificate(), _certificate(), hashes.SHA256())
    nonce = plain.add_extension(x509.OCSPNonce(b"12345678"), critical=False)
    return tuple(made.build().public_bytes(Encoding.DER) for made in (plain, nonce))


def _as_text(call: Callable[[str], object]) -> Callable[[bytes], object]:
    """`call` for a parser that the frame of the protocol gives texts of Latin-1."""
    return lambda data: call(data.decode("latin-1"))


def _utf8(call: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: call(data.decode("utf-8", "replace"))


def _csr(data: bytes) -> object:
    found = csr.parse(data)
    return csr.parse(found.encode())  # what was taken once is taken again


def _ocsp(data: bytes) -> object:
    found = ocsp.parse(data)
    assert found.cert_id in data
    return found


def _chain(data: bytes) -> object:
    found = bundles.pem_chain(data) if data.startswith(b"-") else [bundles.certificate(data)]
    return [names.identity(one) for one in found]


def _json(data: bytes) -> object:
    value = strict.parse(data)
    assert strict.parse(json.dumps(value).encode()) == value
    return value


_SHAPES = (shapes.Login, shapes.RequestBody, shapes.ApplicationBody, shapes.GrantBody, shapes.AssetBody, shapes.Reason, shapes.WhoCanBody)


def _shape(data: bytes) -> object:
    value = strict.parse(data[1:])
    return strict.read(_SHAPES[data[0] % len(_SHAPES)] if data else shapes.Login, value)


def _authzen(data: bytes) -> object:
    value = authzen.members(strict.parse(data))
    return authzen.read(value), authzen._semantic(value)


def _credentials(data: bytes) -> object:
    authorization, _, cookie = data.decode("latin-1").partition("\n")
    shown = credentials.presented({"HTTP_AUTHORIZATION": authorization, "HTTP_COOKIE": cookie, "CONTENT_TYPE": cookie})
    credentials.require_same_origin(shown, "https://localhost")
    return shown


class _Stream:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, _length: int) -> bytes:
        return self._data


def _behind(data: bytes) -> object:
    """What nginx hands over: fields, a line each, and the body behind an empty line."""
    head, _, body = data.partition(b"\n\n")
    scope: dict[str, Any] = {"REQUEST_METHOD": "POST", "PATH_INFO": "/", "QUERY_STRING": "", "HTTP_HOST": "h", "wsgi.input": _Stream(body)}
    for line in head.decode("latin-1").split("\n"):
        name, _, value = line.partition(":")
        if name in {"PATH_INFO", "HTTP_CLIENT_CERT", "HTTP_X_REAL_IP", "HTTP_HOST", "HTTP_TRANSFER_ENCODING"}:
            scope[name] = value
        if name == "CONTENT_LENGTH" and value.isascii() and value.isdigit() and len(value) < 10:  # granian's parser takes no other
            scope[name] = value
    return environ_of(scope, 1_000)


def _settings(data: bytes) -> object:
    return settings.parse(tomllib.loads(data.decode("utf-8", "replace")), {}, Path("/nowhere"))


def _query(data: bytes) -> object:
    return search.parse_query(data.decode("utf-8", "replace")).text


def _note(data: bytes) -> object:
    found = Note.parse(data)
    assert found.encode() == data
    return Checkpoint.parse(found.text)


def _proof(data: bytes) -> object:
    found = Proof.parse(data)
    assert found.encode() == data
    return found


_NOTE = b"yumen.local/ca/1\n7\n" + b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n\xe2\x80\x94 yumen.local/ca/1 AAAAAAAAAAAAAAAA\n"
_PROOF = b"c2sp.org/tlog-proof@v1\nindex 3\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n" + _NOTE
_LDIF = b"version: 1\n\ndn: uid=a,dc=x\nobjectclass: person\ncn:: 5byg5LiJ\ncn;lang-en: Zhang\n  San\n# c\n\n"
_ASK = b'{"subject":{"type":"user","id":"a"},"action":{"name":"read"},"resource":{"type":"d","id":"1","properties":{"unit":1}}}'
_CEREMONY = b'name = "a"\norganisation = "Y"\n[root]\nid = "root"\nname = "R"\n[[issuing]]\nid = "b"\nname = "S"\nprofiles = ["server"]\n'
_LOGIN = b"\0" + b'{"uid":"a","password":"b","totp":"1"}'
_ASSET = b"\4" + b'{"ref":"server:a","name":"b","owner":"c","unit":"d","names":["a.b"]}'
_TERMS = b'actor:oa code:CA* -out:ok since:2026-01-01 obj:"a b" log:ca'
_PEM = b"-----BEGIN%20CERTIFICATE-----%0AMII%3D%0A-----END%20CERTIFICATE-----%0A"
_SETTINGS = b'mode = "demo"\n[web]\nthreads = 4\n'
_REFUSED_SETTINGS = (settings.BadSettings, tomllib.TOMLDecodeError)
_HANDED = b"PATH_INFO:/a\nHTTP_X_REAL_IP:192.0.2.1\nCONTENT_LENGTH:2\nHTTP_CLIENT_CERT::AAAA:\n\n{}"

_SEED = bytes(range(32))


@cache
def _backups() -> tuple[bytes, ...]:
    file = io.BytesIO()
    made = archive.Writer(file, Carried(bytes(16), b"sealed"), _SEED)
    made.add(archive.Entry("home/yumen.toml", 0o600), [b"mode = 'demo'"])
    made.add(archive.Entry("home/empty", 0o600), [])
    made.finish({"made_at": "2026-11-21T00:00:00+00:00"})
    return (file.getvalue(),)


def _backup(data: bytes) -> object:
    """By whoever has the key, and by whoever has only the public one."""
    read = list(archive.Reader(io.BytesIO(data)).pieces(_SEED))
    archive.Reader(io.BytesIO(data)).verify(archive.public_key(_SEED))
    return read


PARSERS: Mapping[str, Parser] = MappingProxyType(
    {
        parser.name: parser
        for parser in (
            Parser("csr", _csr, seeds=_requests),
            Parser("ocsp", _ocsp, seeds=_questions),
            Parser("crl", crl.parse, seeds=_lists),
            Parser("chain", _chain, seeds=_certificates),
            Parser("json", _json, seeds=lambda: (_ASK, b'[1,-2.5e3,"\\u00e9\\ud83d\\ude00",null,true]')),
            Parser("shape", _shape, seeds=lambda: (_LOGIN, _ASSET)),
            Parser("authzen", _authzen, seeds=lambda: (_ASK, b'{"evaluations":[{}],"options":{"evaluations_semantic":"execute_all"}}')),
            Parser("query", _query, seeds=lambda: (_TERMS, b"cert:ff until:2026-01-01T00:00Z")),
            Parser("path", _as_text(paths.original), seeds=lambda: (b"/a/./b/%e5%bc%a0/../c?x=1", b"/a%2fb//c;d")),
            Parser("handover", _as_text(handover.certificate), seeds=lambda: (b":MIIBIjANBgkq:", _PEM)),
            Parser("address", _as_text(handover.address), seeds=lambda: (b"192.0.2.1", b"fe80::1%eth0")),
            Parser("credentials", _credentials, seeds=lambda: (b"Bearer ys_abc\n__Host-yumen=ys_x; a=b", b"bearer yk_1_2\n")),
            Parser("behind", _behind, seeds=lambda: (_HANDED,)),
            Parser("tile", _utf8(TilePath.parse), seeds=lambda: (b"tile/0/x001/234.p/7", b"tile/entries/000")),
            Parser("note", _note, (Unreadable,), lambda: (_NOTE,)),
            Parser("proof", _proof, (Unreadable,), lambda: (_PROOF,)),
            Parser("key", _utf8(VerifierKey.parse), (Unreadable,), lambda: (b"yumen.local/ca/1+0a1b2c3d+AAAA",)),
            Parser("bundle", lambda data: check_bundle(data, []), (Unreadable, Tampered), lambda: (b"PK\x05\x06" + bytes(18),)),
            Parser("ldif", ldif.parse, seeds=lambda: (_LDIF,)),
            Parser("backup", _backup, seeds=_backups),
            Parser("ceremony", _utf8(ceremony.parse), seeds=lambda: (_CEREMONY,)),
            Parser("settings", _settings, _REFUSED_SETTINGS, lambda: (_SETTINGS,)),
        )
    }
)


def judge(parser: Parser, data: bytes) -> None:
    """Give `data` to `parser`; whatever it raises beside its refusals goes on."""
    try:
        parser.call(data)
    except parser.refusals:
        return
