"""What a database holds of ours, read over a bare driver connection."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from todo_schema import catalog
from todo_schema.compatibility import (
    BOOKKEEPING_TABLES,
    ENTITY_TABLES,
    HEAD,
    HISTORY_TABLE,
    SCHEMA_VERSION,
    VERSION_TABLE,
    Line,
    State,
    contract_ordinal_of,
    decide,
    ordinal_of,
    revision_at,
)
from todo_schema.driver_errors import UNDEFINED_COLUMN, reason, sqlstate
from todo_schema.errors import ForeignVersionError, InsufficientPrivilegeError, SchemaNotFoundError
from todo_schema.leases import floor_query
from todo_schema.quoting import identifier, literal, option
from todo_schema.unfinished import contract_query, deferred_query, half_contract, undoing_query
from todo_schema.wire import Wire, transaction


@dataclass(frozen=True)
class Found:
    """What a database holds of ours.

    Attributes:
        schema: The PostgreSQL schema of the installation.
        schema_exists: Whether that schema exists.
        database: The database's name.
        role: The role that asked.
        server: The server's version, `18.6`.
        read_only: Whether nothing can be written: a standby, or a role or database set to read-only.
        may_create: Whether the role may create tables in the schema, or the schema itself where it is missing.
        ownership: The statements that would let the role alter those of our tables that it may not.
        tables: Relations of the schema that have one of our names.
        version: The schema version, None where none is recorded.
        contract: The ordinal of the newest contract revision, 0 where none is recorded.
        floor: The oldest schema version whose package may use the database.
        deferred: The ordinals of the expand revisions that are deferred and not finished, in order.
        undoing: The ordinals of the expand revisions that are not undone to the end, newest first.
        half_contract: The ordinal of the contract revision that is half applied, or half undone; None for none.

    """

    schema: str
    schema_exists: bool
    database: str
    role: str
    server: str
    read_only: bool
    may_create: bool
    ownership: tuple[str, ...]
    tables: frozenset[str]
    version: int | None
    contract: int
    floor: int
    deferred: tuple[int, ...] = ()
    undoing: tuple[int, ...] = ()
    half_contract: int | None = None

    @property
    def entities(self) -> frozenset[str]:
        """Those of our entities' tables that exist."""
        return self.tables & ENTITY_TABLES

    @property
    def option(self) -> str:
        """What a command line has to say to mean this installation."""
        return option(self.schema)

    @property
    def contract_whole(self) -> int:
        """The place of the contract line up to which every revision is applied from its first part to its last."""
        return self.contract - (self.contract > 0 and self.half_contract == self.contract)

    @property
    def contract_begun(self) -> int:
        """The place of the contract line up to which there is something of a revision to undo."""
        return self.contract + (self.half_contract == self.contract + 1)

    @property
    def recorded(self) -> frozenset[str]:
        """The rows that the version table has to hold for this to be true still."""
        rows = {revision_at(Line.EXPAND, self.version or 0)} if self.version else set()
        return frozenset(rows | ({revision_at(Line.CONTRACT, self.contract)} if self.contract else set()))

    @property
    def state(self) -> State:
        """How the database stands to this package."""
        return decide(package=SCHEMA_VERSION, database=self.version, floor=self.floor, tables=self.entities)


def schema_in(execution_options: Mapping[str, Any]) -> str | None:
    """Return where execution options of SQLAlchemy's say that our tables are, as those of a session factory do."""
    found: str | None = (execution_options.get("schema_translate_map") or {}).get(None)
    return found


# The search_path's first schema that the role may not use, which current_schema() passes over in silence.
_UNUSABLE_SCHEMA = """(SELECT n.nspname
    FROM unnest(string_to_array(current_setting('search_path'), ',')) WITH ORDINALITY AS listed (name, place)
         JOIN pg_namespace n ON n.nspname = CASE trim(listed.name) WHEN '"$user"' THEN current_user
                                            ELSE replace(trim('"' FROM trim(listed.name)), '""', '"') END
    ORDER BY listed.place LIMIT 1)"""


def read_alone(wire: Wire, schema: str | None) -> Found:
    """Do what `read` does, in a transaction of its own."""
    with transaction(wire):
        return read(wire, schema)


def read(wire: Wire, schema: str | None) -> Found:
    """Read what the database holds of ours, in two statements.

    Without a `schema` the installation is the one that the connection's search_path finds, or, where there is
    none, the one that it would create in.

    Raises:
        SchemaNotFoundError: No schema was named and the search_path names none that exists.
        InsufficientPrivilegeError: The role may not read our bookkeeping tables.
        ForeignVersionError: The version table is not one that this package writes.

    """
    named = f"{literal(schema)}::text" if schema is not None else "NULL::text"
    names = ", ".join(literal(name) for name in sorted(ENTITY_TABLES | BOOKKEEPING_TABLES))
    (row,) = wire.fetch(f"""
        SELECT home.name::text, n.oid IS NOT NULL, current_database()::text, current_user::text,
               current_setting('server_version'),
               pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on',
               coalesce(has_schema_privilege(n.oid, 'CREATE') AND has_schema_privilege(n.oid, 'USAGE'),
                        has_database_privilege(current_database(), 'CREATE')),
               array(SELECT c.relname::text FROM pg_class c
                     WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
                       AND c.relname IN ({names})),
               array(SELECT DISTINCT CASE WHEN o.rolsuper
                            THEN format('ALTER TABLE %I.%I OWNER TO %I;', n.nspname, c.relname, current_user)
                            ELSE format('GRANT %I TO %I;', o.rolname, current_user) END
                     FROM pg_class c JOIN pg_roles o ON o.oid = c.relowner
                     WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p') AND c.relname IN ({names})
                       AND NOT pg_has_role(c.relowner, 'USAGE')),
               array(SELECT format('GRANT USAGE ON SCHEMA %I TO %I;', n.nspname, current_user)
                     WHERE NOT has_schema_privilege(n.oid, 'USAGE')
                     UNION ALL
                     SELECT format('GRANT SELECT ON %I.%I TO %I;', n.nspname, c.relname, current_user)
                     FROM pg_class c
                     WHERE c.relnamespace = n.oid AND c.relname IN ('{VERSION_TABLE}', '{HISTORY_TABLE}')
                       AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT has_table_privilege(c.oid, 'SELECT'))
        FROM (SELECT coalesce({named},
                              (SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                               WHERE c.oid = to_regclass('{VERSION_TABLE}')),
                              current_schema(), {_UNUSABLE_SCHEMA}) AS name) home
        LEFT JOIN pg_namespace n ON n.nspname = home.name""")
    home, exists, database, role, server, read_only, may_create, tables, ownership, unread = row
    if home is None:
        raise SchemaNotFoundError(
            f"the search_path of role {role} names no schema that exists in database {database}",
            "a PostgreSQL schema to live in",
            f'pass schema="public", or: ALTER ROLE {identifier(str(role))} SET search_path = public;',
        )
    # An array of PostgreSQL is a list on every driver.
    assert isinstance(tables, list) and isinstance(ownership, list) and isinstance(unread, list)  # noqa: S101, PT018
    present = frozenset(str(table) for table in tables)
    if unread and present & BOOKKEEPING_TABLES:
        raise InsufficientPrivilegeError(
            f"role {role} may not read the version of todo_schema in schema {home} of database {database}",
            f"the rights USAGE on schema {home} and SELECT on {VERSION_TABLE} and {HISTORY_TABLE} in it",
            " ".join(unread),
        )
    recorded, floor, deferred, undoing, newest = _recorded(wire, str(home), present)
    version, contract = versions(recorded, str(home))
    if contract:
        # A history that was emptied has lost the floor, and the contract row still says that there was one. What an
        # unknown step asks for cannot be known: nobody may go on in the belief that it asks for nothing.
        known = contract <= len(catalog.contracts())
        lost = catalog.floor_after(contract) if known else SCHEMA_VERSION + 1
        floor = max(floor or 0, catalog.floor_after(contract)) if floor else lost
    return Found(
        schema=str(home),
        schema_exists=bool(exists),
        database=str(database),
        role=str(role),
        server=str(server).split(" ", 1)[0],
        read_only=bool(read_only),
        may_create=bool(may_create),
        ownership=tuple(ownership),
        tables=present,
        version=version,
        contract=contract,
        floor=floor or 1,
        deferred=deferred,
        undoing=undoing[::-1],
        half_contract=half_contract(*newest, contract),
    )


_Recorded = tuple[frozenset[str], int | None, tuple[int, ...], tuple[int, ...], tuple[str | None, int]]


def _recorded(wire: Wire, schema: str, present: frozenset[str]) -> _Recorded:
    if VERSION_TABLE not in present:
        return frozenset(), None, (), (), (None, 0)
    home = identifier(schema)
    # A history that somebody dropped must not keep anybody from booting; `status` and `check` name it.
    floor = deferred = undoing = action = ordinal = "NULL"
    if HISTORY_TABLE in present:
        floor = floor_query(schema)
        deferred, undoing = _listed(deferred_query(schema)), _listed(undoing_query(schema))
        newest = f"FROM ({contract_query(schema)}) AS newest"
        action, ordinal = f"(SELECT action {newest})", f"(SELECT ordinal {newest})"
    try:
        ((rows, found_floor, open_, undone, last, place),) = wire.fetch(
            f"""SELECT array(SELECT version_num::text FROM {home}.{VERSION_TABLE}), {floor}, {deferred}, {undoing},
                {action}, {ordinal}"""
        )
    except Exception as error:
        if sqlstate(error) != UNDEFINED_COLUMN:
            raise
        raise ForeignVersionError(
            f"{schema}.{VERSION_TABLE} or {schema}.{HISTORY_TABLE} has other columns than ours: {reason(error)}",
            "the tables that todo_schema makes, or none of these names",
            'install todo_schema into a schema of its own: schema="todo"',
        ) from error
    assert isinstance(rows, list)  # noqa: S101  # an array of PostgreSQL is a list on every driver
    if found_floor is not None and not isinstance(found_floor, int):
        raise ForeignVersionError(
            f"{schema}.{HISTORY_TABLE} has another kind of floor than ours: {found_floor!r}",
            "the tables that todo_schema makes, or none of these names",
            'install todo_schema into a schema of its own: schema="todo"',
        )
    lists = [tuple(map(int, str(text).split(","))) if text else () for text in (open_, undone)]
    newest_row = (None if last is None else str(last), int(str(place or 0)))
    return frozenset(str(row) for row in rows), found_floor, lists[0], lists[1], newest_row


def _listed(query: str) -> str:
    """Return SQL for the ordinals of a query as one text; asyncpg would ask the server what an array is."""
    return f"(SELECT string_agg(ordinal::text, ',' ORDER BY ordinal) FROM ({query}) AS listed)"


def versions(rows: frozenset[str], schema: str) -> tuple[int | None, int]:
    """Return what the rows of a version table record: the schema version, and the place in the contract line.

    Raises:
        ForeignVersionError: A row is no revision of this package's form, or two rows are of one line.

    """
    expand = [ordinal for ordinal in map(ordinal_of, rows) if ordinal is not None]
    contract = [ordinal for ordinal in map(contract_ordinal_of, rows) if ordinal is not None]
    if len(expand) + len(contract) != len(rows) or len(expand) > 1 or len(contract) > 1:
        shown = ", ".join(repr(row) for row in sorted(rows))
        raise ForeignVersionError(
            f"{schema}.{VERSION_TABLE} holds {shown}",
            f"one row with a revision of todo_schema, such as {HEAD!r}",
            'if the table is somebody else\'s, install todo_schema into a schema of its own: schema="todo"; '
            f"if a person wrote it: DELETE FROM {identifier(schema)}.{VERSION_TABLE}; and todo-schema upgrade "
            f"--url URL{option(schema)} recognises the tables",
        )
    return (expand[0] if expand else None), (contract[0] if contract else 0)
