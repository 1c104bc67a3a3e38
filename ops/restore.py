"""The way back: a backup becomes an empty home's content, proved before anything goes on, and then goes on carefully.

First everything is read and found whole; only then is a byte unpacked. What was unpacked is compared with its own trail,
entry by entry, under the heads that were signed before the backup and those that somebody saved outside. Then both logs
get a new epoch, and every authority is on hold: no OCSP answer but `tryLater`, no list, no certificate, until its last
published list is supplied or somebody says that there is none. A restore that is refused or fails leaves nothing behind.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import migrations
from audit import check
from audit.body import Writer
from audit.checkpoint import LogKey
from audit.epochs import Ended, conclude, reopen
from audit.event import Event, Kind
from audit.permit import Action, Permit
from audit.record import recording
from audit.trail import LOGS, Trail, open_trail
from audit.verifier.errors import Tampered, Unreadable
from authz.decide import Target, service_permit
from authz.keys import open_keys
from authz.people import empty
from authz.snapshot import Snapshot
from ca import authorities, recovery
from ca.recovery import PutBack
from certs import crl
from core.clock import system
from core.database import Database, open_postgres, open_sqlite
from core.errors import Conflict, Malformed, NotFound
from core.seal import write_durably
from core.settings import DEFAULT_HOME, Settings, load, parse
from migrations import rights as database_rights
from ops import homes, rights, unpack, witness
from ops.backup import HOME, Manifest, found_in
from ops.capture import Say
from ops.claims import writer_name
from ops.node import open_database, writes_as
from ops.unpack import Looked
from ops.witness import Witnessed


@dataclass(frozen=True, kw_only=True)
class Terms:
    """On which terms a backup is restored."""

    #: Notes of the logs that were saved outside.
    trust: tuple[Path, ...] = ()
    #: Whether entries that a note proves and the backup lacks may be lost.
    accept_loss: bool = False
    #: The last published revocation lists, DER or as files are served.
    lists: tuple[Path, ...] = ()
    #: Authorities whose last list nobody has; `*` for all that are still on hold.
    without: tuple[str, ...] = ()
    #: PostgreSQL: the administrator of the empty database that the settings name.
    admin_url: str = ""


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What there is now. `unproved` are sentences, for whoever answers for going on."""

    home: Path
    #: None where only lists were supplied.
    manifest: Manifest | None = None
    epochs: Mapping[str, int] = field(default_factory=dict)
    held: tuple[str, ...] = ()
    revoked: int = 0
    unrecorded: int = 0
    unproved: tuple[str, ...] = ()


def settings_of(archive: Path, secret: Path, home: Path, environ: Mapping[str, str]) -> Settings:
    """The settings that lie in a backup, for another home; values in `environ` go before them.

    Raises:
        NotFound: none lie in it: they stood outside the home.
        Malformed, Unavailable: as `backup.opened`.
    """
    raw = unpack.look(archive, secret).small.get(f"{HOME}yumen.toml")
    if raw is None:
        raise NotFound("the backup holds no settings: they stood outside the home; name their file in YUMEN_SETTINGS")
    secrets = {"YUMEN_KEYS_WORKER_SECRET": str(secret.absolute())} if "YUMEN_KEYS_WORKER_SECRET" not in environ else {}
    return parse(tomllib.loads(raw.decode()), {**environ, **secrets}, home)


def settings_for(archive: Path, secret: Path | None, environ: Mapping[str, str]) -> Settings:
    """The settings for the home that `environ` names: those that YUMEN_SETTINGS names, else those that lie in the backup.

    `secret` is the worker's unsealing secret where nothing else says where it is.

    Raises:
        BadSettings: they do not fit together.
        NotFound, Malformed, Unavailable: as `settings_of`.
    """
    home = Path(environ.get("YUMEN_HOME") or DEFAULT_HOME).absolute()
    named = {"YUMEN_KEYS_WORKER_SECRET": str(secret.absolute())} if secret else {}
    if environ.get("YUMEN_SETTINGS"):
        return load({**environ, **named})
    found = secret or Path(environ.get("YUMEN_KEYS_WORKER_SECRET") or homes.secret_file(home))
    return settings_of(archive, found, home, environ)


def restore(settings: Settings, archive: Path, *, terms: Terms | None = None, tell: Say) -> Restored:
    """Restore `archive` into the empty home of `settings`, with its unsealing secrets.

    Raises:
        Malformed: the backup is damaged, incomplete or no backup, or what it holds contradicts its own trail.
        Unavailable: the secret does not open it, or the disk, the database or the trail refuses.
        Conflict: the home is not empty, the backup belongs to another kind of home, or is older than what was witnessed.
    """
    terms = terms or Terms()
    rights.must_own(settings)
    tell("reading the backup")
    looked = unpack.look(archive, homes.secrets(settings)["worker_secret"])
    _must_belong(settings, looked.manifest, terms)
    witnessed = witness.compare(looked, terms.trust, accept_loss=terms.accept_loss)
    admin = unpack.administrator(terms.admin_url) if terms.admin_url else None
    try:
        with unpack.beginning(settings, admin):
            unpack.unpack(settings, archive, looked.manifest, terms.admin_url, tell)
            done = _revived(settings, looked.manifest, witnessed, terms, tell)
            if admin is not None:
                tell("rights of the database")
                database_rights.prepare(admin)  # only now may any role of the service come in
        return done
    finally:
        if admin is not None:
            admin.dispose()


def adopt(settings: Settings, *, terms: Terms | None = None, tell: Say) -> Restored:
    """Go on with a database that other tools put back under this home, as after a restore: new epochs, on hold.

    Raises:
        Malformed: what the database holds contradicts its own trail.
        Conflict: it is older than what this home or a note from outside has seen.
        Unavailable: the database or the trail refuses.
    """
    terms = terms or Terms()
    rights.must_own(settings)
    _must_name_administrator(settings, terms)
    database = _as_administrator(settings, terms)
    try:
        manifest = found_in(database, settings)
    finally:
        database.engine.dispose()
    notes = homes.notes_folder(settings.home)
    keys = {f"{HOME}notes/{log}.vkey": (notes / f"{log}.vkey").read_bytes() for log in LOGS}
    own = tuple(notes / f"{log}.note" for log in LOGS)
    witnessed = witness.compare(Looked(manifest, keys), (*terms.trust, *own), accept_loss=terms.accept_loss)
    marker = homes.restoring_file(settings.home)
    write_durably(marker, b"")  # stays when this is broken off: then it is called again
    (settings.home / "keys" / "web" / "session.sealed").unlink(missing_ok=True)
    done = _revived(settings, manifest, witnessed, terms, tell)
    marker.unlink()
    return done


def supply(settings: Settings, *, lists: Iterable[Path] = (), without: Iterable[str] = (), tell: Say) -> Restored:
    """End the hold of authorities by their last published lists, or by saying that nobody has them.

    Raises:
        Conflict: none is on hold, or a list is older than what the backup knows.
        Malformed: a list cannot be read, or none of the authorities on hold made it.
        Unavailable: the trail or the database cannot be written.
    """
    homes.must_be_whole(settings.home)
    rights.must_fit(settings, with_keys=True)
    database = open_database(settings)
    try:
        with database.reading() as session:
            held = authorities.held(session)
        if not held:
            raise Conflict("no authority is on hold; there is nothing to supply")
        with _writing(settings, database) as trail:
            back = _put_back(settings, trail, Terms(lists=tuple(lists), without=tuple(without)), tell)
            return _told(settings, trail, back)
    finally:
        database.engine.dispose()


def _must_belong(settings: Settings, manifest: Manifest, terms: Terms) -> None:
    kind = "sqlite" if settings.embedded else "postgresql"
    for what, told, wanted in (
        ("database", manifest.database, kind),
        ("mode", manifest.mode, settings.mode),
        ("audit.origin", manifest.origin, settings.audit.origin),
    ):
        if told != wanted:
            raise Conflict(
                "the backup says {what} `{told}`, the settings `{wanted}`; change the settings", what=what, told=told, wanted=wanted
            )
    _must_name_administrator(settings, terms)


def _must_name_administrator(settings: Settings, terms: Terms) -> None:
    if settings.embedded == bool(terms.admin_url):
        raise Malformed("`--admin-url` names the administrator of the empty PostgreSQL database that a backup of one is restored into")


def _as_administrator(settings: Settings, terms: Terms) -> Database:
    """The database, for what no role of the service may do."""
    return open_postgres(terms.admin_url) if terms.admin_url else open_sqlite(homes.database_file(settings.home))


def _revived(settings: Settings, manifest: Manifest, witnessed: Mapping[str, Witnessed], terms: Terms, tell: Say) -> Restored:
    """What was put back, proved, closed, and on hold."""
    database = _as_administrator(settings, terms)
    try:
        tell("verifying the trail")
        _must_verify(database, manifest, witnessed)
        database_rights.upgrade(database.engine) if terms.admin_url else migrations.upgrade(database.engine)
        ended = [_ended(manifest, log, witnessed[log]) for log in LOGS]
        with _writing(settings, database, ended) as trail:
            tell("new epochs, authorities on hold")
            _hold(trail, manifest, ended)
            keys = homes.worker_vault(settings)
            conclude(trail, {log: LogKey.load(keys, log) for log in LOGS}, homes.notes_folder(settings.home), ended)
            back = _put_back(settings, trail, terms, tell)
            told = _told(settings, trail, back)
            return replace(told, manifest=manifest, epochs=dict(trail.epochs), unproved=(*_lost(ended, witnessed), *told.unproved))
    finally:
        database.engine.dispose()


def _must_verify(database: Database, manifest: Manifest, witnessed: Mapping[str, Witnessed]) -> None:
    """Compare every entry with the trusted heads, and the end of each log with the manifest."""
    try:
        report = check.evidence(database, [head for one in witnessed.values() for head in one.heads])
    except (Tampered, Unreadable) as error:
        raise Malformed("the trail in the backup does not verify: {reason}; keep it, and call an auditor", reason=error) from error
    ends = {log.origin: (log.size, log.root.hex()) for log in report.logs}
    for log in LOGS:
        head = manifest.logs[log]
        if ends.get(witnessed[log].signed.origin) != (head.size, head.root):
            raise Malformed("the log `{log}` in the backup is not the one that its manifest tells of; take another backup", log=log)


def _ended(manifest: Manifest, log: str, witnessed: Witnessed) -> Ended:
    head = manifest.logs[log]
    root = bytes.fromhex(head.root)
    return Ended(log=log, epoch=head.epoch, size=head.size, root=root, signed=witnessed.signed, known=witnessed.known, backup=manifest.id)


def _hold(trail: Trail, manifest: Manifest, ended: Iterable[Ended]) -> None:
    permit = _permit(trail, f"backup:{manifest.id}")
    details = {
        "made-at": manifest.made_at.isoformat(),
        "closed": [[f"{one.log}/{one.epoch}", one.size] for one in ended],
        "sessions": "ended",
    }
    with recording(trail) as tx:
        authorities.hold(tx, manifest.id, permit=permit)
        tx.record(Event.under(permit, Kind.RESTORED, permit.resource, details=details))


def _put_back(settings: Settings, trail: Trail, terms: Terms, tell: Say) -> list[PutBack]:
    """What the lists say, and the authorities that go on without."""
    done, period = [], settings.ca.period
    for path in terms.lists:
        found = crl.parse(path.read_bytes())
        with trail.database.reading() as session:
            authority = recovery.owner(session, found)
        tell(f"list {found.number} of {authority}")
        done.append(recovery.supply(trail, authority, found, period, permit=_permit(trail, f"ca:{authority}")))
    with trail.database.reading() as session:
        held = authorities.held(session)
        since = {authority: recovery.since(session, authority) for authority in held}
    for authority in held if "*" in terms.without else terms.without:
        if authority not in held:
            raise Conflict("authority `{authority}` is not on hold; nothing was done", authority=authority)
        done.append(recovery.go_without(trail, authority, since[authority], period, permit=_permit(trail, f"ca:{authority}")))
    return done


def _told(settings: Settings, trail: Trail, back: Iterable[PutBack]) -> Restored:
    with trail.database.reading() as session:
        held = authorities.held(session)
    back = list(back)
    return Restored(
        home=settings.home,
        epochs=dict(trail.epochs),
        held=tuple(held),
        revoked=sum(one.revoked for one in back),
        unrecorded=sum(one.unrecorded for one in back),
        unproved=tuple(sentence for one in back for sentence in one.unproved),
    )


def _lost(ended: Iterable[Ended], witnessed: Mapping[str, Witnessed]) -> Iterator[str]:
    """What the logs do not tell."""
    for one in ended:
        name = f"{one.log}/{one.epoch}"
        if one.lost is None:
            yield f"{name} ends after {one.size} entries; later ones, and everything in {one.known.origin}, are lost"
        elif one.lost:
            yield f"entries {one.lost.start} to {one.lost.stop - 1} of {name} were witnessed and are lost; later ones may be"
        elif not witnessed[one.log].shown:
            yield f"{name} ends after {one.size} entries; nobody showed a head from outside, so whether more were there is not known"
        else:
            yield f"{name} ends after {one.size} entries, and the last head from outside covers {one.known.size}; later ones may be lost"
    yield "certificates issued since the backup are unknown here and never good; their holders ask for new ones"
    yield "blocked accounts, withdrawn grants, API keys, confirmations and one-time codes since the backup are as they were before"


class _Nobody:
    """A world in which nobody is: what the operator may do does not hang on the directory."""

    def current(self) -> Snapshot:
        """A snapshot of nothing."""
        return Snapshot(0, empty())


def _permit(trail: Trail, resource: str) -> Permit:
    return service_permit(_Nobody(), trail, "operator", Action.BACKUP_RESTORE, Target(resource))


@contextmanager
def _writing(settings: Settings, database: Database, ended: Iterable[Ended] = ()) -> Iterator[Trail]:
    """The trail of a process that restores, in new epochs where some ended."""
    vault = homes.web_vault(settings)
    open_keys(vault)  # sessions get a new key
    name, claim = writer_name(settings.home, "restore")
    try:
        writer, privacy = Writer.fresh(writes_as(name, settings)), vault.secret("privacy")
        closed = list(ended)
        opening = reopen(database, system, writer, privacy, settings.audit, closed) if closed else None
        trail = opening or open_trail(database, system, writer, privacy, settings.audit)
        try:
            yield trail
        finally:
            trail.close()
    finally:
        claim.release()
