"""What the rows of a history mean: which revisions are deferred, which half undone, and which parts of one are done."""

from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import sql

from tests.support.servers import Server
from todo_schema import bookkeeping, unfinished
from todo_schema.compatibility import HISTORY_TABLE, Line
from todo_schema.unfinished import PartRow, part_action, part_of

SCHEMA = 'to"do'
# Ordinal and action of a row of the expand line; or that, and the line or the checksum.
Row = tuple[int, str] | tuple[int, str, str]
Rows = Callable[..., psycopg.Connection]


@pytest.fixture(scope="module")
def history(server: Server) -> Iterator[Rows]:
    """Writes rows into an empty history, and gives the connection."""
    url = server.create_database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(bookkeeping.create_missing_statement(SCHEMA).encode())
        table = sql.SQL("{}.{}").format(sql.Identifier(SCHEMA), sql.Identifier(HISTORY_TABLE))

        def written(*rows: Row) -> psycopg.Connection:
            connection.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY").format(table))
            for ordinal, action, *other in rows:
                line = "contract" if other == ["contract"] else "expand"
                checksum = other[0] if other and line == "expand" else "same"
                connection.execute(
                    sql.SQL(
                        """INSERT INTO {} (revision, line, ordinal, action, floor, package_version, checksum, duration,
                        host, application_name) VALUES ('', %s, %s, %s, 1, '', %s, '0', '', '')"""
                    ).format(table),
                    [line, ordinal, action, checksum],
                )
            return connection

        yield written
    server.drop_database(url)


def ordinals(connection: psycopg.Connection, query: str) -> list[int]:
    return sorted(row[0] for row in connection.execute(query.encode()).fetchall())


UP = [(1, "upgrade")]


@pytest.mark.parametrize(
    ("rows", "deferred"),
    [
        ([], []),
        (UP, []),
        ([*UP, (2, "defer")], [2]),
        ([*UP, (2, "defer"), (3, "upgrade"), (4, "defer")], [2, 4]),
        # finished, in whatever order, and some of it
        ([*UP, (2, "defer"), (2, "part 1 of 2")], [2]),
        ([*UP, (2, "defer"), (3, "defer"), (3, "finish")], [2]),
        ([*UP, (2, "defer"), (2, "part 1 of 1"), (2, "finish")], []),
        ([*UP, (2, "finish"), (2, "defer")], [2]),
        # undone: the version is below; and above it nothing has changed
        ([*UP, (2, "defer"), (1, "downgrade")], []),
        ([*UP, (2, "defer"), (2, "undo"), (1, "downgrade"), (2, "undo 1 of 2")], []),
        ([*UP, (2, "defer"), (3, "upgrade"), (2, "downgrade")], [2]),
        ([*UP, (2, "defer"), (3, "defer"), (2, "downgrade")], [2]),
        ([*UP, (2, "defer"), (0, "downgrade")], []),
        ([*UP, (2, "defer"), (1, "downgrade"), (2, "defer")], [2]),
        ([*UP, (2, "defer"), (2, "finish"), (1, "downgrade"), (2, "defer")], [2]),
        # written down by a person, or recognised
        ([*UP, (2, "defer"), (1, "stamp")], []),
        ([*UP, (2, "defer"), (0, "stamp")], []),
        ([*UP, (2, "defer"), (2, "stamp")], [2]),
        ([*UP, (2, "defer"), (3, "stamp")], [2]),
        ([*UP, (2, "defer"), (1, "adopt")], []),
        # the contract line has numbers of its own
        ([*UP, (2, "defer"), (1, "stamp", "contract")], [2]),
        ([*UP, (2, "defer"), (0, "downgrade", "contract")], [2]),
        ([*UP, (2, "defer"), (2, "finish", "contract")], [2]),
        ([*UP, (2, "defer", "contract")], []),
        # whoever wrote a text of the file that is not ours has done it all the same
        ([*UP, (2, "defer", "other"), (2, "finish")], []),
        ([*UP, (2, "defer"), (2, "finish", "other")], []),
    ],
    ids=str,
)
def test_a_revision_is_deferred_until_it_is_finished_or_the_version_is_below_it(
    history: Rows, rows: list[Row], deferred: list[int]
):
    connection = history(*rows)
    assert ordinals(connection, unfinished.deferred_query(SCHEMA)) == deferred
    with connection.transaction():
        connection.execute(sql.SQL("SET LOCAL search_path = {}").format(sql.Identifier(SCHEMA)))
        assert ordinals(connection, unfinished.deferred_query(None)) == deferred


UNDOING = [*UP, (2, "upgrade"), (2, "undo"), (1, "downgrade")]


@pytest.mark.parametrize(
    ("rows", "undoing"),
    [
        ([*UP, (2, "upgrade"), (1, "downgrade")], []),
        (UNDOING, [2]),
        ([*UNDOING, (2, "undo 1 of 2")], [2]),
        ([*UNDOING, (2, "undo 1 of 1"), (2, "undone")], []),
        # two on the way down, the second one's leftovers first
        ([*UP, (3, "undo"), (2, "downgrade"), (3, "undone"), (2, "undo"), (1, "downgrade")], [2]),
        # an older package does not know it, and goes below: first a bit, and then all the way
        ([*UP, (3, "undo"), (2, "downgrade"), (1, "downgrade")], [3]),
        ([*UNDOING, (0, "downgrade")], []),
        # applied, put off or undone again
        ([*UNDOING, (2, "upgrade")], []),
        ([*UNDOING, (2, "defer")], []),
        ([*UNDOING, (2, "undone"), (2, "upgrade"), (2, "undo"), (1, "downgrade")], [2]),
        # whoever writes down a version says that it is that one, and what is half undone of it too
        ([*UNDOING, (0, "stamp")], []),
        ([*UNDOING, (1, "stamp")], []),
        ([*UNDOING, (2, "stamp")], []),
        ([*UNDOING, (3, "stamp")], []),
        # who only recognises the tables does not
        ([*UNDOING, (1, "adopt")], [2]),
        ([*UNDOING, (2, "undone", "contract"), (1, "stamp", "contract")], [2]),
    ],
    ids=str,
)
def test_a_revision_is_half_undone_until_it_is_undone_or_applied_or_somebody_says_what_is_there(
    history: Rows, rows: list[Row], undoing: list[int]
):
    assert ordinals(history(*rows), unfinished.undoing_query(SCHEMA)) == undoing


PARTS = [(2, "part 1 of 3"), (2, "part 2 of 3 at 17, 900 rows")]


@pytest.mark.parametrize(
    ("rows", "line", "downward", "counted"),
    [
        ([], Line.EXPAND, False, []),
        ([*UP, *PARTS], Line.EXPAND, False, [1, 2]),
        ([*UP, (2, "defer"), *PARTS], Line.EXPAND, False, [1, 2]),
        # of its own line, revision, direction and text alone
        ([*UP, (3, "part 1 of 3")], Line.EXPAND, False, []),
        ([*UP, (2, "part 1 of 3", "contract")], Line.EXPAND, False, []),
        ([*UP, (2, "part 1 of 3", "contract")], Line.CONTRACT, False, [1]),
        ([*UP, (2, "part 1 of 3", "other"), (2, "part 2 of 3")], Line.EXPAND, False, [2]),
        ([*UP, *PARTS], Line.EXPAND, True, []),
        ([*UNDOING, (2, "undo 1 of 3")], Line.EXPAND, True, [1]),
        ([*UNDOING, (2, "undo 1 of 3")], Line.EXPAND, False, []),
        # what came before it was last applied, put off, finished, undone or recorded is over
        *(
            ([*UP, *PARTS, (2, over)], Line.EXPAND, False, [])
            for over in ("upgrade", "defer", "finish", "stamp", "undo", "undone")
        ),
        ([*UP, *PARTS, (2, "upgrade"), (1, "downgrade"), (2, "part 1 of 3")], Line.EXPAND, False, [1]),
        ([*UP, *PARTS, *UNDOING], Line.EXPAND, False, []),
        ([*UNDOING, (2, "undo 1 of 3"), (2, "undone"), *UNDOING], Line.EXPAND, True, []),
        # and so it is where the version moved below, or was recorded there
        *(([*UP, *PARTS, (1, over)], Line.EXPAND, False, []) for over in ("downgrade", "stamp", "adopt")),
        ([*UP, *PARTS, (1, "downgrade", "contract")], Line.EXPAND, False, [1, 2]),
        ([*UP, (2, "defer"), *PARTS, (3, "upgrade"), (3, "stamp")], Line.EXPAND, False, [1, 2]),
        # a contract revision has raised the floor before its parts
        ([(2, "start", "contract"), (2, "part 1 of 3", "contract")], Line.CONTRACT, False, [1]),
    ],
    ids=str,
)
def test_the_parts_that_count_are_those_since_the_revision_was_last_begun(
    history: Rows, rows: list[Row], line: Line, downward: bool, counted: list[int]
):
    query = unfinished.parts_query(SCHEMA, line, 2, "same", downward=downward)
    assert [part_of(row).number for row in history(*rows).execute(query.encode()).fetchall()] == counted


@pytest.mark.parametrize("downward", [False, True])
@pytest.mark.parametrize("key", [None, "", "17", "a, 3 rows at b\nc", "part 1 of 2"])
@pytest.mark.parametrize("rows", [None, 0, 1200])
def test_the_action_of_a_part_says_what_it_was_made_of(key: str | None, rows: int | None, downward: bool):
    # A position is written together with the rows that were changed up to it.
    rows = 0 if key is not None and rows is None else rows
    action = part_action(2, 13, downward=downward, rows=rows, key=key)
    assert action.startswith("undo 2 of 13" if downward else "part 2 of 13")
    told = part_of((7, action))
    assert told == PartRow(7, 2, action, key, rows or 0)
    assert told.done is (key is None)


def test_the_row_of_a_backfill_says_at_its_end_that_it_is_done(history: Rows):
    connection = history((2, "part 1 of 1 at 17, 900 rows"))
    connection.execute(unfinished.finish_backfill_statement(SCHEMA, 1, "part 1 of 1, 900 rows").encode())
    query = unfinished.parts_query(SCHEMA, Line.EXPAND, 2, "same", downward=False)
    ((identity, action),) = connection.execute(query.encode()).fetchall()
    assert part_of((identity, action)) == PartRow(1, 1, "part 1 of 1, 900 rows", None, 900)
