"""An authority is on hold after a restore; the first entry of an epoch is its opening, and what waits comes after it."""

from alembic import op
import sqlalchemy as sa

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

STEP = r"""
CREATE OR REPLACE FUNCTION audit.drain(a_log text, a_epoch integer, a_at bigint)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, audit, pg_temp SET jit = off SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    g record;
BEGIN
    IF NOT EXISTS (SELECT FROM trail_batch b WHERE b.log = a_log AND b.epoch = a_epoch) THEN RETURN; END IF;
    IF NOT EXISTS (SELECT FROM trail_pending p WHERE p.log = a_log) THEN RETURN; END IF;
    FOR g IN
        WITH taken AS (DELETE FROM trail_pending p WHERE p.log = a_log RETURNING p.*)
        SELECT q.node, q.boot, max(q.counter) AS counter, max(q.settled) AS settled, array_agg(q.id ORDER BY q.pid) AS id,
            array_agg(q.t ORDER BY q.pid) AS t, array_agg(q.code ORDER BY q.pid) AS code, array_agg(q.outcome ORDER BY q.pid) AS outcome,
            array_agg(q.actor ORDER BY q.pid) AS actor, array_agg(q.object ORDER BY q.pid) AS object, array_agg(q.cert ORDER BY q.pid) AS cert,
            array_agg(q.scope ORDER BY q.pid) AS scope, array_agg(q.request_id ORDER BY q.pid) AS request_id,
            array_agg(q.body ORDER BY q.pid) AS body
        FROM taken q GROUP BY q.node, q.boot ORDER BY min(q.pid)
    LOOP
        PERFORM audit.place(a_log, a_epoch, a_at, g.node, g.boot, g.counter, g.settled,
            g.id, g.t, g.code, g.outcome, g.actor, g.object, g.cert, g.scope, g.request_id, g.body);
    END LOOP;
END $$;

-- Opens the first epoch where there is none, and says whether nothing is in the present one: then its opening is due. Otherwise
-- everything that dead processes left behind is in the tree when this returns.
CREATE OR REPLACE FUNCTION audit.open_epoch(a_log text, a_origin text, a_at bigint, OUT present integer, OUT is_new boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, audit, pg_temp AS $$
BEGIN
    PERFORM audit.hold(a_log);
    SELECT max(o.epoch) INTO present FROM trail_epoch o WHERE o.log = a_log;
    IF present IS NULL THEN
        present := 1;
        INSERT INTO trail_epoch (log, epoch, origin, t) VALUES (a_log, present, a_origin, a_at);
    END IF;
    is_new := NOT EXISTS (SELECT FROM trail_batch b WHERE b.log = a_log AND b.epoch = present);
    PERFORM audit.drain(a_log, present, a_at);
END $$;
"""


def upgrade() -> None:
    op.add_column("ca_authority", sa.Column("held", sa.String(), server_default="", nullable=False))
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        connection.connection.cursor().execute(STEP)
