"""On PostgreSQL the trail has a schema and an owner of its own, and is written through functions only."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

#: 2^24 entries are 256^3: a partition ends where a tile of the third level ends.
STEP = r"""
ALTER TABLE yumen.trail_epoch SET SCHEMA audit;
ALTER TABLE yumen.trail_batch SET SCHEMA audit;
ALTER TABLE yumen.trail_tile SET SCHEMA audit;
ALTER TABLE yumen.trail_checkpoint SET SCHEMA audit;
ALTER TABLE yumen.trail_disclosure SET SCHEMA audit;
CREATE TABLE audit.trail_event (
    LIKE yumen.trail_event,
    CONSTRAINT pk_trail_event PRIMARY KEY (log, epoch, idx),
    CONSTRAINT ck_trail_event_body CHECK (octet_length(body) <= 60000)
) PARTITION BY RANGE (idx);
DROP TABLE yumen.trail_event;
CREATE TABLE audit.trail_event_0 PARTITION OF audit.trail_event FOR VALUES FROM (0) TO (16777216);
CREATE INDEX ix_trail_event_id ON audit.trail_event (id);
CREATE INDEX ix_trail_event_t ON audit.trail_event (t);
CREATE INDEX ix_trail_event_actor ON audit.trail_event (actor, t);
CREATE INDEX ix_trail_event_object ON audit.trail_event (object, t);
CREATE INDEX ix_trail_event_code ON audit.trail_event (code, t);
CREATE INDEX ix_trail_event_cert ON audit.trail_event (cert, t) WHERE cert <> '';
CREATE INDEX ix_trail_event_request_id ON audit.trail_event (request_id, t) WHERE request_id <> '';

-- The only sequencing point. An advisory lock could be taken, and kept, by any role of the database.
CREATE TABLE audit.trail_lock (log varchar(16) PRIMARY KEY);
INSERT INTO audit.trail_lock VALUES ('ca'), ('access');
-- Roots of full tiles: what a tile of the level above is made of.
CREATE TABLE audit.trail_node (
    log varchar(16), epoch integer, level integer, n bigint, hash bytea NOT NULL, PRIMARY KEY (log, epoch, level, n)
);
-- Events that are committed with their facts and not yet in the tree.
CREATE TABLE audit.trail_pending (
    pid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tx xid8 NOT NULL DEFAULT pg_current_xact_id(),
    log text NOT NULL REFERENCES audit.trail_lock, node text NOT NULL, boot text NOT NULL, counter bigint NOT NULL, settled bigint NOT NULL,
    id text NOT NULL, t bigint NOT NULL, code text NOT NULL, outcome text NOT NULL, actor text NOT NULL, object text NOT NULL,
    cert text NOT NULL, scope text NOT NULL, request_id text NOT NULL, body bytea NOT NULL CHECK (octet_length(body) <= 60000)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
CREATE INDEX ix_trail_pending_tx ON audit.trail_pending (tx);
CREATE INDEX ix_trail_pending_log ON audit.trail_pending (log, pid);

CREATE FUNCTION audit.grow(
    a_log text, a_epoch integer, a_at bigint, a_node text, a_boot text, a_counter bigint, a_settled bigint, a_leaves bytea[]
) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, audit, pg_temp SET jit = off SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    head audit.trail_batch;
    s bytea[] := '{}';
    k integer := 0;
    before bigint := 0;
    z bigint;
    m bigint;
    h integer;
    x bytea;
    e bytea := '';
BEGIN
    SELECT * INTO head FROM trail_batch b WHERE b.log = a_log AND b.epoch = a_epoch ORDER BY b.size DESC LIMIT 1;
    IF FOUND THEN
        before := head.size;
        k := octet_length(head.edge) / 32;
        FOR i IN 1..k LOOP s[i] := substr(head.edge, 32 * i - 31, 32); END LOOP;
    END IF;
    z := before;
    FOREACH x IN ARRAY a_leaves LOOP
        m := z;
        h := 0;
        WHILE m & 1 = 1 LOOP
            x := sha256('\x01'::bytea || s[k] || x);
            k := k - 1;
            m := m >> 1;
            h := h + 1;
            IF h % 8 = 0 THEN
                INSERT INTO trail_node VALUES (a_log, a_epoch, h / 8, z >> h, x);
                IF (z >> h) % 256 = 255 THEN
                    INSERT INTO trail_tile SELECT a_log, a_epoch, h / 8, z >> (h + 8), string_agg(d.hash, '' ORDER BY d.n) FROM trail_node d
                    WHERE d.log = a_log AND d.epoch = a_epoch AND d.level = h / 8 AND d.n > (z >> h) - 256 AND d.n <= z >> h;
                END IF;
            END IF;
        END LOOP;
        k := k + 1;
        s[k] := x;
        z := z + 1;
    END LOOP;
    x := s[k];
    FOR i IN REVERSE k - 1..1 LOOP x := sha256('\x01'::bytea || s[i] || x); END LOOP;
    FOR i IN 1..k LOOP e := e || s[i]; END LOOP;
    FOR i IN before / 256..z / 256 - 1 LOOP
        INSERT INTO trail_tile SELECT a_log, a_epoch, 0, i, string_agg(v.leaf, '' ORDER BY v.idx) FROM trail_event v
        WHERE v.log = a_log AND v.epoch = a_epoch AND v.idx >= i::bigint * 256 AND v.idx < i::bigint * 256 + 256;
    END LOOP;
    INSERT INTO trail_batch (log, epoch, size, first, edge, root, t, node, boot, counter, settled)
    VALUES (a_log, a_epoch, z, before, e, x, a_at, a_node, a_boot, a_counter, a_settled);
END $$;

CREATE FUNCTION audit.place(
    a_log text, a_epoch integer, a_at bigint, a_node text, a_boot text, a_counter bigint, a_settled bigint,
    a_id text[], a_t bigint[], a_code text[], a_outcome text[], a_actor text[], a_object text[], a_cert text[], a_scope text[],
    a_request_id text[], a_body bytea[]
) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, audit, pg_temp SET jit = off SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    before bigint;
    last_part bigint;
    leaves bytea[];
BEGIN
    SELECT b.size INTO before FROM trail_batch b WHERE b.log = a_log AND b.epoch = a_epoch ORDER BY b.size DESC LIMIT 1;
    before := coalesce(before, 0);
    last_part := (before + cardinality(a_body) - 1) >> 24;
    IF to_regclass('audit.trail_event_' || last_part) IS NULL THEN
        EXECUTE format('CREATE TABLE audit.trail_event_%s PARTITION OF audit.trail_event FOR VALUES FROM (%s) TO (%s)',
            last_part, last_part << 24, (last_part + 1) << 24);
    END IF;
    WITH placed AS (
        INSERT INTO trail_event (log, epoch, idx, id, t, code, outcome, actor, object, cert, scope, request_id, leaf, body)
        SELECT a_log, a_epoch, before + w.o - 1, w.i, w.t, w.c, w.u, w.a, w.b, w.e, w.s, w.r, sha256('\x00'::bytea || w.y), w.y
        FROM unnest(a_id, a_t, a_code, a_outcome, a_actor, a_object, a_cert, a_scope, a_request_id, a_body)
            WITH ORDINALITY w (i, t, c, u, a, b, e, s, r, y, o)
        RETURNING idx, leaf
    )
    SELECT array_agg(p.leaf ORDER BY p.idx) INTO leaves FROM placed p;
    PERFORM audit.grow(a_log, a_epoch, a_at, a_node, a_boot, a_counter, a_settled, leaves);
END $$;

CREATE FUNCTION audit.hold(a_log text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, audit, pg_temp AS $$
BEGIN
    PERFORM 1 FROM trail_lock l WHERE l.log = a_log FOR UPDATE;
    IF NOT FOUND THEN RAISE EXCEPTION 'there is no log %', a_log; END IF;
END $$;

-- What was enqueued goes first, one journal row for each process that enqueued: each row is one process's account of itself.
CREATE FUNCTION audit.drain(a_log text, a_epoch integer, a_at bigint)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, audit, pg_temp SET jit = off SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    g record;
BEGIN
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

CREATE FUNCTION audit.append(
    a_log text, a_epoch integer, a_at bigint, a_node text, a_boot text, a_counter bigint, a_settled bigint,
    a_id text[], a_t bigint[], a_code text[], a_outcome text[], a_actor text[], a_object text[], a_cert text[], a_scope text[],
    a_request_id text[], a_body bytea[], OUT first bigint, OUT first_edge bytea, OUT size bigint, OUT root bytea
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, audit, pg_temp SET jit = off SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
BEGIN
    PERFORM audit.hold(a_log);
    IF a_epoch IS DISTINCT FROM (SELECT max(o.epoch) FROM trail_epoch o WHERE o.log = a_log) THEN
        RAISE EXCEPTION 'the present epoch of % is not %', a_log, a_epoch;
    END IF;
    PERFORM audit.drain(a_log, a_epoch, a_at);
    SELECT b.size, b.edge, b.size, b.root INTO first, first_edge, size, root
    FROM trail_batch b WHERE b.log = a_log AND b.epoch = a_epoch ORDER BY b.size DESC LIMIT 1;
    IF NOT FOUND THEN
        first := 0; first_edge := ''; size := 0; root := sha256('');
    END IF;
    IF cardinality(a_body) = 0 THEN RETURN; END IF;
    PERFORM audit.place(a_log, a_epoch, a_at, a_node, a_boot, a_counter, a_settled,
        a_id, a_t, a_code, a_outcome, a_actor, a_object, a_cert, a_scope, a_request_id, a_body);
    SELECT b.size, b.root INTO size, root
    FROM trail_batch b WHERE b.log = a_log AND b.epoch = a_epoch ORDER BY b.size DESC LIMIT 1;
END $$;

CREATE FUNCTION audit.enqueue(
    a_node text, a_boot text, a_settled bigint, a_log text[], a_counter bigint[],
    a_id text[], a_t bigint[], a_code text[], a_outcome text[], a_actor text[], a_object text[], a_cert text[], a_scope text[],
    a_request_id text[], a_body bytea[]
) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, audit, pg_temp AS $$
    INSERT INTO trail_pending (log, node, boot, counter, settled, id, t, code, outcome, actor, object, cert, scope, request_id, body)
    SELECT w.l, a_node, a_boot, w.n, a_settled, w.i, w.t, w.c, w.u, w.a, w.b, w.e, w.s, w.r, w.y
    FROM unnest(a_log, a_counter, a_id, a_t, a_code, a_outcome, a_actor, a_object, a_cert, a_scope, a_request_id, a_body)
        WITH ORDINALITY w (l, n, i, t, c, u, a, b, e, s, r, y, o) ORDER BY w.o
$$;

CREATE FUNCTION audit.disclose(a_id text[], a_field text[], a_salt bytea[], a_value text[], a_blind bytea[])
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, audit, pg_temp AS $$
    INSERT INTO trail_disclosure (id, field, salt, value, blind) SELECT * FROM unnest(a_id, a_field, a_salt, a_value, a_blind)
$$;

-- Opens the first epoch where there is none; everything that dead processes left behind is in the tree when this returns.
CREATE FUNCTION audit.open_epoch(a_log text, a_origin text, a_at bigint, OUT present integer, OUT is_new boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, audit, pg_temp AS $$
BEGIN
    PERFORM audit.hold(a_log);
    SELECT max(o.epoch) INTO present FROM trail_epoch o WHERE o.log = a_log;
    is_new := present IS NULL;
    IF is_new THEN
        present := 1;
        INSERT INTO trail_epoch (log, epoch, origin, t) VALUES (a_log, present, a_origin, a_at);
    END IF;
    PERFORM audit.drain(a_log, present, a_at);
END $$;

CREATE FUNCTION audit.put_checkpoint(a_log text, a_epoch integer, a_size bigint, a_root bytea, a_note text, a_at bigint)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, audit, pg_temp AS $$
    INSERT INTO trail_checkpoint (log, epoch, size, root, note, t) VALUES (a_log, a_epoch, a_size, a_root, a_note, a_at)
$$;

-- Deferred to the commit of every transaction that changed a fact: the tables of facts carry it as a constraint trigger.
CREATE FUNCTION audit.must_be_recorded() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, audit, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM trail_pending p WHERE p.tx = pg_current_xact_id()) THEN
        RAISE EXCEPTION 'rows of % changed and no event was enqueued', tg_table_name USING ERRCODE = 'YU001';
    END IF;
    RETURN NULL;
END $$;

-- Stops accidents of those who own the tables; the tree convicts everybody else.
CREATE FUNCTION audit.is_append_only() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, audit, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', tg_table_name USING ERRCODE = 'YU002';
END $$;
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['trail_epoch', 'trail_event', 'trail_batch', 'trail_tile', 'trail_checkpoint', 'trail_node'] LOOP
        EXECUTE format('CREATE TRIGGER %s_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.%s EXECUTE FUNCTION audit.is_append_only()',
            name, name);
    END LOOP;
END $$;
"""


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        connection.connection.cursor().execute(STEP)  # the bare driver takes many statements, and % as it is
