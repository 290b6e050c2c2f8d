"""Each operation on many messages while a service reads and writes: no client meets an error."""

import time
from collections.abc import Iterator

import psycopg
import pytest

from tests.support.big_table import fill
from tests.support.load import load
from tests.support.online import Scripted, scripted
from tests.support.servers import Server, database_name, execute
from tests.support.thorough import series
from todo_schema import SCHEMA_VERSION, operations
from todo_schema.compatibility import HEAD

MESSAGES = series(400_000, 1_000_000)

# Every operation, each in a revision of its own, one after the other on the same database.
OPERATIONS = {
    "create_index": 'operations.create_index(op, "ix_newest", "messages", ["conversation_id", "created_at DESC"])',
    "drop_index": 'operations.drop_index(op, "ix_newest", "messages")',
    "create_statistics": 'operations.create_statistics(op, "st_of", "messages", ["role", "user_id"], "mcv")',
    "drop_statistics": 'operations.drop_statistics(op, "st_of", "messages")',
    "add_check": r"""operations.add_check(op, "ck_not_blank", "messages", r"content ~ '\S'")""",
    "add_foreign_key": 'operations.add_foreign_key(op, "fk_user", "messages", ["user_id"], "users", ["id"])',
    "drop_constraint": 'operations.drop_constraint(op, "fk_user", "messages")',
    "drop_not_null": 'operations.drop_not_null(op, "messages", "content")',
    "set_not_null": 'operations.set_not_null(op, "messages", "content")',
    "add_unique": 'operations.add_unique(op, "uq_of", "messages", ["conversation_id", "id"])',
    "add_column": 'operations.add_column(op, "tasks", sa.Column("note", sa.Text()))',
    "set_default": 'operations.set_default(op, "tasks", "note", "clock_timestamp()::text")',
    "set_comment": 'operations.set_comment(op, "tasks", "note", "Any.")',
    "backfill": 'operations.backfill(op, "tasks", {"note": "title"}, where="note IS NULL")',
    "drop_column": 'operations.drop_column(op, "tasks", "note")',
    "replace_function": """
operations.replace_function(op, "touched()", "RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN new; END $$")
""",
    "replace_trigger": """
operations.replace_trigger(op, "tr_touched", "messages", "BEFORE UPDATE FOR EACH ROW EXECUTE FUNCTION touched()")
""",
    "drop_trigger": 'operations.drop_trigger(op, "tr_touched", "messages")',
    "drop_function": 'operations.drop_function(op, "touched()")',
}
# Milliseconds. A client that has to wait for longer than this for a lock gets an error: what keeps others off while it
# looks at every message is seen to.
PATIENCE = MESSAGES // 1000


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scripted]:
    with scripted(tmp_path_factory.mktemp("load")) as running:
        yield running


@pytest.fixture(scope="module")
def big(server: Server, template: str) -> Iterator[str]:
    url = server.create_database(template=template)
    fill(url, MESSAGES, tasks=MESSAGES // 10)
    yield url
    server.drop_database(url)


def test_there_is_a_case_of_every_operation():
    assert set(OPERATIONS) == {name for name in operations.__all__ if name.islower()} - {"violation"}


def test_no_operation_costs_a_service_an_error(
    big: str, package: Scripted, capsys: pytest.CaptureFixture[str]
):
    execute(big, f"ALTER DATABASE {database_name(big)} SET lock_timeout = {PATIENCE}")
    began: list[tuple[float, str]] = []
    with load(big, sessions=4) as running:
        for name, up in OPERATIONS.items():
            began.append((time.monotonic(), name))
            report = package.upgrade(big, up)
            assert report["after"] == "current", report
            # The next one is applied as the same revision again.
            execute(big, f"UPDATE todo_schema_version SET version_num = '{HEAD}'")
            execute(big, f"DELETE FROM todo_schema_history WHERE ordinal > {SCHEMA_VERSION}")
    seen = running.result
    with capsys.disabled():
        print(f"\n{MESSAGES:,} messages, {len(OPERATIONS)} operations: {seen}")
        for slow in sorted(seen.slowest, key=lambda one: -one.milliseconds)[:5]:
            during = next((name for at, name in reversed(began) if at <= slow.at), "nothing yet")
            print(f"  {slow.milliseconds:.0f} ms, a {slow.kind}, during {during}")
    assert seen.errors == []
    assert seen.writes > len(OPERATIONS)


def test_what_keeps_a_service_waiting_is_seen_which_is_the_control(big: str):
    with load(big, sessions=4) as running, psycopg.connect(big) as other:
        other.execute("SET lock_timeout = 0")
        other.execute("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")
        time.sleep(2 * PATIENCE / 1000)
    assert any("LockNotAvailable" in error or "lock timeout" in error for error in running.result.errors)
