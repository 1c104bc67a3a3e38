"""The directory is kept as rows, for all processes to build from, and looks at it are announced."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_table("authz_directory")  # the next look makes it anew, with its rows
    op.create_table(
        "authz_directory",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("memberships", sa.Integer(), nullable=False),
        sa.Column("mark", sa.Text(), nullable=False),
        sa.Column("refused", sa.String(length=64), nullable=False),
        sa.Column("accepted", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_authz_directory")),
    )
    op.create_table(
        "authz_entry",
        sa.Column("uuid", sa.String(length=36), nullable=False),
        sa.Column("dn", sa.Text(), nullable=False),
        sa.Column("attributes", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_authz_entry")),
    )
    op.create_index(op.f("ix_authz_entry_revision"), "authz_entry", ["revision"], unique=False)
    op.create_table(
        "authz_look",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("announced", sa.BigInteger(), nullable=False),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.Column("problem", sa.String(length=500), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_authz_look")),
    )
