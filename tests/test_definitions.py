"""A function or trigger is that of the latest revision, whatever order the revisions are carried out in."""

from collections.abc import Callable, Iterator

import pytest
from alembic.operations import Operations

from tests.support.online import AFTER, NEXT, Scripted, scripted
from tests.support.servers import execute
from todo_schema import operations
from todo_schema.collecting import collect
from todo_schema.compatibility import HEAD
from todo_schema.parts import Transaction

Run = tuple[str, int | None, bool]


def up(revision: str, requires: int | None = None) -> Run:
    return revision, requires, False


def down(revision: str, requires: int | None = None) -> Run:
    return revision, requires, True


# Revisions in the order in which they are carried out, and whose definition is there then.
ORDERS = {
    "in order": ([up("003"), up("010")], up("010")),
    "the earlier is late": ([up("010"), up("003")], up("010")),
    "again": ([up("003"), up("003")], up("003")),
    "undone": ([up("003"), up("010"), down("010")], down("010")),
    "undone, although the earlier is late": ([up("010"), down("010"), up("003")], down("010")),
    "undone to the end": ([up("001"), down("001"), up("001")], up("001")),
    "contract after what it requires": ([up("005"), up("c001", 5)], up("c001", 5)),
    "contract, and an earlier one late": ([up("c001", 5), up("003")], up("c001", 5)),
    "contract, then a later one": ([up("c001", 5), up("006")], up("006")),
    "contract after a later one": ([up("006"), up("c001", 5)], up("006")),
    "contract after contract": ([up("c001", 5), up("c002", 5)], up("c002", 5)),
    "contract undone": ([up("005"), up("c001", 5), down("c001", 5)], down("c001", 5)),
    "contract undone, and an earlier one late": (
        [up("c001", 5), down("c001", 5), up("003")],
        down("c001", 5),
    ),
    "contract undone after a later one": ([up("c001", 5), up("006"), down("c001", 5)], up("006")),
    "contract undone and done again": ([up("c001", 5), down("c001", 5), up("c001", 5)], up("c001", 5)),
}


def named(run: Run) -> str:
    return f"{run[0]} {'down' if run[2] else 'up'}"


def function(run: Run) -> Callable[[Operations], None]:
    body = f"BEGIN /* {named(run)} */ RETURN new; END"
    return lambda op: operations.replace_function(
        op, "todo_touch()", f"RETURNS trigger LANGUAGE plpgsql AS $${body}$$"
    )


def trigger(run: Run) -> Callable[[Operations], None]:
    condition = f"'{named(run)}' <> ''"
    return lambda op: operations.replace_trigger(
        op, "tr_touch", "rows", f"BEFORE UPDATE FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION touch()"
    )


KINDS = {
    function: "SELECT prosrc FROM pg_proc WHERE proname = 'todo_touch'",
    trigger: "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname = 'tr_touch'",
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_latest_revision_counts_whatever_the_order(database: str, kind):
    for name, (runs, latest) in ORDERS.items():
        execute(
            database,
            """DROP TABLE IF EXISTS rows; DROP FUNCTION IF EXISTS todo_touch; CREATE TABLE rows (id int);
            CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'""",
        )
        for run in runs:
            revision, requires, downward = run
            (part,) = collect(kind(run), revision, requires=requires, downward=downward)
            assert isinstance(part, Transaction)
            execute(database, ";".join(part.statements))
        ((definition,),) = execute(database, KINDS[kind])
        assert named(latest) in definition, name


@pytest.mark.parametrize(
    ("run", "comment"),
    [
        (up("010"), "todo_schema 010"),
        (down("010"), "todo_schema 009"),
        (up("c002", 5), "todo_schema 005 c002"),
        (down("c002", 5), "todo_schema 005"),
    ],
    ids=str,
)
def test_a_comment_says_which_revision_a_definition_is_of(database: str, run: Run, comment: str):
    revision, requires, downward = run
    (part,) = collect(function(run), revision, requires=requires, downward=downward)
    assert isinstance(part, Transaction)
    execute(database, ";".join(part.statements))
    assert execute(database, "SELECT obj_description('todo_touch()'::regprocedure)") == [(comment,)]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scripted]:
    with scripted(tmp_path_factory.mktemp("scripted")) as running:
        yield running


def test_a_deferred_revision_that_is_finished_late_leaves_the_later_definition(
    upgraded_database: str, package: Scripted
):
    def replace(what: str) -> str:
        definition = f"RETURNS text LANGUAGE sql AS $$SELECT '{what}'::text$$"
        return f'operations.replace_function(op, "todo_said()", {definition!r})'

    bodies = {
        "body": (replace("earlier"), 'operations.drop_function(op, "todo_said()")', {"deferred": "nothing"}),
        "later": (replace("later"), replace("earlier")),
    }

    def said() -> str:
        return execute(upgraded_database, "SELECT todo_said()")[0][0]

    package("upgrade", upgraded_database, deferred="skip", **bodies)
    assert said() == "later"
    finished = package("upgrade", upgraded_database, deferred="only", **bodies)
    assert [step["revision"] for step in finished["applied"]] == [NEXT]
    assert said() == "later"
    package("downgrade", upgraded_database, to=NEXT, **bodies)
    assert said() == "earlier"
    package("upgrade", upgraded_database, **bodies)
    assert said() == "later"
    undone = package("downgrade", upgraded_database, to=HEAD, **bodies)
    assert [step["revision"] for step in undone["applied"]] == [AFTER, NEXT]
    assert execute(upgraded_database, "SELECT to_regproc('todo_said')") == [(None,)]


def test_a_signature_with_the_names_of_arguments_is_refused_since_nothing_would_be_found_by_it(
    upgraded_database: str, package: Scripted
):
    body = 'operations.replace_function(op, "todo_add(a int)", "RETURNS int LANGUAGE sql AS \'SELECT a\'")'
    refused = package.upgrade(upgraded_database, body)
    assert refused["error"] == "MigrationFailedError"
    types = 'operations.replace_function(op, "todo_add(int)", "RETURNS int LANGUAGE sql AS \'SELECT $1\'")'
    assert package.upgrade(upgraded_database, types)["after"] == "current"


@pytest.mark.parametrize(
    "definition", ["BEFORE UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION touch()", "BEFORE UPDATE"]
)
def test_a_trigger_that_names_its_table_or_does_nothing_is_refused(definition: str):
    with pytest.raises(ValueError, match="without ON and its table; write: "):
        collect(lambda op: operations.replace_trigger(op, "tr", "tasks", definition), "002")


@pytest.mark.parametrize("statement", ["COMMIT", "begin; SELECT 1", "rollback", "START TRANSACTION"])
def test_a_revision_cannot_end_the_transaction_that_it_is_applied_in(statement: str):
    with pytest.raises(ValueError, match=r"operations\.create_index"):
        collect(lambda op: op.execute(statement), "002")


def test_alembics_autocommit_block_is_refused():
    def upgrade(op: Operations) -> None:
        with op.get_context().autocommit_block():
            op.create_index("ix", "tasks", ["title"], postgresql_concurrently=True)

    with pytest.raises(ValueError, match=r"found: COMMIT .* autocommit_block; .* operations\.create_index"):
        collect(upgrade, "002")


@pytest.mark.parametrize(
    "call",
    [
        lambda op: operations.create_index(op, "ix", "tasks", "title"),
        lambda op: operations.create_index(op, "ix", "tasks", ["id"], include="title"),
        lambda op: operations.add_unique(op, "uq", "tasks", "title"),
        lambda op: operations.add_foreign_key(op, "fk", "tasks", "user_id", "users", ["id"]),
        lambda op: operations.add_foreign_key(op, "fk", "tasks", ["user_id"], "users", "id"),
    ],
)
def test_one_column_instead_of_a_list_is_refused(call: Callable[[Operations], None]):
    with pytest.raises(TypeError, match="needed: a list of columns; write: "):
        collect(call, "002")
