"""What the tables need of the database beside themselves: functions, triggers, statistics.

The revisions make them; `metadata.create_all`, with which a service's tests may make the tables, does too: in the
schema of the table, which a `schema_translate_map` may say.
"""

import uuid
from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, DefaultClause, ExecutableDDLElement, Table, event
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import DDLCompiler, SQLCompiler

# As 007, 010 and 016 have them, which may import nothing of ours: a test compares what both make.
_UUID7 = """CREATE OR REPLACE FUNCTION {home}todo_schema_uuid7() RETURNS uuid
LANGUAGE plpgsql VOLATILE PARALLEL SAFE AS $$
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

_TOUCH = """CREATE OR REPLACE FUNCTION {home}todo_schema_touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('todo_schema.backfill', true) = 'on' THEN
        RETURN NEW;
    END IF;
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END
$$"""

_COMPLETE = """CREATE OR REPLACE FUNCTION {home}todo_schema_complete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT NEW.completed THEN
        NEW.completed_at := NULL;
    ELSIF TG_OP = 'INSERT' OR NOT OLD.completed THEN
        NEW.completed_at := coalesce(NEW.completed_at, clock_timestamp());
    END IF;
    RETURN NEW;
END
$$"""


class _Statement(ExecutableDDLElement):
    """A statement of which `{home}` is the schema of the table and a dot, or nothing where the search_path decides."""

    inherit_cache = False

    def __init__(self, template: str) -> None:
        self.template = template


class _NewKey(ColumnElement[uuid.UUID]):
    """A call of the function that makes keys: the one in the schema of the table."""

    inherit_cache = False

    def __init__(self, table: Table) -> None:
        self.table = table


@compiles(_Statement)
def _statement(made: _Statement, compiler: DDLCompiler, **_: Any) -> str:
    written = made.template.format(home=_home(made.target, compiler))
    return str(compiler.sql_compiler.post_process_text(written))  # type: ignore[no-untyped-call]


@compiles(_NewKey)
def _new_key(key: _NewKey, compiler: SQLCompiler, **_: Any) -> str:
    return f"{_home(key.table, compiler)}todo_schema_uuid7()"


def _home(table: Any, compiler: DDLCompiler | SQLCompiler) -> str:
    # Where there is a map, this is a placeholder, which SQLAlchemy fills in as it does those of the tables.
    schema = compiler.preparer.schema_for_object(table)
    return f"{compiler.preparer.quote_schema(schema)}." if schema else ""


def make_keys(table: Table) -> None:
    """Make the default of a table's key before the table."""
    table.c.id.server_default = DefaultClause(_NewKey(table))
    _run(table, "before_create", [_UUID7])


def keep_updated_at(table: Table) -> None:
    """Set `updated_at` of whoever does not."""
    trigger = f"""CREATE TRIGGER tg_{table.name}_updated_at BEFORE UPDATE ON {{home}}{table.name} FOR EACH ROW
        WHEN (NEW.updated_at IS NOT DISTINCT FROM OLD.updated_at) EXECUTE FUNCTION {{home}}todo_schema_touch()"""
    _run(table, "after_create", [_TOUCH, trigger])


def keep_completed_at(tasks: Table) -> None:
    """Set and clear `completed_at` with `completed`."""
    new = f"""CREATE TRIGGER tg_tasks_completed_at_new BEFORE INSERT ON {{home}}{tasks.name} FOR EACH ROW
        WHEN (NEW.completed OR NEW.completed_at IS NOT NULL) EXECUTE FUNCTION {{home}}todo_schema_complete()"""
    changed = f"""CREATE TRIGGER tg_tasks_completed_at BEFORE UPDATE ON {{home}}{tasks.name} FOR EACH ROW
        WHEN (NEW.completed IS DISTINCT FROM OLD.completed OR NEW.completed_at IS DISTINCT FROM OLD.completed_at)
        EXECUTE FUNCTION {{home}}todo_schema_complete()"""
    _run(tasks, "after_create", [_COMPLETE, new, changed])


def know_the_owner(messages: Table) -> None:
    """Keep statistics of what a conversation's id says of its user's."""
    statistics = f"""CREATE STATISTICS {{home}}st_messages_conversation_user (dependencies)
        ON conversation_id, user_id FROM {{home}}{messages.name}"""
    _run(messages, "after_create", [statistics])


def _run(table: Table, when: str, templates: Iterable[str]) -> None:
    for template in templates:
        event.listen(table, when, _Statement(template))
