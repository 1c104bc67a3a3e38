"""Notices to people, and the certificates that end soon without reading all of them."""

from alembic import op
import sqlalchemy as sa

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "ops_notice",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("person", sa.String(length=36), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("problem", sa.String(length=64), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ops_notice")),
        sa.UniqueConstraint("key", "person", "channel", name=op.f("uq_ops_notice_key_person_channel")),
    )
    op.create_index("ix_ops_notice_state_due_at", "ops_notice", ["state", "due_at"], unique=False)
    op.create_index("ix_ops_notice_kind_person", "ops_notice", ["kind", "person"], unique=False)
    op.create_index("ix_ca_certificate_not_after", "ca_certificate", ["not_after"], unique=False)
