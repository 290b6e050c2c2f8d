"""Whose the functions and statistics are: the owner's of the tables, whoever upgrades, and nobody else's."""

from collections.abc import Iterator

import pytest

from tests.support.servers import Server, execute
from tests.support.ways import Call, both_drivers, role, role_of
from todo_schema import MigrationFailedError, PreflightError, downgrade, upgrade

OURS = """
SELECT proname, pg_get_userbyid(proowner) FROM pg_proc WHERE proname LIKE 'todo\\_schema\\_%'
UNION ALL SELECT stxname, pg_get_userbyid(stxowner) FROM pg_statistic_ext
"""


@pytest.fixture
def owner(server: Server, database: str) -> Iterator[str]:
    """The url for a role that may create tables in the database."""
    with role(server, database) as url:
        execute(database, f"GRANT ALL ON SCHEMA public TO {role_of(url)}")
        yield url


@both_drivers
def test_the_owner_of_the_tables_can_undo_what_a_superuser_has_done(owner: str, database: str, call: Call):
    upgrade(owner)
    downgrade(owner, to=1)
    assert execute(database, OURS) == []
    call("upgrade", database)
    assert {whose for _, whose in execute(database, OURS)} == {role_of(owner)}
    assert len(execute(database, OURS)) == 4
    assert call("downgrade", owner, to=1).version_after == 1
    assert execute(database, OURS) == []


def test_on_a_new_database_everything_is_the_owner_s(owner: str, database: str):
    upgrade(owner)
    assert {whose for _, whose in execute(database, OURS)} == {role_of(owner)}


@both_drivers
def test_a_function_of_somebody_else_is_neither_run_nor_replaced(owner: str, database: str, call: Call):
    """Its owner could say anything in it, in the name of everybody who writes to our tables."""
    upgrade(database)
    downgrade(database, to=9)
    theirs = (
        "CREATE FUNCTION todo_schema_touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
    )
    execute(owner, f"{theirs}; COMMENT ON FUNCTION todo_schema_touch() IS 'todo_schema 999'")
    with pytest.raises(MigrationFailedError, match=r"a function todo_schema_touch\(\) of somebody else"):
        call("upgrade", database)
    execute(
        database,
        f"ALTER FUNCTION todo_schema_touch() OWNER TO {execute(database, 'SELECT current_user')[0][0]}",
    )
    execute(database, "DROP FUNCTION todo_schema_touch()")
    assert call("upgrade", database).after == "current"


@both_drivers
@pytest.mark.parametrize(
    ("needs", "rule"),
    [
        ("CREATE TABLE invites (email text REFERENCES users (email))", "a foreign key to users"),
        ("ALTER TABLE users REPLICA IDENTITY USING INDEX ix_users_email", "the replica identity of users"),
    ],
)
def test_a_contract_step_that_somebody_needs_the_index_of_is_refused_before_the_floor_rises(
    upgraded_database: str, call: Call, needs: str, rule: str
):
    execute(upgraded_database, needs)
    before = execute(upgraded_database, "SELECT revision, action, floor FROM todo_schema_history ORDER BY id")
    with pytest.raises(PreflightError, match=rule):
        call("contract", upgraded_database)
    after = execute(upgraded_database, "SELECT revision, action, floor FROM todo_schema_history ORDER BY id")
    assert after == before
    execute(upgraded_database, "DROP TABLE IF EXISTS invites; ALTER TABLE users REPLICA IDENTITY DEFAULT")
    assert [step.revision for step in call("contract", upgraded_database).applied] == ["c001"]
