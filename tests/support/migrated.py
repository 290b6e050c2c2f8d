"""Whether a database is what a clean migration leaves, and how to make it empty again."""

from collections.abc import Sequence

from tests.support.catalog_dump import CATALOGUE, dump
from tests.support.revisions import REVISIONS, upgraded
from tests.support.servers import execute
from todo_schema.compatibility import BOOKKEEPING_TABLES, ENTITY_TABLES

_RECORDED = (
    "array(SELECT version_num FROM todo_schema_version),"
    " array(SELECT action || ' ' || revision FROM todo_schema_history ORDER BY id)"
)
_TABLES = ", ".join(sorted(ENTITY_TABLES | BOOKKEEPING_TABLES))


def assert_migrated(url: str, clean: str, revisions: Sequence[str] = REVISIONS) -> None:
    """Assert that a database has the catalogue `clean` and was brought there by each revision once, in order."""
    assert dump(url) == clean
    assert execute(url, f"SELECT {_RECORDED}") == [recorded_by(revisions)]


def assert_left_clean(url: str, clean: str, *, first_boot: bool) -> None:
    """Assert the same of a database where runs may have died, by what `CATALOGUE` says: quick enough for a loop.

    A first boot that dies leaves nothing. From an older database up the next run goes on where one died, defers what
    may be, and finishes it last.
    """
    ((catalogue, recorded, history),) = execute(url, f"SELECT ({CATALOGUE}), {_RECORDED}")
    assert (catalogue, recorded) == (clean, [REVISIONS[-1]])
    if first_boot:
        assert (recorded, history) == recorded_by(REVISIONS)
        return
    moved = [row.replace("finish ", "upgrade ") for row in history if not row.startswith(("defer ", "part "))]
    assert sorted(moved) == [f"upgrade {revision}" for revision in REVISIONS]


def recorded_by(revisions: Sequence[str]) -> tuple[list[str], list[str]]:
    """What the version table and the history say where each was applied once."""
    return [revisions[-1]], [f"{action} {revision}" for revision, action in upgraded(revisions)]


def empty(url: str) -> None:
    """Drop the tables of ours that there are."""
    execute(url, f"DROP TABLE IF EXISTS {_TABLES}")


def clients(url: str) -> list[tuple[int, str]]:
    """The other clients of a database: their process ids and application names."""
    return execute(
        url,
        "SELECT pid, application_name FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend' AND pid <> pg_backend_pid()",
    )
