"""What the tables need of the database beside themselves: functions, triggers, statistics.

The revisions make them; `metadata.create_all`, with which a service's tests may make the tables, does too.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import DDL, Connection, Table, event, func, select

_UUID7 = """CREATE OR REPLACE FUNCTION todo_schema_uuid7() RETURNS uuid LANGUAGE plpgsql VOLATILE PARALLEL SAFE AS $$
DECLARE
    micros bigint;
BEGIN
    IF current_setting('server_version_num')::int >= 180000 THEN
        RETURN uuidv7();
    END IF;
    micros := floor(extract(epoch FROM clock_timestamp()) * 1000000);
    RETURN encode(
        overlay(
            uuid_send(gen_random_uuid())
            PLACING int8send(((micros / 1000) << 16) | (7 << 12) | (micros % 1000 * 4096 / 1000))
            FROM 1 FOR 8),
        'hex')::uuid;
END
$$"""

_TOUCH = """CREATE OR REPLACE FUNCTION todo_schema_touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('todo_schema.backfill', true) = 'on' THEN
        RETURN NEW;
    END IF;
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END
$$"""

_COMPLETE = """CREATE OR REPLACE FUNCTION todo_schema_complete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT NEW.completed THEN
        NEW.completed_at := NULL;
    ELSIF TG_OP = 'INSERT' OR NOT OLD.completed THEN
        NEW.completed_at := coalesce(NEW.completed_at, clock_timestamp());
    END IF;
    RETURN NEW;
END
$$"""


def stay_at_home(table: Table) -> None:
    """Make what belongs to a table in the schema that a `schema_translate_map` puts it in."""

    def look_there(_: Table, connection: Any, **__: Any) -> None:
        # What only prints the statements has no schemas.
        home = connection.schema_for_object(table) if isinstance(connection, Connection) else None
        if home is not None:
            first = connection.dialect.identifier_preparer.quote(home)
            path = func.concat(first, ", ", func.current_setting("search_path"))
            connection.execute(select(func.set_config("search_path", path, True)))

    event.listen(table, "before_create", look_there)


def make_keys(table: Table) -> None:
    """Make the default of a table's key before the table."""
    _run(table, "before_create", [_UUID7])


def keep_updated_at(table: Table) -> None:
    """Set `updated_at` of whoever does not."""
    trigger = f"""CREATE TRIGGER tg_{table.name}_updated_at BEFORE UPDATE ON {table.name} FOR EACH ROW
        WHEN (NEW.updated_at IS NOT DISTINCT FROM OLD.updated_at) EXECUTE FUNCTION todo_schema_touch()"""
    _run(table, "after_create", [_TOUCH, trigger])


def keep_completed_at(tasks: Table) -> None:
    """Set and clear `completed_at` with `completed`."""
    new = f"""CREATE TRIGGER tg_tasks_completed_at_new BEFORE INSERT ON {tasks.name} FOR EACH ROW
        WHEN (NEW.completed OR NEW.completed_at IS NOT NULL) EXECUTE FUNCTION todo_schema_complete()"""
    changed = f"""CREATE TRIGGER tg_tasks_completed_at BEFORE UPDATE ON {tasks.name} FOR EACH ROW
        WHEN (NEW.completed IS DISTINCT FROM OLD.completed OR NEW.completed_at IS DISTINCT FROM OLD.completed_at)
        EXECUTE FUNCTION todo_schema_complete()"""
    _run(tasks, "after_create", [_COMPLETE, new, changed])


def know_the_owner(messages: Table) -> None:
    """Keep statistics of what a conversation's id says of its user's."""
    statistics = f"""CREATE STATISTICS st_messages_conversation_user (dependencies)
        ON conversation_id, user_id FROM {messages.name}"""
    _run(messages, "after_create", [statistics])


def _run(table: Table, when: str, statements: Iterable[str]) -> None:
    for statement in statements:
        # DDL() formats its text.
        event.listen(table, when, DDL(statement.replace("%", "%%")))  # type: ignore[no-untyped-call]
