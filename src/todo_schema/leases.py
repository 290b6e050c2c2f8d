"""Leases: the shared advisory lock that each connection of a service holds on its schema version.

All of it is SQL text. A contract step takes the exclusive lock of every version below its floor: either it meets
a lease and stops, or whoever comes later finds the step's lock, waits for its end, and reads the new floor.
"""

from contextvars import ContextVar
from typing import Final, NamedTuple

from todo_schema.compatibility import HISTORY_TABLE, SCHEMA_VERSION, VERSION_TABLE
from todo_schema.quoting import identifier, literal

# Set where the library opens connections for itself on the engine of a session factory: they run no service.
EXEMPT: ContextVar[bool] = ContextVar("todo_schema_exempt_from_leases", default=False)

# How long a new connection queues behind whoever keeps even readers off the history.
_LOCK_TIMEOUT: Final = "5s"
# PostgreSQL cuts an application_name off after 63 bytes; " (todo_schema 999999999 01234567)" is 34 long.
_NAME_LENGTH: Final = 29


class Answer(NamedTuple):
    """What the server said to `take_message`.

    Attributes:
        busy: A contract step, or a downgrade, holds the version for itself at this moment: nothing was taken.
        leased: The lease is held; False behind a pooler, where it would stay with a connection that others share.
        doubtful: The floor is above this package, or the database below it: somebody has to look closer.

    """

    busy: bool
    leased: bool
    doubtful: bool


def class_expression(schema: str) -> str:
    """Return SQL for the first half of the lease's key, a signed 32-bit number; the second is the version."""
    return _class_of(literal(schema))


def _class_of(name: str) -> str:
    # Not by oid, which a dump does not keep; not md5(), which a server in FIPS mode refuses; hashtext() is no promise.
    return f"('x' || {_hash_of(name)})::bit(32)::int"


def _hash_of(name: str) -> str:
    return f"encode(substr(sha256(convert_to('todo_schema lease ' || {name}, 'UTF8')), 1, 4), 'hex')"


# The schema that the search_path finds our tables in, NULL as long as there are none.
_FOUND = f"""(SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.oid = to_regclass('{VERSION_TABLE}'))"""


def _attempt(schema: str | None) -> str:
    """Return SQL that tries the lease: true where it is held."""
    if schema is not None:
        return f"pg_try_advisory_lock_shared({class_expression(schema)}, {SCHEMA_VERSION})"
    # Tables that are made later may be found in any schema of the search_path. Where it names none, none is leased.
    homes = f"CASE WHEN {_FOUND} IS NULL THEN current_schemas(false) ELSE array[{_FOUND}] END"
    return (
        f"(SELECT coalesce(bool_and(pg_try_advisory_lock_shared({_class_of('home')}, {SCHEMA_VERSION})), true) "
        f"FROM unnest({homes}) AS home)"
    )


def take_message(schema: str | None, *, pid: int | None, with_check: bool, shared: bool = False) -> str:
    """Return the message with which a new connection takes its lease and *then* reads the floor: one round trip.

    The version is read with it, since a downgrade may take away what this package needs as well.

    It has to go by the simple protocol, as several statements. One statement would read the floor from a snapshot
    older than its lock. The last command tag is the answer: see `answer_of`.

    Args:
        schema: The schema of the installation; None leaves it to the search_path.
        pid: The process id that the server announced as the connection began: behind a pooler it is another one,
            and no lease is taken. None takes it in any case, 0 in none.
        with_check: Read the floor and the version too.
        shared: Whether the connection serves another installation already. A name has room for one mark: behind a
            pooler the client is then taken for one of every installation in the database.

    """
    lease = f"CASE WHEN {_attempt(schema)} THEN 'held' ELSE 'busy' END"
    if pid is not None:
        lease = f"CASE WHEN pg_backend_pid() <> {pid} THEN 'off' ELSE {lease} END"
    doubt = f"CASE WHEN {_doubt(schema)} THEN 2 ELSE 0 END" if with_check else "0"
    answer = f"CASE {_LEASE} WHEN 'busy' THEN 0 WHEN 'held' THEN 2 + {doubt} ELSE 1 + {doubt} END"
    return "; ".join(
        [
            # A snapshot for each statement, whatever the role's default is.
            "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
            f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'",
            f"SELECT set_config('todo_schema.lease', {lease}, true)",
            *([] if pid is None else [_mark_statement(schema, shared=shared)]),
            f"SELECT FROM generate_series(1, {answer})",
        ]
    )


_LEASE = "current_setting('todo_schema.lease')"


def answer_of(rows: int) -> Answer:
    """Return what the number of rows of `take_message` says: none, or one, one more for a lease, two for a doubt."""
    return Answer(busy=rows == 0, leased=rows % 2 == 0 < rows, doubtful=rows > 2)  # noqa: PLR2004  # said above


def _doubt(schema: str | None) -> str:
    home = f"{identifier(schema)}." if schema is not None else ""
    # A CASE, because nothing else keeps the cast from what is no number.
    older = (
        f"CASE WHEN version_num::text ~ '^[0-9]{{3,9}}$' THEN version_num::text::int < {SCHEMA_VERSION} END"
    )
    versions = f"EXISTS (SELECT FROM {home}{VERSION_TABLE} WHERE"
    # A contract row without a floor: the history was emptied.
    lost = f"({floor_query(schema)} IS NULL AND {versions} version_num::text ~ '^c'))"
    return f"{floor_query(schema)} > {SCHEMA_VERSION} OR {lost} OR {versions} {older})"


def floor_query(schema: str | None) -> str:
    """Return the query, in parentheses, for the floor in force: that of the newest step; NULL before the first."""
    home = f"{identifier(schema)}." if schema is not None else ""
    return f"(SELECT floor FROM {home}{HISTORY_TABLE} ORDER BY id DESC LIMIT 1)"


def _mark_statement(schema: str | None, *, shared: bool) -> str:
    """Return the statement that makes a client of a pooler recognisable: by the end of its application_name."""
    # Through the pooler too, which hands the name on to whichever connection serves the client. A client without a
    # name gets the one that another client left there: its mark, of whichever version, must not stand for this one.
    home = literal(schema) if schema is not None else f"coalesce({_FOUND}, current_schema(), '')"
    name = f"left(regexp_replace(current_setting('application_name'), '{_MARK}', ''), {_NAME_LENGTH})"
    installation = f"'{_EVERY}'" if shared else _hash_of(home)
    mark = f"' (todo_schema {SCHEMA_VERSION} ' || {installation} || ')'"
    return f"SELECT set_config('application_name', {name} || {mark}, false) WHERE {_LEASE} = 'off'"


# Without a backslash, which standard_conforming_strings = off would lose.
_MARK = " [(]todo_schema [0-9]{1,9} [0-9a-f]{8}[)]$"
# In a mark, where the number of the installation is: any of them.
_EVERY: Final = "00000000"


def try_exclusive_query(schema: str, first: int, last: int) -> str:
    """Return the query that takes versions for one transaction alone, and gives those that are leased.

    Above the version of this package there is no end to them; `clients_query` tells of those.
    """
    key = class_expression(schema)
    return (
        f"SELECT version FROM generate_series({first}, {min(last, SCHEMA_VERSION)}) AS version "
        f"WHERE NOT pg_try_advisory_xact_lock({key}, version)"
    )


def clients_query(schema: str) -> str:
    """Return the query for the connected clients: one row for each service, version, role and address.

    pg_locks and the application_name can be read by any role; address and time of another role's connections
    only by members of pg_read_all_stats.
    """
    return f"""
        WITH leased AS (
            SELECT l.pid, l.objid::bigint AS version, true AS leased
            FROM pg_locks l
            WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted AND l.mode = 'ShareLock'
              AND l.objid::bigint BETWEEN 1 AND 2147483647
              AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
              AND l.classid::bigint = ({class_expression(schema)}::bigint & 4294967295)),
        marked AS (
            SELECT a.pid, substring(a.application_name FROM ' [(]todo_schema ([0-9]+) [0-9a-f]+[)]$')::bigint, false
            FROM pg_stat_activity a
            WHERE a.datname = current_database() AND a.application_name ~ '{_MARK}'
              AND right(a.application_name, 9) IN ({_hash_of(literal(schema))} || ')', '{_EVERY})')
              AND a.pid NOT IN (SELECT pid FROM leased)),
        client AS (SELECT * FROM leased UNION ALL SELECT * FROM marked)
        SELECT regexp_replace(coalesce(a.application_name, ''), '{_MARK}', '') AS service,
               c.version::int AS version, c.leased AS leased,
               a.usename::text AS role, host(a.client_addr) AS host,
               string_agg(c.pid::text, ',' ORDER BY c.pid) AS pids,
               extract(epoch FROM min(a.backend_start))::float8 AS since
        FROM client c LEFT JOIN pg_stat_activity a ON a.pid = c.pid
        GROUP BY 1, 2, 3, 4, 5
        ORDER BY 2, 1, 5, 4"""
