"""The first schema: trail, authorization, authority."""

from alembic import op
import sqlalchemy as sa

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "authz_account",
        sa.Column("person", sa.String(length=36), nullable=False),
        sa.Column("reason", sa.String(length=255), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("person", name=op.f("pk_authz_account")),
    )
    op.create_table(
        "authz_application",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("unit", sa.String(length=36), nullable=False),
        sa.Column("owner", sa.String(length=36), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("actions", sa.String(), nullable=False),
        sa.Column("types", sa.String(), nullable=False),
        sa.Column("asserts", sa.String(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_authz_application")),
    )
    op.create_table(
        "authz_asset",
        sa.Column("ref", sa.String(length=128), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("owner", sa.String(length=36), nullable=False),
        sa.Column("unit", sa.String(length=36), nullable=False),
        sa.Column("names", sa.String(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("ref", name=op.f("pk_authz_asset")),
    )
    op.create_table(
        "authz_confirmation",
        sa.Column("person", sa.String(length=36), nullable=False),
        sa.Column("role", sa.String(length=64), nullable=False),
        sa.Column("unit", sa.String(length=36), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("by", sa.String(length=160), nullable=False),
        sa.PrimaryKeyConstraint("person", "role", "unit", name=op.f("pk_authz_confirmation")),
    )
    op.create_table(
        "authz_directory",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("memberships", sa.Integer(), nullable=False),
        sa.Column("copy", sa.LargeBinary(), nullable=False),
        sa.Column("refused", sa.String(length=64), nullable=False),
        sa.Column("accepted", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_authz_directory")),
    )
    op.create_table(
        "authz_enrolment",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("person", sa.String(length=36), nullable=False),
        sa.Column("code", sa.LargeBinary(length=32), nullable=False),
        sa.Column("by", sa.String(length=160), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_authz_enrolment")),
    )
    op.create_index(op.f("ix_authz_enrolment_person"), "authz_enrolment", ["person"], unique=False)
    op.create_table(
        "authz_revision",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_authz_revision")),
    )
    op.create_table(
        "authz_session",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("token", sa.LargeBinary(length=32), nullable=False),
        sa.Column("person", sa.String(length=36), nullable=False),
        sa.Column("auth", sa.String(length=16), nullable=False),
        sa.Column("cert", sa.String(length=64), nullable=False),
        sa.Column("issuer", sa.String(length=64), nullable=False),
        sa.Column("serial", sa.String(length=40), nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_authz_session")),
        sa.UniqueConstraint("token", name=op.f("uq_authz_session_token")),
    )
    op.create_index(op.f("ix_authz_session_person"), "authz_session", ["person"], unique=False)
    op.create_table(
        "authz_standing",
        sa.Column("issuer", sa.String(length=64), nullable=False),
        sa.Column("serial", sa.String(length=40), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("issuer", "serial", name=op.f("pk_authz_standing")),
    )
    op.create_index(op.f("ix_authz_standing_revision"), "authz_standing", ["revision"], unique=False)
    op.create_table(
        "authz_throttle",
        sa.Column("key", sa.String(length=96), nullable=False),
        sa.Column("fails", sa.Integer(), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("locked_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_authz_throttle")),
    )
    op.create_table(
        "authz_totp",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("person", sa.String(length=36), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        sa.Column("fails", sa.Integer(), nullable=False),
        sa.Column("locked_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_authz_totp")),
    )
    op.create_index(op.f("ix_authz_totp_person"), "authz_totp", ["person"], unique=False)
    op.create_table(
        "ca_authority",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("organisation", sa.String(), nullable=False),
        sa.Column("parent", sa.String(), nullable=True),
        sa.Column("suite", sa.String(), nullable=False),
        sa.Column("profiles", sa.String(), nullable=False),
        sa.Column("spki_sha256", sa.String(), nullable=False),
        sa.Column("cert", sa.LargeBinary(), nullable=True),
        sa.Column("responder", sa.LargeBinary(), nullable=True),
        sa.Column("stopped", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["parent"], ["ca_authority.id"], name=op.f("fk_ca_authority_parent_ca_authority")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ca_authority")),
        sa.UniqueConstraint("spki_sha256", name=op.f("uq_ca_authority_spki_sha256")),
    )
    op.create_table(
        "ca_lease",
        sa.Column("node", sa.String(), nullable=False),
        sa.Column("boot", sa.String(), nullable=False),
        sa.Column("beat", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("node", "boot", name=op.f("pk_ca_lease")),
    )
    op.create_table(
        "ca_request",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("profile", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("requester", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("unit", sa.String(), nullable=False),
        sa.Column("common_name", sa.String(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("spki", sa.LargeBinary(), nullable=False),
        sa.Column("spki_sha256", sa.String(), nullable=False),
        sa.Column("reasons", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("retry_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("submitted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ca_request")),
    )
    op.create_index("ix_ca_request_owner", "ca_request", ["owner"], unique=False)
    op.create_index("ix_ca_request_spki_sha256", "ca_request", ["spki_sha256"], unique=False)
    op.create_index("ix_ca_request_state_unit", "ca_request", ["state", "unit"], unique=False)
    op.create_table(
        "trail_batch",
        sa.Column("log", sa.String(length=16), nullable=False),
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("edge", sa.LargeBinary(), nullable=False),
        sa.Column("root", sa.LargeBinary(length=32), nullable=False),
        sa.Column("t", sa.BigInteger(), nullable=False),
        sa.Column("node", sa.String(length=64), nullable=False),
        sa.Column("boot", sa.String(length=32), nullable=False),
        sa.Column("counter", sa.BigInteger(), nullable=False),
        sa.Column("settled", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("log", "epoch", "size", name=op.f("pk_trail_batch")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_trail_batch_writer", "trail_batch", ["node", "boot", "counter"], unique=False)
    op.create_index("uq_trail_batch_first", "trail_batch", ["log", "epoch", "first"], unique=True)
    op.create_table(
        "trail_checkpoint",
        sa.Column("log", sa.String(length=16), nullable=False),
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("root", sa.LargeBinary(length=32), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("t", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("log", "epoch", "size", name=op.f("pk_trail_checkpoint")),
    )
    op.create_table(
        "trail_disclosure",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("field", sa.String(length=32), nullable=False),
        sa.Column("salt", sa.LargeBinary(length=16), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.Column("blind", sa.LargeBinary(length=16), nullable=False),
        sa.PrimaryKeyConstraint("id", "field", name=op.f("pk_trail_disclosure")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_trail_disclosure_blind", "trail_disclosure", ["blind"], unique=False)
    op.create_table(
        "trail_epoch",
        sa.Column("log", sa.String(length=16), nullable=False),
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("origin", sa.String(length=255), nullable=False),
        sa.Column("t", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("log", "epoch", name=op.f("pk_trail_epoch")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "trail_event",
        sa.Column("log", sa.String(length=16), nullable=False),
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("idx", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("t", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.String(length=8), nullable=False),
        sa.Column("outcome", sa.String(length=8), nullable=False),
        sa.Column("actor", sa.String(length=160), nullable=False),
        sa.Column("object", sa.String(length=255), nullable=False),
        sa.Column("cert", sa.String(length=128), nullable=False),
        sa.Column("scope", sa.String(length=64), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("leaf", sa.LargeBinary(length=32), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("log", "epoch", "idx", name=op.f("pk_trail_event")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_trail_event_actor", "trail_event", ["actor", "t"], unique=False)
    op.create_index("ix_trail_event_cert", "trail_event", ["cert", "t"], unique=False, sqlite_where=sa.text("cert != ''"), postgresql_where=sa.text("cert != ''"))
    op.create_index("ix_trail_event_code", "trail_event", ["code", "t"], unique=False)
    op.create_index("ix_trail_event_id", "trail_event", ["id"], unique=False)
    op.create_index("ix_trail_event_object", "trail_event", ["object", "t"], unique=False)
    op.create_index("ix_trail_event_request_id", "trail_event", ["request_id", "t"], unique=False, sqlite_where=sa.text("request_id != ''"), postgresql_where=sa.text("request_id != ''"))
    op.create_index("ix_trail_event_t", "trail_event", ["t"], unique=False)
    op.create_table(
        "trail_tile",
        sa.Column("log", sa.String(length=16), nullable=False),
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("level", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("n", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary(length=8192), nullable=False),
        sa.PrimaryKeyConstraint("log", "epoch", "level", "n", name=op.f("pk_trail_tile")),
    )
    op.create_table(
        "authz_api_key",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("application", sa.String(length=64), nullable=False),
        sa.Column("secret", sa.LargeBinary(length=32), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["application"], ["authz_application.id"], name=op.f("fk_authz_api_key_application_authz_application")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_authz_api_key")),
    )
    op.create_index(op.f("ix_authz_api_key_application"), "authz_api_key", ["application"], unique=False)
    op.create_table(
        "authz_grant",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("application", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=128), nullable=False),
        sa.Column("type", sa.String(length=128), nullable=False),
        sa.Column("role", sa.String(length=64), nullable=False),
        sa.Column("unit", sa.String(length=36), nullable=False),
        sa.Column("effect", sa.String(length=8), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("not_after", sa.DateTime(timezone=True), nullable=True),
        sa.Column("assurance", sa.Integer(), nullable=False),
        sa.Column("conditions", sa.String(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["application"], ["authz_application.id"], name=op.f("fk_authz_grant_application_authz_application")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_authz_grant")),
    )
    op.create_index(op.f("ix_authz_grant_application"), "authz_grant", ["application"], unique=False)
    op.create_table(
        "authz_recovery",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("totp", sa.String(length=32), nullable=False),
        sa.Column("code", sa.LargeBinary(length=32), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["totp"], ["authz_totp.id"], name=op.f("fk_authz_recovery_totp_authz_totp")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_authz_recovery")),
    )
    op.create_index(op.f("ix_authz_recovery_totp"), "authz_recovery", ["totp"], unique=False)
    op.create_table(
        "authz_resource",
        sa.Column("application", sa.String(length=64), nullable=False),
        sa.Column("type", sa.String(length=128), nullable=False),
        sa.Column("id", sa.String(length=255), nullable=False),
        sa.Column("unit", sa.String(length=36), nullable=False),
        sa.Column("properties", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["application"], ["authz_application.id"], name=op.f("fk_authz_resource_application_authz_application")),
        sa.PrimaryKeyConstraint("application", "type", "id", name=op.f("pk_authz_resource")),
    )
    op.create_table(
        "authz_session_seen",
        sa.Column("session", sa.String(length=32), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["session"], ["authz_session.id"], name=op.f("fk_authz_session_seen_session_authz_session")),
        sa.PrimaryKeyConstraint("session", name=op.f("pk_authz_session_seen")),
    )
    op.create_index("ix_authz_session_seen_at", "authz_session_seen", ["at"], unique=False)
    op.create_table(
        "ca_approval",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.Integer(), nullable=False),
        sa.Column("approver", sa.String(), nullable=False),
        sa.Column("word", sa.String(), nullable=False),
        sa.Column("comment", sa.String(), nullable=False),
        sa.Column("rule", sa.String(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["ca_request.id"], name=op.f("fk_ca_approval_request_id_ca_request")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ca_approval")),
        sa.UniqueConstraint("request_id", "approver", name=op.f("uq_ca_approval_request_id_approver")),
    )
    op.create_table(
        "ca_crl",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("authority", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("tbs_sha256", sa.String(), nullable=False),
        sa.Column("der", sa.LargeBinary(), nullable=True),
        sa.Column("this_update", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_update", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("entries", sa.Integer(), nullable=False),
        sa.Column("node", sa.String(), nullable=False),
        sa.Column("boot", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["authority"], ["ca_authority.id"], name=op.f("fk_ca_crl_authority_ca_authority")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ca_crl")),
        sa.UniqueConstraint("authority", "number", name=op.f("uq_ca_crl_authority_number")),
    )
    op.create_index("ix_ca_crl_state", "ca_crl", ["state", "authority"], unique=False)
    op.create_table(
        "ca_intent",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("authority", sa.String(), nullable=False),
        sa.Column("serial", sa.String(), nullable=False),
        sa.Column("request_id", sa.Integer(), nullable=True),
        sa.Column("profile", sa.String(), nullable=False),
        sa.Column("profile_version", sa.Integer(), nullable=False),
        sa.Column("tbs", sa.LargeBinary(), nullable=False),
        sa.Column("tbs_sha256", sa.String(), nullable=False),
        sa.Column("not_after", sa.DateTime(timezone=True), nullable=False),
        sa.Column("rule", sa.String(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("node", sa.String(), nullable=False),
        sa.Column("boot", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["authority"], ["ca_authority.id"], name=op.f("fk_ca_intent_authority_ca_authority")),
        sa.ForeignKeyConstraint(["request_id"], ["ca_request.id"], name=op.f("fk_ca_intent_request_id_ca_request")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ca_intent")),
        sa.UniqueConstraint("authority", "serial", name=op.f("uq_ca_intent_authority_serial")),
        sa.UniqueConstraint("id", "authority", "serial", name=op.f("uq_ca_intent_id_authority_serial")),
    )
    op.create_index(
        "ix_ca_intent_open",
        "ca_intent",
        ["state"],
        unique=False,
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_index(
        "uq_ca_intent_open_request",
        "ca_intent",
        ["request_id"],
        unique=True,
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_table(
        "ca_certificate",
        sa.Column("intent_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("authority", sa.String(), nullable=False),
        sa.Column("serial", sa.String(), nullable=False),
        sa.Column("request_id", sa.Integer(), nullable=True),
        sa.Column("profile", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("unit", sa.String(), nullable=False),
        sa.Column("common_name", sa.String(), nullable=False),
        sa.Column("spki_sha256", sa.String(), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("not_after", sa.DateTime(timezone=True), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("der", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["intent_id", "authority", "serial"],
            ["ca_intent.id", "ca_intent.authority", "ca_intent.serial"],
            name=op.f("fk_ca_certificate_intent_id_authority_serial_ca_intent"),
        ),
        sa.ForeignKeyConstraint(["request_id"], ["ca_request.id"], name=op.f("fk_ca_certificate_request_id_ca_request")),
        sa.PrimaryKeyConstraint("intent_id", name=op.f("pk_ca_certificate")),
        sa.UniqueConstraint("authority", "serial", name=op.f("uq_ca_certificate_authority_serial")),
        sa.UniqueConstraint("request_id", name=op.f("uq_ca_certificate_request_id")),
    )
    op.create_index(op.f("ix_ca_certificate_owner"), "ca_certificate", ["owner"], unique=False)
    op.create_index(op.f("ix_ca_certificate_serial"), "ca_certificate", ["serial"], unique=False)
    op.create_index(op.f("ix_ca_certificate_spki_sha256"), "ca_certificate", ["spki_sha256"], unique=False)
    op.create_index(op.f("ix_ca_certificate_subject"), "ca_certificate", ["subject"], unique=False)
    op.create_index("ix_ca_certificate_unit_intent_id", "ca_certificate", ["unit", "intent_id"], unique=False)
    op.create_table(
        "ca_revocation",
        sa.Column("intent_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("authority", sa.String(), nullable=False),
        sa.Column("serial", sa.String(), nullable=False),
        sa.Column("standing", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("not_after", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["intent_id"], ["ca_intent.id"], name=op.f("fk_ca_revocation_intent_id_ca_intent")),
        sa.PrimaryKeyConstraint("intent_id", name=op.f("pk_ca_revocation")),
        sa.UniqueConstraint("authority", "serial", name=op.f("uq_ca_revocation_authority_serial")),
        sa.UniqueConstraint("revision", name=op.f("uq_ca_revocation_revision")),
    )
    # Rows of the trail are added and never changed or removed.
    if op.get_bind().dialect.name != "sqlite":
        return
    op.execute(
        "CREATE TRIGGER trail_batch_no_delete BEFORE DELETE ON trail_batch BEGIN SELECT RAISE(ABORT, 'trail_batch is append-only'); END"
    )
    op.execute(
        "CREATE TRIGGER trail_batch_no_update BEFORE UPDATE ON trail_batch BEGIN SELECT RAISE(ABORT, 'trail_batch is append-only'); END"
    )
    op.execute(
        "CREATE TRIGGER trail_checkpoint_no_delete BEFORE DELETE ON trail_checkpoint BEGIN SELECT RAISE(ABORT, 'trail_checkpoint is append-only'); END"
    )
    op.execute(
        "CREATE TRIGGER trail_checkpoint_no_update BEFORE UPDATE ON trail_checkpoint BEGIN SELECT RAISE(ABORT, 'trail_checkpoint is append-only'); END"
    )
    op.execute(
        "CREATE TRIGGER trail_epoch_no_delete BEFORE DELETE ON trail_epoch BEGIN SELECT RAISE(ABORT, 'trail_epoch is append-only'); END"
    )
    op.execute(
        "CREATE TRIGGER trail_epoch_no_update BEFORE UPDATE ON trail_epoch BEGIN SELECT RAISE(ABORT, 'trail_epoch is append-only'); END"
    )
    op.execute(
        "CREATE TRIGGER trail_event_no_delete BEFORE DELETE ON trail_event BEGIN SELECT RAISE(ABORT, 'trail_event is append-only'); END"
    )
    op.execute(
        "CREATE TRIGGER trail_event_no_update BEFORE UPDATE ON trail_event BEGIN SELECT RAISE(ABORT, 'trail_event is append-only'); END"
    )
    op.execute(
        "CREATE TRIGGER trail_tile_no_delete BEFORE DELETE ON trail_tile BEGIN SELECT RAISE(ABORT, 'trail_tile is append-only'); END"
    )
    op.execute(
        "CREATE TRIGGER trail_tile_no_update BEFORE UPDATE ON trail_tile BEGIN SELECT RAISE(ABORT, 'trail_tile is append-only'); END"
    )
