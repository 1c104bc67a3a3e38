"""The certificates without which the service itself does not work: authorities, OCSP responders, the listener, the way to the directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from sqlalchemy import select
from sqlalchemy.orm import Session

from ca.tables import Authority
from core.settings import Settings
from ops import homes

Named = tuple[str, x509.Certificate]


def listing(settings: Settings, session: Session) -> Iterator[Named]:
    """All of them with their names: `staff`, `staff OCSP`, `TLS`, `directory.ca_file`."""
    yield from of_authorities(session)
    yield from responders(session)
    yield from listener(settings)
    yield from to_directory(settings)


def of_authorities(session: Session) -> Iterator[Named]:
    """The authorities' own, each under its id."""
    for row in session.scalars(select(Authority).where(Authority.cert.is_not(None)).order_by(Authority.id)):
        yield row.id, x509.load_der_x509_certificate(row.cert or b"")


def responders(session: Session) -> Iterator[Named]:
    """Those of the OCSP responders."""
    for row in session.scalars(select(Authority).where(Authority.responder.is_not(None)).order_by(Authority.id)):
        yield f"{row.id} OCSP", x509.load_der_x509_certificate(row.responder or b"")


def listener(settings: Settings) -> Iterator[Named]:
    """That of the HTTPS listener, if there is one that this account may read."""
    try:
        yield "TLS", x509.load_pem_x509_certificates(homes.tls_file(settings.home).read_bytes())[0]
    except OSError:
        return


def to_directory(settings: Settings) -> Iterator[Named]:
    """Those by which we know the directory's servers, and they us; of several in one file each has its place as well."""
    for name in ("ca_file", "client_cert"):
        path = getattr(settings.directory, name)
        try:
            found = x509.load_pem_x509_certificates(path.read_bytes()) if path != Path() else []
        except OSError:
            continue  # handed to another account
        yield from ((f"directory.{name}" + (f" {place}" if place > 1 else ""), each) for place, each in enumerate(found, 1))
