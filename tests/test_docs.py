"""What docs/ speaks of exists: links, functions, commands and options, states, error classes."""

import ast
import re
import textwrap
from pathlib import Path

import pytest
import sqlalchemy.exc
import typer

import todo_schema
from tests.support.processes import CHECKOUT
from tests.support.revision_rules import RevisionFile
from tests.support.rows_to_break import BENS, EXISTING
from tests.support.servers import execute
from tests.support.states import with_package
from todo_schema import (
    SCHEMA_VERSION,
    Revision,
    State,
    catalog,
    check,
    history,
    operations,
    plan,
    status,
    upgrade,
)
from todo_schema.cli import app

PAGES = [*sorted((CHECKOUT / "docs").glob("*.md")), CHECKOUT / "README.md"]
CHANGELOG = CHECKOUT / "CHANGELOG.md"
SCHEMA = (CHECKOUT / "docs" / "schema.md").read_text(encoding="utf-8")
HEAD = catalog.expected(SCHEMA_VERSION)
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@pytest.mark.parametrize("page", [*PAGES, CHANGELOG], ids=lambda page: page.name)
def test_each_link_leads_to_a_file_and_a_heading(page: Path):
    for link, heading in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page.read_text(encoding="utf-8")):
        target = page.parent / link if link else page
        assert target.exists(), link
        assert not heading or heading in headings(target), heading


def headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


@every_page
def test_each_error_and_each_function_that_is_named_is_public(page: Path):
    text = page.read_text(encoding="utf-8")
    errors = set(re.findall(r"\b[A-Z]\w+Error\b", text))
    functions = set(
        re.findall(
            r"`(upgrade|check|wait|status|clients|contract|downgrade|stamp|session_factory"
            r"|append_\w+|messages_\w+|newest_\w+|\w+_by_email)\b(?!\.)",
            text,
        )
    )
    assert errors - set(todo_schema.__all__) - set(dir(sqlalchemy.exc)) == set()
    assert functions - set(todo_schema.__all__) == set()


@every_page
def test_each_command_and_option_exists(page: Path):
    for command, rest in re.findall(
        r"todo-schema ([a-z]+)((?: [^\s`|,;]+)*)", page.read_text(encoding="utf-8")
    ):
        known = {name for parameter in COMMANDS[command].params for name in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) - known == set(), (command, rest)


def test_the_table_of_states_has_each_once_in_order():
    text = (CHECKOUT / "docs" / "compatibility.md").read_text(encoding="utf-8")
    assert re.findall(r"^\|[^|]*\| `(\w+)` \|", text, re.MULTILINE) == [state.value for state in State]


def test_the_table_of_operations_has_each():
    text = (CHECKOUT / "docs" / "writing-revisions.md").read_text(encoding="utf-8")
    listed = "\n".join(re.findall(r"^\| `.*$", text, re.MULTILINE))
    functions = {name for name in operations.__all__ if name.islower()} - {"violation"}
    assert {name for name in functions if not re.search(rf"`{name}\b", listed)} == set()
    assert set(re.findall(r"^\| `(\w+)", listed, re.MULTILINE)) - {"operations"} <= functions


def test_the_revision_on_the_page_keeps_the_rules_of_revisions(tmp_path: Path):
    text = (CHECKOUT / "docs" / "writing-revisions.md").read_text(encoding="utf-8")
    (code,) = (
        block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "down_revision" in block
    )
    path = tmp_path / "017_tasks_by_due.py"
    path.write_text(code, encoding="utf-8")
    assert list(RevisionFile(path).problems_of_form()) == []


def test_code_on_the_pages_is_python():
    for page in PAGES:
        for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            ast.parse(f"async def block():\n{textwrap.indent(block, '    ')}")


def facts(*kinds: str) -> dict[str, str]:
    """The facts of the newest schema version that are of some kinds, by their own names."""
    found = ([*name.split(" ", 1), value] for name, value in HEAD.items())
    return {name.rsplit(".")[-1]: value for kind, name, value in found if kind in kinds}


def test_the_page_of_the_schema_names_what_there_is_and_nothing_that_is_not():
    named = set(re.findall(r"\b(?:(?:ck|fk|ix|pk|st|tg|uq)_\w+|todo_schema_\w+\(\))", SCHEMA))
    there = set(facts("constraint", "function", "index", "statistics", "trigger"))
    assert there - named == set(), "docs/schema.md does not say what these are for"
    assert named - there == set(), "docs/schema.md names what is not there"


def test_the_page_of_the_schema_has_each_table_with_each_column_its_null_and_its_default():
    said = {}
    for table, rows in re.findall(r"^### (\w+)\n(.*?)(?=^##)", SCHEMA, re.MULTILINE | re.DOTALL):
        for name, null, default in re.findall(r"^\| `(\w+)` \| (\w* ?)\| ([^|]*?) ?\|", rows, re.MULTILINE):
            said[f"{table}.{name}"] = (null == "yes ", default.strip("`"))
    columns = {
        name.removeprefix("column "): value for name, value in HEAD.items() if name.startswith("column ")
    }
    there = {
        name: (
            "not null" not in value,
            "identity" if "identity" in value else value.partition(" default ")[2],
        )
        for name, value in columns.items()
    }
    assert said == there, "the tables of docs/schema.md: column, null, default"


def test_the_page_of_the_schema_says_what_each_index_is_on():
    said = dict(re.findall(r"^\| `((?:ix|pk|uq)_\w+)` \| `(\([^`]+)` \|", SCHEMA, re.MULTILINE))
    # Of the tables that services use: those of our bookkeeping are among the rules.
    there = facts("index") | {
        name: rule
        for name, rule in facts("constraint").items()
        if name.startswith(("pk_", "uq_")) and "todo_schema" not in name
    }
    assert set(said) == set(there), "the table of indexes in docs/schema.md"
    wrong = {name: on for name, on in said.items() if not there[name].endswith(on)}
    assert wrong == {}, "the table of indexes in docs/schema.md"


def test_the_page_of_the_schema_names_statements_that_say_they_are_served_by_that_index():
    served = {
        (index, name)
        for index, statements in re.findall(
            r"^\| `((?:ix|uq)_\w+)` \| `\(.*?` \| (.*) \|$", SCHEMA, re.MULTILINE
        )
        for name in re.findall(r"`((?:newest|messages|user)_\w+)`", statements)
    }
    statements = {name for name in todo_schema.__all__ if re.match(r"(?:newest|messages|user)_", name)}
    assert {name for _, name in served} == statements, "what indexes serve, in docs/schema.md"
    for index, name in served:
        said = str(getattr(todo_schema, name).__doc__)
        assert index in said, f"docs/schema.md says that {index} serves {name}, whose docstring does not"


# Two pairs of users with one address each, a message of the wrong one, and a text of each kind that is too long; by
# 0.1. The younger of the second pair has everything that a user can have.
BROKEN = f"""{EXISTING};
INSERT INTO users (id, email, created_at) VALUES (gen_random_uuid(), 'ANN@example.com', 'infinity'),
    (gen_random_uuid(), 'Ben@example.com', '-infinity'), (gen_random_uuid(), 'Eve@example.com', now());
INSERT INTO messages (id, conversation_id, user_id, role, content)
    SELECT gen_random_uuid(), '{BENS}', id, 'user', repeat('é', 10485761) FROM users WHERE email = 'Eve@example.com';
INSERT INTO messages (id, conversation_id, user_id, role, content)
    SELECT gen_random_uuid(), id, user_id, 'user', 'mine' FROM conversations WHERE id = '{BENS}';
INSERT INTO tasks (user_id, title, description)
    SELECT id, repeat('é', 1025), repeat('é', 16385) FROM users WHERE email IN ('ANN@example.com', 'ben@example.com')"""


def test_the_sql_on_the_page_puts_rows_of_0_1_right_and_the_upgrade_goes_through(
    database: str, old_package: Path
):
    with_package(old_package, "t.upgrade(url)", database)
    execute(database, BROKEN)
    found = plan(database, preflight=True)
    assert {row.revision for row in found.violations} == {"005", "009", "011"}
    _, _, section = SCHEMA.partition("\n## Putting rows of 0.1 right\n")
    for block in re.findall(r"```sql\n(.*?)```", section.partition("\n## ")[0], re.DOTALL):
        execute(database, block)
    upgrade(database)
    assert (status(database).deferred, check(database, deep=True)) == ((), State.CURRENT)
    users = "SELECT email FROM users ORDER BY lower(email)"
    assert execute(database, users) == [("ann@example.com",), ("Ben@example.com",), ("Eve@example.com",)]
    owned = "SELECT email, count(*) FROM users JOIN {} t ON t.user_id = users.id GROUP BY email ORDER BY lower(email)"
    assert {
        table: execute(database, owned.format(table)) for table in ("conversations", "messages", "tasks")
    } == {
        "conversations": [("ann@example.com", 1), ("Ben@example.com", 1)],
        "messages": [("ann@example.com", 1), ("Ben@example.com", 2)],
        "tasks": [("ann@example.com", 2), ("Ben@example.com", 1)],
    }
    kept = "SELECT place, length(text) FROM long_texts ORDER BY 1"
    assert execute(database, kept) == [
        ("messages.content", 10_485_761),
        *[("tasks.description", 16_385)] * 2,
        *[("tasks.title", 1025)] * 2,
    ]


# What the CHANGELOG says of each revision, in this order.
SAID = (
    r"(Before|After) the code",
    r"Locks ",
    r"[Oo]lder packages",
    r"Going back",
    r"`todo-schema (upgrade|contract|plan)\b",
)


@pytest.mark.parametrize("revision", history(), ids=lambda revision: revision.revision)
def test_the_changelog_says_of_each_revision_the_same_facts_in_order(revision: Revision):
    headed = f"- `{revision.revision}` *{revision.summary}.*"
    _, found, rest = CHANGELOG.read_text(encoding="utf-8").partition(headed)
    assert found, headed
    entry = re.split(r"^(?:- |#)", rest, maxsplit=1, flags=re.MULTILINE)[0]
    place = 0
    for fact in SAID:
        said = re.compile(fact).search(entry, place)
        assert said, (
            f"CHANGELOG.md says nothing like {fact!r} of {revision.revision}, or not in its place:\n{entry}"
        )
        place = said.end()
    deferred = revision.deferred is not None
    assert (": deferred" in entry) == deferred, (
        f"CHANGELOG.md, {revision.revision}: is it deferred? {deferred}"
    )
    stated = re.search(r"for more than (\d+) ms in a first try", " ".join(revision.details.split()))
    bound = f"At most {stated[1]} ms in a first try; measured " if stated else ""
    assert bound in entry, f"CHANGELOG.md does not say of {revision.revision}: {bound}"
