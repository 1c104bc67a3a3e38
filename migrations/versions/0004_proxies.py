"""An application can be registered as one whose proxy asks at the gate."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("authz_application", sa.Column("proxy", sa.Boolean(), nullable=False, server_default=sa.false()))
