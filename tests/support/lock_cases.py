"""Statements to ask a server about, on the tables of SCHEMA, and a revision that calls every operation on them."""

import sqlalchemy as sa
from alembic.operations import Operations

from todo_schema import operations

SCHEMA = """
CREATE TABLE u (id int PRIMARY KEY, name text, n int NOT NULL DEFAULT 1);
CREATE TABLE t (id int PRIMARY KEY, u_id int, v varchar(10), a int, b int NOT NULL, c int);
CREATE TABLE k (id int);
CREATE UNIQUE INDEX uq_k ON k (id);
CREATE TABLE f (id int PRIMARY KEY, u_id int CONSTRAINT fk_f REFERENCES u);
CREATE UNIQUE INDEX uq_a ON t (a);
CREATE UNIQUE INDEX uq_b ON t (b);
CREATE INDEX ix_c ON t (c);
ALTER TABLE t ADD CONSTRAINT ck_t CHECK (a > 0) NOT VALID;
ALTER TABLE t ADD CONSTRAINT ck_c CHECK (c IS NOT NULL);
ALTER TABLE t ADD CONSTRAINT fk_t FOREIGN KEY (u_id) REFERENCES u NOT VALID;
CREATE STATISTICS st_t ON a, c FROM t;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE FUNCTION unused() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
CREATE TRIGGER tr BEFORE UPDATE ON f FOR EACH ROW EXECUTE FUNCTION touch();
CREATE POLICY po ON t USING (true);
CREATE VIEW vw AS SELECT id FROM t;
CREATE SEQUENCE sq;
CREATE TYPE ty AS ENUM ('a');
CREATE DOMAIN dom AS int CHECK (VALUE > 0);
INSERT INTO u SELECT g FROM generate_series(1, 50) AS g;
INSERT INTO k SELECT g FROM generate_series(1, 50) AS g;
INSERT INTO t SELECT g, g, 'v', g, g, g FROM generate_series(1, 50) AS g;
INSERT INTO f SELECT g, g FROM generate_series(1, 50) AS g;
ANALYZE
"""

# What is said of these is what a server does.
EXACT = """
CREATE TABLE n (id int PRIMARY KEY, u_id int REFERENCES u, n_id int REFERENCES n)
CREATE TABLE n (id int, CONSTRAINT fk FOREIGN KEY (id) REFERENCES "u" (id)) WITH (fillfactor = 90)
CREATE UNLOGGED TABLE IF NOT EXISTS n (LIKE t, x int CHECK (x > 0), y text CHECK (y LIKE 'a'))
CREATE TEMPORARY TABLE n (id int)
CREATE TABLE n AS SELECT t.* FROM t JOIN f ON f.id = t.id
CREATE INDEX ON t (a)
CREATE UNIQUE INDEX IF NOT EXISTS ix ON ONLY public."t" USING btree (a, (lower(v)) DESC) INCLUDE (b) WHERE a > 0
CREATE TRIGGER x BEFORE UPDATE OF a ON t FOR EACH ROW WHEN (old.a IS DISTINCT FROM new.a) EXECUTE FUNCTION touch()
CREATE CONSTRAINT TRIGGER x AFTER UPDATE ON t FROM u FOR EACH ROW EXECUTE FUNCTION touch()
CREATE OR REPLACE TRIGGER tr BEFORE UPDATE ON f FOR EACH ROW EXECUTE FUNCTION touch()
CREATE FUNCTION x() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT count(*) FROM t); END $$
CREATE FUNCTION x() RETURNS bigint LANGUAGE sql AS $$ SELECT count(*) FROM t JOIN u ON u.id = t.id $$
CREATE FUNCTION x() RETURNS void LANGUAGE sql AS $$ DELETE FROM f; INSERT INTO u VALUES (99) $$
CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$
CREATE SEQUENCE IF NOT EXISTS x
CREATE SEQUENCE x START 5 OWNED BY t.a
CREATE TYPE x AS ENUM ('b')
CREATE DOMAIN x AS text CHECK (VALUE <> '')
CREATE SCHEMA x
CREATE VIEW x AS SELECT t.id FROM t, LATERAL (SELECT 1 FROM u WHERE u.id = t.id) AS s
CREATE OR REPLACE VIEW vw AS SELECT id FROM t
CREATE STATISTICS x (dependencies) ON a, b FROM t
CREATE POLICY x ON t FOR SELECT USING (EXISTS (SELECT FROM u WHERE u.id = t.u_id))
DROP TABLE f
DROP TABLE IF EXISTS f, missing
DROP INDEX ix_c
DROP TRIGGER IF EXISTS tr ON f
DROP POLICY po ON t
DROP VIEW vw
DROP SEQUENCE sq
DROP STATISTICS st_t
DROP FUNCTION unused()
DROP FUNCTION IF EXISTS unused
DROP TYPE ty
ALTER INDEX ix_c RENAME TO x
ALTER SEQUENCE sq RESTART WITH 5
ALTER VIEW vw RENAME TO x
ALTER TRIGGER tr ON f RENAME TO x
ALTER POLICY po ON t USING (id IN (SELECT id FROM f))
ALTER FUNCTION unused() RENAME TO x
ALTER TYPE ty RENAME TO x
COMMENT ON TABLE t IS 'x'
COMMENT ON COLUMN public.t.a IS 'CREATE INDEX x ON u (id)'
COMMENT ON VIEW vw IS NULL
COMMENT ON INDEX ix_c IS 'x'
COMMENT ON CONSTRAINT ck_t ON t IS 'x'
COMMENT ON TRIGGER tr ON f IS 'x'
COMMENT ON FUNCTION touch() IS 'x'
INSERT INTO u (id) VALUES (99), (100)
INSERT INTO u SELECT id + 100 FROM t ON CONFLICT DO NOTHING
UPDATE u SET name = 'x'
UPDATE ONLY u SET name = t.v FROM t WHERE t.id = u.id
DELETE FROM f
DELETE FROM f USING u AS other, t WHERE other.id = f.u_id AND t.id = f.id
LOCK TABLE t
LOCK t, u IN SHARE ROW EXCLUSIVE MODE NOWAIT
LOCK TABLE t IN SHARE MODE
TRUNCATE t
TRUNCATE TABLE f, t RESTART IDENTITY
CLUSTER t USING t_pkey
REINDEX TABLE t
REINDEX INDEX ix_c
ANALYZE t
ANALYZE VERBOSE t (a)
GRANT EXECUTE ON FUNCTION touch() TO public
SET LOCAL lock_timeout = 1000
ALTER TABLE t ADD COLUMN x text
ALTER TABLE t ADD x int NULL
ALTER TABLE ONLY public."t" ADD COLUMN IF NOT EXISTS x int DEFAULT (1 + 2) NOT NULL
ALTER TABLE t ADD COLUMN x timestamp with time zone DEFAULT now() NOT NULL, ADD COLUMN y jsonb DEFAULT '{}'::jsonb
ALTER TABLE t ADD COLUMN x numeric(10, 2) DEFAULT 1.5::numeric(10, 2)
ALTER TABLE t ADD COLUMN x text COLLATE "C" DEFAULT coalesce(current_setting('x.y', true), lower('X')) NOT NULL
ALTER TABLE t ADD COLUMN x int[] DEFAULT '{}' NOT NULL
ALTER TABLE t ADD COLUMN uniqueness double precision DEFAULT NULL
ALTER TABLE t ADD COLUMN x timestamptz DEFAULT clock_timestamp()
ALTER TABLE t ADD COLUMN x uuid DEFAULT gen_random_uuid() NOT NULL
ALTER TABLE t ADD COLUMN x text DEFAULT lower(gen_random_uuid()::text)
ALTER TABLE t ADD COLUMN x int DEFAULT nextval('sq')
ALTER TABLE t ADD COLUMN x int GENERATED BY DEFAULT AS IDENTITY
ALTER TABLE t ADD COLUMN x bigserial
ALTER TABLE t ADD COLUMN x int GENERATED ALWAYS AS (a + 1) STORED
ALTER TABLE t ADD COLUMN x dom
ALTER TABLE t ADD COLUMN x int CHECK (x > 0)
ALTER TABLE t ADD COLUMN x int DEFAULT 1 CONSTRAINT ck_x CHECK (x > 0)
ALTER TABLE t ADD COLUMN x int UNIQUE
ALTER TABLE t ADD COLUMN x int REFERENCES u
ALTER TABLE t ADD COLUMN x int DEFAULT 1 REFERENCES u (id) ON DELETE CASCADE
ALTER TABLE t ADD CONSTRAINT x CHECK (b > 0)
ALTER TABLE t ADD CHECK (b > 0) NO INHERIT
ALTER TABLE t ADD CONSTRAINT x CHECK (b > 0 AND v <> 'NOT VALID') NOT VALID
ALTER TABLE t ADD CONSTRAINT x CHECK (v <> ') NOT VALID')
ALTER TABLE t ADD CONSTRAINT x FOREIGN KEY (u_id) REFERENCES public.u (id)
ALTER TABLE t ADD CONSTRAINT x FOREIGN KEY (u_id) REFERENCES u ON DELETE CASCADE NOT VALID
ALTER TABLE t ADD CONSTRAINT x FOREIGN KEY (a) REFERENCES t
ALTER TABLE t ADD CONSTRAINT x UNIQUE (a, b)
ALTER TABLE t ADD CONSTRAINT x UNIQUE USING INDEX uq_a
ALTER TABLE k ADD CONSTRAINT x PRIMARY KEY USING INDEX uq_k
ALTER TABLE k ADD PRIMARY KEY (id)
ALTER TABLE t ADD CONSTRAINT x EXCLUDE (a WITH =)
ALTER TABLE t VALIDATE CONSTRAINT ck_t
ALTER TABLE t VALIDATE CONSTRAINT fk_t
ALTER TABLE t ALTER COLUMN b TYPE bigint
ALTER TABLE t ALTER b SET DATA TYPE bigint USING b::bigint
ALTER TABLE t ALTER COLUMN a SET NOT NULL
ALTER TABLE t ALTER COLUMN b DROP NOT NULL
ALTER TABLE t ALTER COLUMN a SET DEFAULT 1, ALTER COLUMN a DROP DEFAULT
ALTER TABLE t ALTER COLUMN a SET DEFAULT random()
ALTER TABLE t ALTER COLUMN a SET STATISTICS 100
ALTER TABLE t ALTER COLUMN a SET STATISTICS -1, ALTER COLUMN b SET (n_distinct = 5)
ALTER TABLE t ALTER COLUMN v SET STORAGE PLAIN
ALTER TABLE t ALTER COLUMN b ADD GENERATED BY DEFAULT AS IDENTITY
ALTER TABLE t DROP COLUMN a
ALTER TABLE t DROP COLUMN IF EXISTS u_id
ALTER TABLE t DROP CONSTRAINT IF EXISTS ck_t
ALTER TABLE t DROP CONSTRAINT fk_t
ALTER TABLE t RENAME COLUMN a TO x
ALTER TABLE t RENAME TO x
ALTER TABLE t RENAME CONSTRAINT ck_t TO x
ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY
ALTER TABLE f DISABLE TRIGGER tr
ALTER TABLE t SET (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.1)
ALTER TABLE f SET UNLOGGED
ALTER TABLE t CLUSTER ON t_pkey
ALTER TABLE t REPLICA IDENTITY FULL
ALTER TABLE t OWNER TO current_user
ALTER TABLE t SET SCHEMA information_schema
ALTER TABLE t DROP COLUMN v; CREATE INDEX ON f (u_id); -- DROP TABLE u
DO $$ BEGIN IF NOT EXISTS (SELECT FROM u) THEN NULL; END IF; ALTER TABLE t ADD COLUMN x int; END $$
DO $$ BEGIN IF EXISTS (SELECT FROM pg_class c WHERE false) THEN RAISE EXCEPTION USING MESSAGE = 'x'; END IF; END $$
DO $x$ DECLARE i int := 1; BEGIN EXECUTE 'CREATE INDEX ON t (a)'; i := 2; END $x$ LANGUAGE plpgsql
""".strip().splitlines()
SINCE_18 = """
ALTER TABLE t ADD CONSTRAINT x NOT NULL a
ALTER TABLE t ADD COLUMN x int GENERATED ALWAYS AS (a + 1) VIRTUAL
ALTER TABLE t ADD COLUMN x int GENERATED ALWAYS AS (a + 1) VIRTUAL NOT NULL
GRANT SELECT, UPDATE (a) ON t TO public
REVOKE ALL ON TABLE t, u FROM public
""".strip().splitlines()

# What the text does not tell, and so is said too much of.
SAID_WORSE = """
ALTER TABLE t ALTER COLUMN c SET NOT NULL
ALTER TABLE t ALTER COLUMN v TYPE text
ALTER TABLE t ADD COLUMN x ty DEFAULT 'a'
ALTER TABLE t DROP CONSTRAINT t_pkey, ADD CONSTRAINT x PRIMARY KEY USING INDEX uq_b
CREATE TABLE IF NOT EXISTS u (id int REFERENCES t)
UPDATE u SET name = 'x' WHERE false
CREATE TABLE n (id int); ALTER TABLE n ADD CONSTRAINT x FOREIGN KEY (id) REFERENCES u
DO $$ BEGIN IF EXISTS (SELECT FROM pg_class WHERE false) THEN DROP TABLE u; ELSE LOCK TABLE f; END IF; END $$
DO $$ BEGIN FOR i IN 1..0 LOOP UPDATE t SET a = i; END LOOP; EXCEPTION WHEN others THEN DROP TABLE u; END $$
""".strip().splitlines()

# What no transaction may hold.
ALONE = """
CREATE INDEX CONCURRENTLY x ON t (a)
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS x ON t USING btree (a) WHERE a > 0
DROP INDEX CONCURRENTLY ix_c
REINDEX TABLE CONCURRENTLY t
REINDEX INDEX CONCURRENTLY ix_c
VACUUM t
VACUUM FULL t
""".strip().splitlines()

# What might do anything.
NOT_UNDERSTOOD = """
SELECT do_something()
WITH gone AS (DELETE FROM t RETURNING *) SELECT * FROM gone
MERGE INTO u USING t ON t.id = u.id WHEN MATCHED THEN DELETE
CALL do_something()
COMMIT
DROP TABLE u CASCADE
DROP SCHEMA x CASCADE
DROP FUNCTION touch() CASCADE
TRUNCATE u CASCADE
ALTER TABLE t DROP COLUMN a CASCADE
ALTER TABLE t INHERIT u
ALTER TABLE t ATTACH PARTITION u DEFAULT
ALTER TABLE t SET (user_catalog_table = true)
ALTER TABLE t ADD COLUMN x int, FROBNICATE
ALTER DOMAIN dom ADD CHECK (VALUE < 5)
CREATE TABLE n (id int) INHERITS (t)
CREATE TABLE n PARTITION OF t DEFAULT
LOCK TABLE t IN SOME MODE
DO $$ BEGIN PERFORM do_something(); END $$
DO $$ BEGIN IF do_something() THEN NULL; END IF; END $$
DO $$ DECLARE i int := do_something(); BEGIN NULL; END $$
DO $$ DECLARE i int; BEGIN i := do_something(); END $$
DO $$ BEGIN EXECUTE format('DROP TABLE %I', 'u'); END $$
DO $$ import os $$ LANGUAGE plpython3u
DO $$ nonsense $$
ALTER TABLE t ADD COLUMN x int; SELECT do_something()
/* a /* b */ DROP TABLE u; */ CREATE TYPE x
CREATE INDEX x ON t ('unfinished)
""".strip().splitlines()


def every_operation(op: Operations) -> None:
    """Call each operation but `drop_column`, which is for the way back; in this order they can be carried out."""
    op.add_column("t", sa.Column("plain", sa.Text(), comment="Alembic's own."))
    operations.add_check(op, "ck_x", "t", "a > 0")
    operations.add_foreign_key(op, "fk_x", "t", ["u_id"], "u", ["id"], ondelete="CASCADE")
    operations.set_not_null(op, "t", "a")
    operations.add_column(op, "t", sa.Column("x", sa.Text(), server_default="it's", comment="New."))
    operations.backfill(op, "t", {"x": "v"}, where="x = 'it''s'")
    operations.replace_function(op, "x()", "RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$")
    operations.replace_trigger(op, "x", "t", "BEFORE UPDATE FOR EACH ROW EXECUTE FUNCTION x()")
    operations.drop_trigger(op, "x", "t")
    operations.drop_function(op, "x()")
    operations.set_default(op, "t", "x", "clock_timestamp()::text")
    operations.drop_not_null(op, "t", "a")
    operations.drop_constraint(op, "fk_t", "t", target="u")
    operations.set_comment(op, "t", "a", "It's a.")
    operations.add_unique(op, "uq_a", "t", ["a"])
    operations.create_index(op, "ix_x", "t", ["x DESC"], unique=True, where="a > 0", include=["b"])
    operations.drop_index(op, "ix_c", "t")
    operations.create_statistics(op, "st_x", "t", ["a", "b"], "dependencies")
    operations.drop_statistics(op, "st_t", "t")
