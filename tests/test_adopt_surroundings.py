"""What stands around tables that are adopted: whose they are, who may use them, and what is set for roles."""

import psycopg
import pytest

from tests.support.servers import Server, database_name, execute
from tests.support.unversioned import catalogue
from tests.support.ways import Call, both_drivers, role, role_of
from todo_schema import (
    InsufficientPrivilegeError,
    MigrationLockedError,
    UnversionedSchemaError,
    adopt,
    check,
    upgrade,
)


@both_drivers
def test_a_sequence_that_becomes_an_identity_keeps_what_is_set_for_it_and_who_may_use_it(
    chatbot_database: str, call: Call
):
    execute(
        chatbot_database,
        """ALTER SEQUENCE tasks_id_seq RENAME TO "their'%s; ""seq";
        ALTER SEQUENCE "their'%s; ""seq" INCREMENT 10 MINVALUE 3 START 7 RESTART 307 CACHE 5 CYCLE;
        GRANT USAGE ON SEQUENCE "their'%s; ""seq" TO PUBLIC; GRANT SELECT ON SEQUENCE "their'%s; ""seq" TO pg_monitor;
        COMMENT ON SEQUENCE "their'%s; ""seq" IS 'it''s 100% theirs'""",
    )
    query = """SELECT c.relname::text, relacl::text, obj_description(c.oid), seqstart, seqincrement, seqmin, seqcache,
        seqcycle FROM pg_sequence JOIN pg_class c ON c.oid = seqrelid
        WHERE seqrelid = pg_get_serial_sequence('tasks', 'id')::regclass"""
    before = execute(chatbot_database, query)
    call("adopt", chatbot_database, apply=True)
    assert execute(chatbot_database, query) == before
    upgrade(chatbot_database)
    check(chatbot_database, deep=True)
    execute(chatbot_database, "INSERT INTO users (email) VALUES ('ann@example.com')")
    add = "INSERT INTO tasks (user_id, title) SELECT id, 'milk' FROM users RETURNING id"
    assert execute(chatbot_database, add) == [(307,)]


@both_drivers
def test_who_owns_only_some_of_the_tables_is_refused_before_anything_is_changed(
    server: Server, chatbot_database: str, call: Call
):
    with role(server, chatbot_database) as url:
        name = role_of(url)
        for table in ("users", "conversations", "messages"):
            execute(chatbot_database, f"ALTER TABLE {table} OWNER TO {name}")
        execute(chatbot_database, f"GRANT SELECT ON tasks TO {name}; GRANT CREATE ON SCHEMA public TO {name}")
        before = catalogue(chatbot_database)
        with pytest.raises(InsufficientPrivilegeError, match="some of the tables are somebody else's"):
            call("adopt", url, apply=True)
        assert catalogue(chatbot_database) == before
        assert execute(chatbot_database, "SELECT to_regclass('todo_schema_version')") == [(None,)]


def test_who_may_not_see_all_rows_is_told_what_it_lacks(server: Server, chatbot_database: str):
    with role(server, chatbot_database) as url, pytest.raises(InsufficientPrivilegeError) as caught:
        adopt(url)
    assert "may not read all rows of schema public" in caught.value.found
    assert "GRANT SELECT ON ALL TABLES" in caught.value.cure


def test_a_sequence_that_the_role_may_not_read_is_named_before_anything_is_changed(
    server: Server, chatbot_database: str
):
    execute(
        chatbot_database,
        "CREATE SEQUENCE s; ALTER TABLE tasks ALTER id SET DEFAULT nextval('s'); DROP SEQUENCE tasks_id_seq",
    )
    with role(server, chatbot_database) as url, pytest.raises(UnversionedSchemaError) as caught:
        adopt(url)
    assert caught.value.differences == (
        "column tasks.id: numbered by s, which this role may not read: GRANT SELECT ON SEQUENCE s",
    )


def test_a_role_whose_time_zone_would_misread_naive_times_is_named(server: Server, chatbot_database: str):
    with role(server, chatbot_database) as url:
        name = role_of(url)
        database = database_name(chatbot_database)
        server.execute(f'ALTER ROLE "{name}" IN DATABASE "{database}" SET timezone = \'Asia/Tokyo\'')
        notes = adopt(chatbot_database).notes
        assert [
            note for note in notes if note.startswith(f"sessions of role {name} are in time zone Asia/Tokyo")
        ]


def test_a_check_of_theirs_on_a_column_that_is_called_as_a_type_stays(chatbot_database: str):
    execute(chatbot_database, "ALTER TABLE messages ADD text text, ADD CONSTRAINT theirs CHECK (text <> '')")
    adopt(chatbot_database, apply=True)
    assert execute(chatbot_database, "SELECT FROM pg_constraint WHERE conname = 'theirs'")


def test_comments_and_defaults_that_ours_replace_are_told(chatbot_database: str):
    execute(chatbot_database, "COMMENT ON COLUMN users.email IS '@omit'")
    execute(chatbot_database, "ALTER TABLE tasks ALTER completed SET DEFAULT true")
    said = [change.about for change in adopt(chatbot_database).changes]
    assert 'comments of users: 5, in place of these: users.email "@omit"' in said
    assert "column tasks.completed: default false instead of true" in said


def test_functions_and_triggers_that_are_another_are_refused_with_the_way_to_see_ours(database: str):
    upgrade(database)
    execute(
        database,
        "DROP TABLE todo_schema_version, todo_schema_history; DROP TRIGGER tg_users_updated_at ON users",
    )
    with pytest.raises(UnversionedSchemaError, match="todo-schema sql --schema public prints how"):
        adopt(database)


def test_rows_that_break_a_not_null_which_was_not_validated_are_found(chatbot_database: str):
    if execute(chatbot_database, "SELECT current_setting('server_version_num')::int < 180000")[0][0]:
        pytest.skip("PostgreSQL 18 is the first that has such")
    execute(
        chatbot_database,
        """ALTER TABLE users ALTER updated_at DROP NOT NULL;
        INSERT INTO users (id, email, created_at) VALUES (gen_random_uuid(), 'ann@example.com', now());
        ALTER TABLE users ADD CONSTRAINT n NOT NULL updated_at NOT VALID""",
    )
    assert [found.rule for found in adopt(chatbot_database).violations] == ["users.updated_at is not null"]
    execute(chatbot_database, "UPDATE users SET updated_at = created_at")
    adopt(chatbot_database, apply=True)
    assert (
        execute(chatbot_database, "SELECT FROM pg_constraint WHERE contype = 'n' AND NOT convalidated") == []
    )


def test_columns_of_theirs_that_a_later_revision_adds_become_what_it_needs(chatbot_database: str):
    execute(
        chatbot_database,
        "ALTER TABLE tasks ADD priority smallint DEFAULT 1, ADD due_at timestamp NOT NULL DEFAULT now()",
    )
    said = [change.about for change in adopt(chatbot_database, apply=True).changes]
    assert "column tasks.priority: default 0 instead of 1" in said
    assert "column tasks.priority: not null" in said
    upgrade(chatbot_database)
    check(chatbot_database, deep=True)


def test_an_index_that_is_called_as_a_statement_is_built_again(chatbot_database: str):
    execute(chatbot_database, 'CREATE INDEX "a ON b USING c ""(x)" ON messages (created_at, role)')
    query = "SELECT indexdef FROM pg_indexes WHERE indexname LIKE 'a ON b%'"
    before = execute(chatbot_database, query)
    adopt(chatbot_database, apply=True)
    assert execute(chatbot_database, query) == before != []


@pytest.mark.parametrize("table", ["conversations", "tasks", "users"])
def test_indexes_that_make_way_are_there_while_another_table_is_locked(chatbot_database: str, table: str):
    execute(chatbot_database, "CREATE INDEX theirs ON messages (created_at, role)")
    with psycopg.connect(chatbot_database) as other:
        other.execute(f"LOCK TABLE {table} IN ACCESS SHARE MODE")
        with pytest.raises(MigrationLockedError):
            adopt(chatbot_database, apply=True, timeout=0.5)
        assert execute(
            chatbot_database, "SELECT count(*) FROM pg_index WHERE indexrelid = to_regclass('theirs')"
        ) == [(1,)]
    adopt(chatbot_database, apply=True)
    assert execute(
        chatbot_database, "SELECT count(*) FROM pg_index WHERE indexrelid = to_regclass('theirs')"
    ) == [(1,)]
