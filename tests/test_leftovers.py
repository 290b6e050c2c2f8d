"""What an earlier run has left of a constraint or column is made right; what is not of its kind is left alone."""

from collections.abc import Iterator

import pytest

from tests.support.online import Scripted, facts, scripted
from tests.support.servers import execute
from tests.support.ways import Call, both_drivers

CHECK = 'operations.add_check(op, "ck_new", "tasks", "length(title) < 99")'
FOREIGN_KEY = 'operations.add_foreign_key(op, "fk_new", "tasks", ["user_id"], "users", ["id"])'
NOT_NULL = 'operations.set_not_null(op, "tasks", "description")'
UNIQUE = 'operations.add_unique(op, "uq_new", "tasks", ["user_id", "title"])'
COLUMN = 'operations.add_column(op, "tasks", sa.Column("new", sa.Text(), comment="It is new."))'

ADD = "ALTER TABLE tasks ADD CONSTRAINT"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scripted]:
    with scripted(tmp_path_factory.mktemp("scripted")) as running:
        yield running


@pytest.mark.parametrize(
    ("body", "left"),
    [
        (CHECK, f"{ADD} ck_new CHECK (length(title) < 99) NOT VALID"),
        (CHECK, f"{ADD} ck_new CHECK (length(title) < 98)"),
        (CHECK, f"{ADD} ck_new CHECK (length(title) < 98) NOT VALID"),
        (FOREIGN_KEY, f"{ADD} fk_new FOREIGN KEY (user_id) REFERENCES users (id) NOT VALID"),
        (FOREIGN_KEY, f"{ADD} fk_new FOREIGN KEY (user_id) REFERENCES conversations (id) NOT VALID"),
        (FOREIGN_KEY, f"{ADD} fk_new FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE SET NULL"),
        (NOT_NULL, f"{ADD} todo_schema_not_null_tasks_description CHECK (description IS NOT NULL) NOT VALID"),
        (NOT_NULL, f"{ADD} todo_schema_not_null_tasks_description CHECK (description IS NOT NULL)"),
        (NOT_NULL, "ALTER TABLE tasks ALTER description SET NOT NULL"),
        (UNIQUE, "CREATE UNIQUE INDEX uq_new ON tasks (user_id, title)"),
        (UNIQUE, f"{ADD} uq_new UNIQUE (user_id, title)"),
        (COLUMN, "ALTER TABLE tasks ADD new text"),
        (COLUMN, "ALTER TABLE tasks ADD new text NOT NULL DEFAULT ''"),
    ],
)
def test_what_is_left_of_the_same_kind_does_no_harm(
    upgraded_database: str, package: Scripted, body: str, left: str
):
    url = upgraded_database
    execute(url, left)
    index = execute(url, "SELECT to_regclass('uq_new')::oid")
    assert package.upgrade(url, body)["after"] == "current"
    names = {
        CHECK: ("constraint tasks.ck_new", "CHECK ((length(title) < 99))"),
        FOREIGN_KEY: ("constraint tasks.fk_new", "FOREIGN KEY (user_id) REFERENCES users(id)"),
        NOT_NULL: ("column tasks.description", "text not null"),
        UNIQUE: ("constraint tasks.uq_new", "UNIQUE (user_id, title)"),
        COLUMN: ("comment tasks.new", '"It is new."'),
    }
    found = facts(url)
    name, definition = names[body]
    assert found[name] == definition
    assert not [name for name in found if "todo_schema_not_null" in name]
    # What was built is not built again.
    assert execute(url, "SELECT to_regclass('uq_new')::oid") == index


@pytest.mark.parametrize(
    ("body", "there", "said"),
    [
        (CHECK, f"{ADD} ck_new UNIQUE (user_id, title)", '"ck_new" for relation "tasks" already exists'),
        (FOREIGN_KEY, f"{ADD} fk_new CHECK (title <> 'x')", '"fk_new" for relation "tasks" already exists'),
        (UNIQUE, f"{ADD} uq_new CHECK (title <> 'x')", "pg_constraint_conrelid_contypid_conname_index"),
        (
            UNIQUE,
            f"{ADD} uq_new UNIQUE (title, user_id)",
            "a unique index of that name, USING btree (title, user_id)",
        ),
        (
            COLUMN,
            "ALTER TABLE tasks ADD new uuid",
            'found: another column new in table tasks; needed: "new" TEXT; cure',
        ),
    ],
)
def test_what_is_there_of_another_kind_is_left_alone_and_named(
    upgraded_database: str, package: Scripted, body: str, there: str, said: str
):
    execute(upgraded_database, there)
    before = facts(upgraded_database)
    refused = package.upgrade(upgraded_database, body)
    assert said in refused["found"]
    # The index of a UNIQUE is built before its name is taken as a constraint's.
    after = {name: fact for name, fact in facts(upgraded_database).items() if name != "index tasks.uq_new"}
    assert after == before


@pytest.mark.parametrize("body", [CHECK, FOREIGN_KEY, NOT_NULL])
def test_rows_that_break_a_rule_are_told_by_its_name(upgraded_database: str, package: Scripted, body: str):
    url = upgraded_database
    execute(
        url,
        """ALTER TABLE tasks DROP CONSTRAINT fk_tasks_user_id_users;
        INSERT INTO tasks (user_id, title) VALUES (gen_random_uuid(), repeat('x', 99))""",
    )
    refused = package.upgrade(url, body)
    rule = {CHECK: "ck_new", FOREIGN_KEY: "fk_new", NOT_NULL: "todo_schema_not_null_tasks_description"}[body]
    assert rule in refused["found"]
    execute(url, "DELETE FROM tasks")
    assert package.upgrade(url, body)["after"] == "current"


def test_a_long_name_of_a_column_is_cut_where_postgresql_would_cut_it(
    upgraded_database: str, package: Scripted
):
    name = "größe" * 9
    body = f"""operations.add_column(op, "tasks", sa.Column({name!r}, sa.Text()))
operations.set_not_null(op, "tasks", {name!r})"""
    assert package.upgrade(upgraded_database, body).get("after") == "current"
    assert facts(upgraded_database)[f"column tasks.{name}"] == "text not null"


@both_drivers
@pytest.mark.parametrize("rule", ["check", "foreign key", "not null"])
def test_a_rule_that_rows_break_is_taken_back_and_refuses_nobody(
    package: Scripted, upgraded_database: str, rule: str, call: Call
):
    """It was added for new rows before the old ones were looked at, and would go on to refuse what services write."""
    execute(upgraded_database, "INSERT INTO users (email) VALUES ('a@b.c')")
    write = "INSERT INTO tasks (user_id, title) SELECT id, 'x' FROM users"
    execute(upgraded_database, f"{write}; CREATE TABLE nobody (id uuid PRIMARY KEY)")
    adds = {
        "check": """operations.add_check(op, "ck_tasks_x", "tasks", "title <> 'x'")""",
        "foreign key": 'operations.add_foreign_key(op, "fk_tasks_x", "tasks", ["user_id"], "nobody", ["id"])',
        "not null": 'operations.set_not_null(op, "tasks", "description")',
    }[rule]
    before = facts(upgraded_database)
    for _ in range(2):
        refused = package.upgrade(upgraded_database, adds, call=call)
        assert refused["error"] == "MigrationFailedError"
        assert "failed at: validate " in refused["found"]
        assert facts(upgraded_database) == before
        execute(upgraded_database, write)
    execute(upgraded_database, "DELETE FROM tasks")
    assert package.upgrade(upgraded_database, adds, call=call)["after"] == "current"
    assert facts(upgraded_database) != before
    actions = [
        row[0] for row in execute(upgraded_database, "SELECT action FROM todo_schema_history ORDER BY id")
    ]
    assert len([action for action in actions if action.startswith("withdrawn 1 of ")]) == 2
