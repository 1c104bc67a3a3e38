"""Open sessions are counted without reading all that ever were."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_authz_session_expires_at", "authz_session", ["expires_at"], unique=False)
