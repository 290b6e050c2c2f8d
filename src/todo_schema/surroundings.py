"""What stands around the tables that are to be adopted: what a catalogue does not say and a change would meet."""

import re
from dataclasses import dataclass, field

from todo_schema.compatibility import ENTITY_TABLES
from todo_schema.quoting import identifier, literal
from todo_schema.wire import Wire

# What is asked, of tables that are called `ours`; two columns are a name and what it has.
_OURS = """ours AS (SELECT c.oid, c.relname::text FROM pg_class c
    WHERE c.relnamespace = {home}::regnamespace AND c.relkind = 'r' AND c.relname IN ({tables}))"""
_COLUMNS = """WITH {ours}
    SELECT relname || '.' || conname, attname::text FROM ours
        JOIN pg_constraint ON conrelid = ours.oid JOIN pg_attribute ON attrelid = ours.oid AND attnum = ANY (conkey)
    UNION
    SELECT ours.relname || '.' || i.relname, attname::text FROM ours
        JOIN pg_index ON indrelid = ours.oid JOIN pg_class i ON i.oid = indexrelid
        JOIN pg_depend ON classid = 'pg_class'::regclass
             AND objid = indexrelid AND refclassid = 'pg_class'::regclass AND refobjid = ours.oid
        JOIN pg_attribute ON attrelid = ours.oid AND attnum = refobjsubid"""
_KEY_TARGETS = """WITH {ours}
    SELECT ours.relname || '.' || i.relname, k.conrelid::regclass || '.' || k.conname FROM ours
        JOIN pg_index x ON x.indrelid = ours.oid JOIN pg_class i ON i.oid = x.indexrelid
        JOIN pg_constraint k ON k.contype = 'f' AND k.conindid = x.indexrelid
    UNION ALL
    SELECT ours.relname || '.' || i.relname, 'the replica identity of ' || ours.relname FROM ours
        JOIN pg_index x ON x.indrelid = ours.oid AND x.indisreplident JOIN pg_class i ON i.oid = x.indexrelid"""
_BOUND = """WITH {ours}
    SELECT DISTINCT relname || '.' || attname, coalesce(
               'view ' || (SELECT ev_class::regclass::text FROM pg_rewrite WHERE d.classid = 'pg_rewrite'::regclass
                           AND pg_rewrite.oid = d.objid AND rulename = '_RETURN'),
               pg_describe_object(d.classid, d.objid, d.objsubid))
    FROM ours JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = ours.oid
         JOIN pg_attribute ON attrelid = ours.oid AND attnum = d.refobjsubid AND attnum > 0
    WHERE d.classid IN ('pg_rewrite'::regclass, 'pg_trigger'::regclass, 'pg_policy'::regclass,
                        'pg_publication_rel'::regclass, 'pg_proc'::regclass)
          OR d.classid = 'pg_attrdef'::regclass AND d.objid NOT IN (
              SELECT pg_attrdef.oid FROM pg_attrdef WHERE adrelid = ours.oid AND adnum = attnum)
    UNION
    SELECT relname || '.' || a.attname, 'column ' || whole.attrelid::regclass || '.' || whole.attname
    FROM ours JOIN pg_type t ON t.typrelid = ours.oid
         JOIN pg_attribute whole ON whole.atttypid IN (t.oid, t.typarray) AND NOT whole.attisdropped
         JOIN pg_attribute a ON a.attrelid = ours.oid AND a.attnum > 0
    UNION
    SELECT relname || '.' || attname, 'the table that it is inherited from'
    FROM ours JOIN pg_attribute ON attrelid = ours.oid AND attnum > 0 AND attinhcount > 0
    ORDER BY 2"""
_COMPUTED = """WITH {ours}
    SELECT ours.relname || '.' || i.relname,
           concat_ws(' ', pg_get_expr(indexprs, indrelid), pg_get_expr(indpred, indrelid))
    FROM ours JOIN pg_index ON indrelid = ours.oid JOIN pg_class i ON i.oid = indexrelid
    WHERE indexprs IS NOT NULL OR indpred IS NOT NULL"""
_TAKEN = """WITH {ours}
    SELECT relname::text, concat_ws(' of ', pg_describe_object('pg_class'::regclass, oid, 0),
               (SELECT indrelid::regclass FROM pg_index WHERE indexrelid = pg_class.oid)) FROM pg_class
    WHERE relnamespace = {home}::regnamespace AND relname ~ '^(ix|pk|uq)_'
          AND NOT EXISTS (SELECT FROM pg_index JOIN ours ON ours.oid = indrelid WHERE indexrelid = pg_class.oid
                          AND pg_class.relname ~ (CASE WHEN EXISTS (
                              SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u', 'x')
                          ) THEN '^(pk|uq)_' ELSE '^(ix|uq)_' END))"""
_TIME_ZONES = """SELECT rolname::text, split_part(setting, '=', 2)
    FROM pg_db_role_setting JOIN pg_roles ON pg_roles.oid = setrole, unnest(setconfig) AS setting
    WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
          AND lower(split_part(setting, '=', 1)) = 'timezone' ORDER BY setdatabase"""
_BENT = """WITH {ours} SELECT ours.relname, CASE WHEN relispartition THEN 'a partition of '
        || (SELECT inhparent::regclass FROM pg_inherits WHERE inhrelid = ours.oid) ELSE 'a table of type '
        || reloftype::regtype END
    FROM ours JOIN pg_class USING (oid) WHERE relispartition OR reloftype <> 0"""
_UNPROVEN = """WITH {ours} SELECT relname || '.' || attname FROM ours
    JOIN pg_constraint ON conrelid = ours.oid AND contype = 'n' AND NOT convalidated
    JOIN pg_attribute ON attrelid = ours.oid AND attnum = conkey[1]"""


@dataclass(frozen=True)
class Surroundings:
    """What a change of these tables would meet.

    Attributes:
        columns: The columns that a constraint or an index of a table reads: `messages.ix_x` to their names.
        key_targets: The constraints and indexes that something else rests on, `users.ix_users_id`, and what: somebody's
            foreign key, or logical replication.
        bound: What forbids another type of a column: `messages.created_at` to views, triggers, policies.
        computed: What an index computes: `messages.ix_x` to the words of its expressions and its condition.
        sequences: The sequence behind a serial column, as SQL names it: `tasks.id` to `tasks_id_seq`.
        lent: Sequences that number a column and are not its own alone, or are its own and do not number it.
        owned: Those of them that are its own.
        taken: The names that relations have for which ours could not make room: `pk_users` to `index pk_users`.
        alembic: What `alembic_version` holds in the same schema.
        time_zone: The time zone of a new session.
        time_zones: Those that roles ask for: `app` to `Europe/Berlin`.
        unread: Those of `lent` that the role may not read.
        bent: What of the tables cannot be altered by itself: `messages` to `a partition`.
        unproven: The columns whose NOT NULL the rows were not compared with, which PostgreSQL 18 allows.

    """

    columns: dict[str, frozenset[str]] = field(default_factory=dict)
    key_targets: dict[str, str] = field(default_factory=dict)
    bound: dict[str, tuple[str, ...]] = field(default_factory=dict)
    computed: dict[str, frozenset[str]] = field(default_factory=dict)
    sequences: dict[str, str] = field(default_factory=dict)
    lent: dict[str, tuple[str, ...]] = field(default_factory=dict)
    owned: dict[str, tuple[str, ...]] = field(default_factory=dict)
    taken: dict[str, str] = field(default_factory=dict)
    alembic: tuple[str, ...] = ()
    time_zone: str = "UTC"
    time_zones: dict[str, str] = field(default_factory=dict)
    unread: tuple[str, ...] = ()
    bent: dict[str, str] = field(default_factory=dict)
    unproven: frozenset[str] = frozenset()


def read(wire: Wire, schema: str) -> Surroundings:
    """Read it. The transaction's search_path must be the schema alone."""
    home = literal(identifier(schema))
    tables = ", ".join(literal(table) for table in sorted(ENTITY_TABLES))
    ours = _OURS.format(home=home, tables=tables)

    def ask(query: str) -> list[tuple[str, ...]]:
        return [tuple(map(str, row)) for row in wire.fetch(query.format(ours=ours, home=home))]

    sequences, lent, owned = _sequences(wire, ours)
    numbering = sorted({name for found in lent.values() for name in found})
    return Surroundings(
        columns={name: frozenset(found) for name, found in _grouped(ask(_COLUMNS)).items()},
        key_targets=_by_name(ask(_KEY_TARGETS)),
        bound=_grouped(ask(_BOUND)),
        computed={name: frozenset(re.findall(r"\w+", text)) for name, text in ask(_COMPUTED)},
        sequences=sequences,
        lent=lent,
        owned=owned,
        taken=_by_name(ask(_TAKEN)),
        alembic=_alembic(wire, schema),
        time_zone=ask("SELECT reset_val FROM pg_settings WHERE name = 'TimeZone'")[0][0],
        time_zones=_by_name(ask(_TIME_ZONES)),
        unread=tuple(name for name in numbering if not _may_read(wire, name)),
        bent=_by_name(ask(_BENT)),
        unproven=frozenset(column for (column,) in ask(_UNPROVEN)),
    )


def _by_name(rows: list[tuple[str, ...]]) -> dict[str, str]:
    return {row[0]: row[1] for row in rows}


def _grouped(rows: list[tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name, what in rows:
        found[name] = (*found.get(name, ()), what)
    return found


def _may_read(wire: Wire, sequence: str) -> bool:
    return bool(wire.fetch(f"SELECT has_sequence_privilege({literal(sequence)}, 'SELECT')")[0][0])


def _sequences(
    wire: Wire, ours: str
) -> tuple[dict[str, str], dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """Return the sequences of serial columns, what else numbers columns, and which of these they own."""
    own: dict[str, str] = {}
    lent: dict[str, list[str]] = {}
    owned: dict[str, list[str]] = {}
    for column, sequence, is_owned, numbers, is_shared in wire.fetch(f"""WITH {ours},
        theirs AS (SELECT refobjid AS of_table, refobjsubid AS of_column, objid AS sequence FROM pg_depend
            JOIN pg_class s ON s.oid = objid AND s.relkind = 'S'
            WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass AND deptype = 'a'),
        numbered AS (SELECT adrelid AS of_table, adnum AS of_column, refobjid AS sequence FROM pg_attrdef
            JOIN pg_depend ON classid = 'pg_attrdef'::regclass AND objid = pg_attrdef.oid
            JOIN pg_class s ON refclassid = 'pg_class'::regclass AND s.oid = refobjid AND s.relkind = 'S')
        SELECT relname || '.' || attname, sequence::regclass::text, bool_or(kind = 'theirs'),
               bool_or(kind = 'numbered'),
               (SELECT count(*) FROM numbered WHERE numbered.sequence = both_.sequence)
               > count(*) FILTER (WHERE kind = 'numbered')
        FROM ours JOIN (SELECT *, 'theirs' AS kind FROM theirs UNION ALL SELECT *, 'numbered' FROM numbered) AS both_
             ON of_table = ours.oid
             JOIN pg_attribute ON attrelid = ours.oid AND attnum = of_column
        GROUP BY relname, attname, sequence ORDER BY 2"""):
        if is_owned and numbers and not is_shared:
            own[str(column)] = str(sequence)
            continue
        lent.setdefault(str(column), []).append(str(sequence))
        if is_owned:
            owned.setdefault(str(column), []).append(str(sequence))
    first, second = ({name: tuple(found) for name, found in several.items()} for several in (lent, owned))
    return own, first, second


def _alembic(wire: Wire, schema: str) -> tuple[str, ...]:
    """Return the rows of the history that the application before us kept, where it is Alembic's."""
    table = literal(f"{identifier(schema)}.alembic_version")
    there = f"""SELECT FROM pg_attribute WHERE attrelid = to_regclass({table}) AND attname = 'version_num'
        AND NOT attisdropped AND has_column_privilege(attrelid, attnum, 'SELECT')"""
    if not wire.fetch(f"SELECT EXISTS ({there})")[0][0]:
        return ()
    rows = wire.fetch(f"SELECT version_num::text FROM {identifier(schema)}.alembic_version ORDER BY 1")
    return tuple(str(row[0]) for row in rows)


def unknown_to_planner(wire: Wire, schema: str) -> dict[str, list[str]]:
    """Return the columns of which the planner knows nothing, of tables of which it knows something."""
    tables = ", ".join(literal(table) for table in sorted(ENTITY_TABLES))
    unknown: dict[str, list[str]] = {}
    for table, column in wire.fetch(f"""SELECT c.relname::text, attname::text
        FROM pg_class c JOIN pg_attribute a ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped
        WHERE c.relnamespace = {literal(identifier(schema))}::regnamespace AND c.relkind = 'r'
              AND c.relname IN ({tables}) AND coalesce(attstattarget, -1) <> 0
              AND EXISTS (SELECT FROM pg_stats s WHERE s.schemaname = {literal(schema)} AND s.tablename = c.relname)
              AND NOT EXISTS (SELECT FROM pg_stats s WHERE s.schemaname = {literal(schema)} AND s.tablename = c.relname
                              AND s.attname = a.attname AND NOT s.inherited)
        ORDER BY 1, 2"""):
        unknown.setdefault(str(table), []).append(str(column))
    return unknown
