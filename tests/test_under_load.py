"""Each operation on a million messages while a service reads and writes: no client meets an error."""

from collections.abc import Iterator

import pytest

from tests.support.big_table import fill
from tests.support.load import load
from tests.support.online import Scripted, scripted
from tests.support.servers import Server, execute

MESSAGES = 1_000_000

# What goes up, operation by operation, each a revision that is applied and undone on the same database.
OPERATIONS = {
    "create_index": 'operations.create_index(op, "ix_newest", "messages", ["conversation_id", "created_at DESC"])',
    "add_check": r"""operations.add_check(op, "ck_not_blank", "messages", r"content ~ '\S'")""",
    "add_foreign_key": 'operations.add_foreign_key(op, "fk_user", "messages", ["user_id"], "users", ["id"])',
    "set_not_null": 'operations.set_not_null(op, "messages", "content")',
    "add_unique": 'operations.add_unique(op, "uq_of", "messages", ["conversation_id", "id"])',
    "backfill": """
operations.add_column(op, "tasks", sa.Column("note", sa.Text()))
operations.backfill(op, "tasks", {"note": "title"}, where="note IS NULL")
""",
    "replace_trigger": """
operations.replace_function(op, "touched()", "RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN new; END $$")
operations.replace_trigger(op, "tr_touched", "messages", "BEFORE UPDATE FOR EACH ROW EXECUTE FUNCTION touched()")
""",
    "drop_index": 'operations.drop_index(op, "ix_message_created_at", "messages")',
}
NEEDED = {"set_not_null": "ALTER TABLE messages ALTER content DROP NOT NULL"}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scripted]:
    with scripted(tmp_path_factory.mktemp("load")) as running:
        yield running


@pytest.fixture(scope="module")
def big(server: Server, template: str) -> Iterator[str]:
    url = server.create_database(template=template)
    fill(url, MESSAGES, tasks=100_000)
    yield url
    server.drop_database(url)


def test_no_operation_costs_a_service_an_error(
    big: str, package: Scripted, capsys: pytest.CaptureFixture[str]
):
    version = "UPDATE todo_schema_version SET version_num = '001'"
    for name, up in OPERATIONS.items():
        if name in NEEDED:
            execute(big, NEEDED[name])
        with load(big, sessions=4) as running:
            report = package.upgrade(big, up)
        assert report["after"] == "current", report
        assert running.result.errors == [], name
        assert running.result.writes > 0
        with capsys.disabled():
            print(f"\n{name}: {running.result}")
        # Once more from where it was: what the operation made stays, and is no more in the way than anything else.
        execute(big, f"{version}; DELETE FROM todo_schema_history WHERE id > 1")
