"""What is said of a statement's locks is what a server does."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, LiteralString, NamedTuple, cast

import psycopg
import pytest
from alembic.operations import Operations

from tests.support.lock_cases import (
    ALONE,
    EXACT,
    NOT_UNDERSTOOD,
    SAID_WORSE,
    SCHEMA,
    SINCE_18,
    every_operation,
)
from tests.support.servers import Server
from todo_schema import operations
from todo_schema.collecting import collect
from todo_schema.lock_classes import Effect, effect_of, related_query
from todo_schema.lock_rules import RULES
from todo_schema.parts import Lock, Transaction

MODES = {
    "AccessShareLock": Lock.ACCESS_SHARE,
    "RowShareLock": Lock.ROW_SHARE,
    "RowExclusiveLock": Lock.ROW_EXCLUSIVE,
    "ShareUpdateExclusiveLock": Lock.SHARE_UPDATE_EXCLUSIVE,
    "ShareLock": Lock.SHARE,
    "ShareRowExclusiveLock": Lock.SHARE_ROW_EXCLUSIVE,
    "ExclusiveLock": Lock.EXCLUSIVE,
    "AccessExclusiveLock": Lock.ACCESS_EXCLUSIVE,
}


class Seen(NamedTuple):
    """What an Effect tells of tables and views, or a server did to them."""

    locks: dict[str, Lock]
    scans: set[str]
    rewrites: set[str]
    creates: set[str]
    drops: set[str]


Session = psycopg.Connection[Any]


@pytest.fixture(scope="module", params=["embedded", "debian"])
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    """A session on each server that is at hand; what a test does there is undone."""
    with ExitStack() as stack:
        if request.param == "embedded":
            server: Server = request.getfixturevalue("server")
        else:
            server = request.getfixturevalue("debian")
        url = server.create_database()
        stack.callback(server.drop_database, url)
        with psycopg.connect(url) as connection:
            ask(connection, SCHEMA)
            connection.commit()
            yield connection


@pytest.fixture
def transaction(session: Session) -> Iterator[Session]:
    yield session
    session.rollback()


def ask(session: Session, sql: str) -> list[tuple[Any, ...]]:
    cursor = session.execute(cast("LiteralString", sql))
    return cursor.fetchall() if cursor.description else []


def relations(session: Session) -> dict[int, tuple[str, str, int]]:
    """The name, kind and file of each relation that is somebody's."""
    query = "SELECT oid, relname, relkind, pg_relation_filenode(oid) FROM pg_class"
    rows = ask(session, f"{query} WHERE oid >= 16384 AND relnamespace <> 'pg_toast'::regnamespace")
    return {oid: (name, str(kind), file) for oid, name, kind, file in rows}


def rows_read(session: Session) -> dict[int, int]:
    return dict(ask(session, "SELECT relid, seq_tup_read FROM pg_stat_xact_user_tables"))


def seen(session: Session, sql: str) -> Seen:
    """Run a statement in the open transaction, and return what it did to the relations that there were."""
    before = relations(session)
    names = {oid: name for oid, (name, _, _) in before.items()}
    tables = {oid for oid, (_, kind, _) in before.items() if kind == "r"}
    read = rows_read(session)
    ask(session, sql)
    after = relations(session)
    held: dict[str, list[Lock]] = {}
    for oid, mode in ask(session, "SELECT relation, mode FROM pg_locks WHERE pid = pg_backend_pid()"):
        if oid in names:
            held.setdefault(names[oid], []).append(MODES[mode])
    return Seen(
        {name: max(locks, key=list(Lock).index) for name, locks in held.items()},
        {
            names[oid]
            for oid, count in rows_read(session).items()
            if oid in names and count > read.get(oid, 0)
        },
        {names[oid] for oid in tables & after.keys() if before[oid][2] != after[oid][2]},
        {name for oid, (name, kind, _) in after.items() if oid not in names and kind == "r"},
        {names[oid] for oid in tables - after.keys()},
    )


def related(session: Session, schema: str = "public") -> dict[str, list[str]]:
    tables: dict[str, list[str]] = {}
    for name, table in ask(session, related_query(schema)):
        tables.setdefault(name, []).append(table)
    return tables


def said(session: Session, sql: str) -> Seen:
    """What effect_of says of the relations that there are."""
    effect = effect_of(sql, related=related(session))
    assert effect.known, effect
    kinds = {name: kind for name, kind, _ in relations(session).values()}
    tables = {name for name, kind in kinds.items() if kind == "r"}
    locks = {name.removeprefix("public."): lock for name, lock in effect.locks}
    scans, rewrites = (
        {name.removeprefix("public.") for name in names} for names in (effect.scans, effect.rewrites)
    )
    return Seen(
        {name: lock for name, lock in locks.items() if name in kinds},
        scans & tables,
        rewrites & tables,
        set(effect.creates) - tables,
        set(effect.drops) & tables,
    )


def told(fact: Seen, claim: Seen, session: Session) -> Seen:
    """What happened, without the locks on indexes and sequences that come with those on their table."""
    session.rollback()
    kinds = {name: kind for name, kind, _ in relations(session).values()}
    locks = {name: lock for name, lock in fact.locks.items() if kinds[name] in "rv" or name in claim.locks}
    return fact._replace(locks=locks)


def covers(claim: Seen, fact: Seen) -> bool:
    """Whether at least what happened was said."""
    strength = list(Lock).index
    return all(
        name in claim.locks and strength(claim.locks[name]) >= strength(lock)
        for name, lock in fact.locks.items()
    ) and all(much >= little for much, little in zip(claim[1:], fact[1:], strict=True))


@pytest.mark.parametrize("statement", EXACT)
def test_what_is_said_of_a_statement_is_what_the_server_does(transaction: Session, statement: str):
    claim = said(transaction, statement)
    assert claim == told(seen(transaction, statement), claim, transaction)


@pytest.mark.parametrize("statement", SINCE_18)
def test_what_is_said_of_a_newer_statement_is_what_the_newer_server_does(
    transaction: Session, statement: str
):
    if transaction.info.server_version < 180000:
        pytest.skip("PostgreSQL 18 is the first to do so")
    claim = said(transaction, statement)
    assert claim == told(seen(transaction, statement), claim, transaction)


@pytest.mark.parametrize("statement", SAID_WORSE)
def test_where_the_text_does_not_tell_the_worse_is_said(transaction: Session, statement: str):
    claim = said(transaction, statement)
    fact = told(seen(transaction, statement), claim, transaction)
    assert covers(claim, fact)
    assert claim != fact


@pytest.fixture
def another(session: Session) -> Iterator[Session]:
    """A session in autocommit, whose table `t` is nobody else's."""
    with psycopg.connect(session.info.dsn, password=session.info.password, autocommit=True) as connection:
        ask(connection, "CREATE SCHEMA alone; SET search_path = alone")
        ask(connection, "CREATE TABLE t AS SELECT g AS a, g AS c FROM generate_series(1, 50) AS g")
        ask(connection, "CREATE INDEX ix_c ON t (c)")
        yield connection
        ask(connection, "DROP SCHEMA alone CASCADE")


@pytest.mark.parametrize("statement", ALONE)
def test_a_statement_that_no_transaction_may_hold_does_what_is_said(
    session: Session, another: Session, statement: str
):
    effect = effect_of(statement, related=related(another, "alone"))
    ask(session, "LOCK TABLE alone.t IN SHARE UPDATE EXCLUSIVE MODE")
    asked = f"SELECT mode FROM pg_locks WHERE pid = {another.info.backend_pid} AND NOT granted"
    reads = "SELECT seq_tup_read FROM pg_stat_user_tables WHERE relid = 't'::regclass"
    ask(another, "SELECT pg_stat_force_next_flush()")
    (before,), (file,) = ask(another, reads), ask(another, "SELECT pg_relation_filenode('t')")
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(ask, another, statement)
        while not (modes := ask(session, f"{asked} AND relation = 'alone.t'::regclass")):
            assert not waiting.done(), waiting.result()
        session.rollback()
        waiting.result()
    ask(another, "SELECT pg_stat_force_next_flush()")
    assert [MODES[mode] for (mode,) in modes] == [dict(effect.locks)["t"]]
    assert (file != ask(another, "SELECT pg_relation_filenode('t')")[0]) == ("t" in effect.rewrites)
    # What VACUUM reads is not counted there.
    assert (before != ask(another, reads)[0]) == ("t" in effect.scans and "VACUUM" not in effect.acts)


@pytest.mark.parametrize("statement", NOT_UNDERSTOOD)
def test_what_is_not_understood_is_said_not_to_be(statement: str):
    assert not effect_of(statement).known


def test_every_rule_is_tried_on_a_server():
    tried = {act for statement in (*EXACT, *SINCE_18, *ALONE) for act in effect_of(statement).acts}
    assert {rule.act for rule in RULES} == tried - {"DO"}


def test_of_several_statements_a_table_has_the_strongest_lock():
    both = effect_of(
        'CREATE INDEX ON "T x" (a); COMMENT ON TABLE "T x" IS \'\'; ALTER TABLE todo.u ADD a int'
    )
    assert both == Effect(
        acts=("CREATE INDEX", "COMMENT", "ADD COLUMN"),
        locks=(("T x", Lock.SHARE), ("todo.u", Lock.ACCESS_EXCLUSIVE)),
        scans=("T x",),
    )


def test_what_is_said_of_statistics_is_what_the_server_does(transaction: Session):
    def change(op: Operations) -> None:
        operations.create_statistics(op, "st_x", "t", ["a", "b"], "dependencies")
        operations.drop_statistics(op, "st_t", "t")

    parts = collect(change, "002", downward=False)
    for statement in (s for part in parts if isinstance(part, Transaction) for s in part.statements):
        claim = said(transaction, statement)
        assert claim == told(seen(transaction, statement), claim, transaction)
        assert claim.locks == {"t": Lock.SHARE_UPDATE_EXCLUSIVE}


def test_what_our_operations_write_is_understood(transaction: Session):
    parts = collect(every_operation, "002", downward=False)
    together = ";\n".join(s for part in parts if isinstance(part, Transaction) for s in part.statements)
    claim = said(transaction, together)
    assert covers(claim, told(seen(transaction, together), claim, transaction))
