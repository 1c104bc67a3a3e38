"""Every indexed field of the trail is found without reading the trail: outcomes with their codes, and units."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_SCOPED = sa.text("scope != ''")


def upgrade() -> None:
    schema = "audit" if op.get_bind().dialect.name == "postgresql" else None
    op.drop_index("ix_trail_event_code", "trail_event", schema=schema)
    op.create_index("ix_trail_event_kind", "trail_event", ["code", "outcome", "t"], schema=schema)
    op.create_index("ix_trail_event_scope", "trail_event", ["scope", "t"], schema=schema, sqlite_where=_SCOPED, postgresql_where=_SCOPED)
