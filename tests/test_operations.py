"""Each operation makes what it says, may be run again, and is undone, whatever the names and texts in it."""

from collections.abc import Iterator
from typing import LiteralString, cast

import psycopg
import pytest
import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext

from tests.support.online import NEXT, Body, Scripted, facts, scripted
from tests.support.servers import Server, execute
from tests.support.ways import Call, both_drivers
from todo_schema import operations, upgrade
from todo_schema.collecting import collect
from todo_schema.compatibility import HEAD
from todo_schema.quoting import identifier

_ROWS = """
INSERT INTO users (email) VALUES ('ada@example.org'), ('alan@example.org');
INSERT INTO tasks (user_id, title) SELECT id, split_part(email, '@', 1) FROM users ORDER BY email
"""
_TOUCH = "RETURNS trigger LANGUAGE plpgsql AS $$BEGIN new.updated_at := now(); RETURN new; END$$"

# What an operation is written as, what undoes it, and what is new or other in the database after it.
EACH: dict[str, tuple[str, str, dict[str, str]]] = {
    "create_index": (
        """operations.create_index(op, "ix_new", "messages", ["conversation_id", "created_at DESC"],
            where="role = 'user'", include=["user_id"])""",
        'operations.drop_index(op, "ix_new", "messages")',
        {
            "index messages.ix_new": "CREATE INDEX ix_new ON messages USING btree (conversation_id, created_at DESC)"
            " INCLUDE (user_id) WHERE role = 'user'::text"
        },
    ),
    "create_index, unique": (
        'operations.create_index(op, "uq_email", "users", ["lower(email)"], unique=True)',
        'operations.drop_index(op, "uq_email", "users")',
        {"index users.uq_email": "CREATE UNIQUE INDEX uq_email ON users USING btree (lower(email))"},
    ),
    "create_index, gin": (
        """operations.create_index(op, "ix_words", "tasks", ["to_tsvector('simple', title)"], using="gin")""",
        'operations.drop_index(op, "ix_words", "tasks")',
        {
            "index tasks.ix_words": "CREATE INDEX ix_words ON tasks"
            " USING gin (to_tsvector('simple'::regconfig, title))"
        },
    ),
    "add_check": (
        'operations.add_check(op, "ck_short", "tasks", "length(title) < 99")',
        'operations.drop_constraint(op, "ck_short", "tasks")',
        {"constraint tasks.ck_short": "CHECK ((length(title) < 99))"},
    ),
    "add_foreign_key": (
        'operations.add_foreign_key(op, "fk_n", "tasks", ["user_id"], "users", ["id"], ondelete="SET NULL")',
        'operations.drop_constraint(op, "fk_n", "tasks")',
        {"constraint tasks.fk_n": "FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE SET NULL"},
    ),
    "add_unique": (
        'operations.add_unique(op, "uq_both", "conversations", ["user_id", "id"])',
        'operations.drop_constraint(op, "uq_both", "conversations")',
        {"constraint conversations.uq_both": "UNIQUE (user_id, id)"},
    ),
    "add_column": (
        """operations.add_column(op, "tasks", sa.Column("rank", sa.Numeric(9, 2), nullable=False,
            server_default=sa.text("1.5"), comment="Ada's"))""",
        'operations.drop_column(op, "tasks", "rank")',
        {"column tasks.rank": "numeric(9,2) not null default 1.5", "comment tasks.rank": '"Ada\'s"'},
    ),
    "create_statistics": (
        'operations.create_statistics(op, "st_new", "tasks", ["user_id", "title"], "dependencies")',
        'operations.drop_statistics(op, "st_new", "tasks")',
        {"statistics tasks.st_new": "f on user_id, title"},
    ),
    "set_not_null": (
        """operations.backfill(op, "tasks", {"description": "''"}, where="description IS NULL")
operations.set_not_null(op, "tasks", "description")""",
        """operations.drop_not_null(op, "tasks", "description")
operations.backfill(op, "tasks", {"description": "NULL"}, where="description IS NOT NULL")""",
        {"column tasks.description": "text not null", "rows": "ada/,alan/"},
    ),
    "backfill": (
        """operations.backfill(op, "tasks", {"title": "upper(title) || ' ' || id % 7 || '%'"},
            where="title = lower(title)", batch=1)""",
        """operations.backfill(op, "tasks", {"title": "split_part(lower(title), ' ', 1)"}, where="true")""",
        {"rows": "ADA 1%,ALAN 2%"},
    ),
    "replace_function, replace_trigger": (
        f"""operations.replace_function(op, "todo_touch()", {_TOUCH!r})
operations.replace_trigger(op, "tr_touch", "tasks", "BEFORE UPDATE OF title, completed FOR EACH ROW"
    " WHEN (new.updated_at = old.updated_at) EXECUTE FUNCTION todo_touch()")
operations.replace_trigger(op, "tr_all", "tasks", "AFTER INSERT REFERENCING NEW TABLE AS added EXECUTE FUNCTION"
    " todo_touch()")""",
        """operations.drop_trigger(op, "tr_all", "tasks")
operations.drop_trigger(op, "tr_touch", "tasks")
operations.drop_function(op, "todo_touch()")""",
        {
            "trigger tasks.tr_touch": "CREATE TRIGGER tr_touch BEFORE UPDATE OF title, completed ON tasks"
            " FOR EACH ROW WHEN (new.updated_at = old.updated_at) EXECUTE FUNCTION todo_touch()",
            "trigger tasks.tr_all": "CREATE TRIGGER tr_all AFTER INSERT ON tasks REFERENCING NEW TABLE AS added"
            " FOR EACH STATEMENT EXECUTE FUNCTION todo_touch()",
            "function todo_touch()": "BEGIN new.updated_at := now(); RETURN new; END",
        },
    ),
}

# Names and texts with all that SQL, Python's formats, SQLAlchemy's parameters and psql might take for theirs.
_HOME = """Odd "schema" of %(us)s's"""
_NAME = """%s :x "q" 'a' {k}"""
_TEXT = r"'\d+ %% %s :x ::y 12:30 {k} $$ $todo_schema$ ''q'' \\'"
_BODY = f"$body$BEGIN /* {_TEXT} $$ */ RETURN new; END$body$"
_QUOTED = identifier(_NAME)
ODD: Body = (
    f"""
name, quoted, text = {_NAME!r}, {_QUOTED!r}, {_TEXT!r}
operations.add_column(op, "tasks", sa.Column(name, sa.Text(), server_default=sa.text(text), comment=text))
operations.add_column(op, "tasks", sa.Column("order", sa.Text(), server_default={_TEXT[1:-1]!r}))
operations.add_column(op, "tasks", sa.Column("c", sa.Text(collation="C")))
operations.backfill(op, "tasks", {{name: text + " || title", "order": "title"}}, where=f"title !~ {{text}}", batch=1)
operations.set_not_null(op, "tasks", name)
operations.add_check(op, "ck " + name, "tasks", f"{{quoted}} <> {{text}} OR title !~ {{text}}")
operations.create_index(op, "ix " + name, "tasks", [quoted, f"(title || {{text}}) DESC"], where=f"title <> {{text}}",
    include=["order"])
operations.add_unique(op, "uq " + name, "tasks", [name, "order"])
operations.add_unique(op, "uq to", "tasks", ["user_id", "id"])
operations.create_statistics(op, "st " + name, "tasks", [name, "order"], "mcv")
operations.add_column(op, "tasks", sa.Column("other", sa.BigInteger()))
operations.add_foreign_key(op, "fk " + name, "tasks", ["user_id", "other"], "tasks", ["user_id", "id"])
operations.replace_function(op, {_QUOTED + "()"!r}, 'RETURNS trigger LANGUAGE plpgsql AS ' + {_BODY!r})
operations.replace_trigger(op, "tr " + name, "tasks", "BEFORE UPDATE OF " + quoted + " FOR EACH ROW EXECUTE FUNCTION "
    + quoted + "()")
op.execute("COMMENT ON TABLE tasks IS 'plain % %s'")
""",
    f"""
name, quoted = {_NAME!r}, {_QUOTED!r}
op.execute("COMMENT ON TABLE tasks IS 'Things to do, with a number short enough to say in a chat.'")
operations.drop_trigger(op, "tr " + name, "tasks")
operations.drop_function(op, quoted + "()")
operations.drop_statistics(op, "st " + name, "tasks")
for constraint in ("fk " + name, "uq to", "uq " + name, "ck " + name):
    operations.drop_constraint(op, constraint, "tasks")
operations.drop_index(op, "ix " + name, "tasks")
for column in (name, "order", "c", "other"):
    operations.drop_column(op, "tasks", column)
""",
)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scripted]:
    with scripted(tmp_path_factory.mktemp("scripted")) as running:
        yield running


def state(url: str, schema: str = "public") -> dict[str, str]:
    """All that the operations above may change: the catalogue, functions, and the rows of tasks."""
    home = f"SET search_path = {identifier(schema)}; "
    functions = execute(
        url,
        f"{home}SELECT 'function ' || oid::regprocedure, prosrc FROM pg_proc"
        " WHERE pronamespace = to_regnamespace(quote_ident(current_schema()))",
    )
    rows = "string_agg(concat_ws('/', title, description), ',' ORDER BY id)"
    ((tasks,),) = execute(url, f"{home}SELECT {rows} FROM tasks")
    return {**facts(url, schema), **dict(functions), "rows": tasks}


def forget(url: str, revision: str) -> None:
    """Let the bookkeeping say that all of the package's next revisions is still to be done, or still to be undone."""
    execute(
        url,
        f"UPDATE todo_schema_version SET version_num = '{revision}';"
        f" DELETE FROM todo_schema_history WHERE ordinal > {int(HEAD)} OR action = 'downgrade'",
    )


def change(before: dict[str, str], after: dict[str, str]) -> dict[str, str]:
    assert not before.keys() - after.keys()
    return dict(after.items() - before.items())


@pytest.mark.parametrize("name", EACH)
def test_an_operation_makes_what_it_says_once_or_twice_and_is_undone_once_or_twice(
    upgraded_database: str, package: Scripted, name: str
):
    url, (up, down, made) = upgraded_database, EACH[name]
    execute(url, _ROWS)
    before = state(url)
    assert package("upgrade", url, body=(up, down))["after"] == "current"
    after = state(url)
    assert change(before, after) == made
    forget(url, HEAD)
    again = package("upgrade", url, body=(up, down))
    assert [step["revision"] for step in again["applied"]][:1] == [NEXT]
    assert state(url) == after
    assert package("downgrade", url, to=HEAD, body=(up, down))["version_after"] == int(HEAD)
    assert state(url) == before
    forget(url, NEXT)
    package("downgrade", url, to=HEAD, body=(up, down))
    assert state(url) == before


def test_postgresql_15_gets_the_same(upgraded_database: str, package: Scripted, debian: Server):
    ups = "\n".join(up for up, _, _ in EACH.values())
    downs = "\n".join(down for _, down, _ in reversed(EACH.values()))
    urls = upgraded_database, debian.create_database()
    upgrade(urls[1])
    before, after = [], []
    for url in urls:
        execute(url, _ROWS)
        before.append(state(url))
        assert package("upgrade", url, body=(ups, downs))["after"] == "current"
        after.append(state(url))
        assert "applied" in (undone := package("downgrade", url, to=HEAD, body=(ups, downs))), undone
        assert state(url) == before[-1]
    assert before[0] == before[1]
    assert after[0] == after[1]


@both_drivers
def test_names_and_texts_are_what_they_are_also_where_psql_sends_them(
    database: str, package: Scripted, call: Call
):
    url, home = database, identifier(_HOME)
    package("upgrade", url, schema=_HOME)
    package("downgrade", url, to=HEAD, schema=_HOME)
    execute(url, f"SET search_path = {home}; {_ROWS}")
    before = state(url, _HOME)
    done = package("upgrade", url, schema=_HOME, body=ODD, call=call)
    assert done.get("after") == "current", done
    by_runner = state(url, _HOME)
    made = change(before, by_runner)
    assert len(made) == 14, made
    assert made["comment tasks"] == '"plain % %s"'
    (text,) = execute(url, f"SET search_path = {home}; SELECT {_TEXT}")[0]
    assert execute(url, f'SET search_path = {home}; SELECT {_QUOTED}, "order" FROM tasks ORDER BY id') == [
        (f"{text}ada", "ada"),
        (f"{text}alan", "alan"),
    ]
    assert _BODY.removeprefix("$body$").removesuffix("$body$") in made.values()
    undone = package("downgrade", url, to=HEAD, schema=_HOME, body=ODD, call=call)
    assert undone.get("version_after") == int(HEAD), undone
    assert state(url, _HOME) == before
    for downward, wanted in ((False, by_runner), (True, before)):
        messages = package("messages", NEXT, f"{home}.", downward, body=ODD)
        with psycopg.connect(url, autocommit=True) as connection:
            for message in (f"SET search_path = {home}", *messages):
                connection.execute(cast("LiteralString", message))
        assert state(url, _HOME) == wanted


def test_statistics_are_collected_as_they_are_made(upgraded_database: str, package: Scripted):
    execute(upgraded_database, _ROWS)
    assert package("upgrade", upgraded_database, body=EACH["create_statistics"][:2])["after"] == "current"
    collected = "SELECT dependencies IS NOT NULL FROM pg_stats_ext WHERE statistics_name = 'st_new'"
    assert execute(upgraded_database, collected) == [(True,)]


def test_an_op_that_is_not_of_todo_schema_is_refused():
    plain = Operations(MigrationContext.configure(dialect_name="postgresql", opts={"as_sql": True}))
    with pytest.raises(TypeError, match="plain Alembic"):
        operations.drop_index(plain, "ix_tasks", "tasks")


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        ('create_index(op, "ix", "tasks", "title")', TypeError, r"write: \['title'\]"),
        ('create_index(op, "ix", "tasks", [sa.text("lower(title)")])', TypeError, r"write: 'lower\(title\)'"),
        ('add_unique(op, "uq", "tasks", [sa.column("title")])', TypeError, "write: 'title'"),
        ('create_index(op, "x" * 64, "tasks", ["title"])', ValueError, "64 bytes; needed: 63"),
        ('add_check(op, "x" * 64, "tasks", "true")', ValueError, "64 bytes; needed: 63"),
        ('create_statistics(op, "x" * 64, "tasks", ["a", "b"], "mcv")', ValueError, "64 bytes; needed: 63"),
        ('create_statistics(op, "st", "tasks", "title", "mcv")', TypeError, r"write: \['title'\]"),
    ],
)
def test_what_an_operation_cannot_take_is_told_as_the_revision_is_read(
    call: str, error: type[Exception], words: str
):
    def change(op: Operations) -> None:
        eval(f"operations.{call}", {"op": op, "operations": operations, "sa": sa})

    with pytest.raises(error, match=words):
        collect(change, NEXT, downward=False)
