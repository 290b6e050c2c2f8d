"""What is released stays for ever: the rules that each revision file keeps before it is."""

from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.operations import Operations

from tests.support import packages
from tests.support.processes import SOURCE
from tests.support.revision_rules import broken_rules
from tests.support.revisions import CONTRACTS, LAST_FLOOR, NEXT, NEXT_VERSION
from todo_schema import SCHEMA_VERSION, Revision, history, operations
from todo_schema.collecting import collect
from todo_schema.compatibility import HEAD, Line, revision_at
from todo_schema.parts import Transaction
from todo_schema.revisions import of, scripts

AFTER, CONTRACT, SECOND = (
    f"{NEXT_VERSION + 1:03d}",
    packages.CONTRACT,
    revision_at(Line.CONTRACT, len(CONTRACTS) + 2),
)
(EXPAND_FILE,), (CONTRACT_FILE,) = packages.NEXT_REVISION, packages.NEXT_CONTRACT
SECOND_FILE = f"{SECOND}_drop_more.py"
THIRD, TENTH = (revision_at(Line.CONTRACT, len(CONTRACTS) + more) for more in (3, 10))
# The first of the line, which names it.
FIRST_FILE = Path(scripts().get_revision(CONTRACTS[0]).path).name if CONTRACTS else CONTRACT_FILE
FIRST_TEXT = packages.NEXT_CONTRACT[CONTRACT_FILE]
SECOND_TEXT = FIRST_TEXT.replace(
    f'revision = "{CONTRACT}"\n{packages.BELOW_CONTRACT}\n',
    (f'revision = "{SECOND}"\ndown_revision = "{CONTRACT}"\n'),
)


def test_the_revisions_of_this_package_keep_every_rule():
    broken = broken_rules(SOURCE / "todo_schema" / "migrations", SCHEMA_VERSION)
    assert not broken, "\n".join(broken)


RIGHT = {
    "operations, imported as a module": ("import sqlalchemy as sa\n", "from todo_schema import operations\n"),
    "operations, one by one": ("import sqlalchemy as sa\n", "from todo_schema.operations import add_check\n"),
    "a preflight": (
        "def upgrade",
        "def preflight(connection: sa.Connection):\n    pass\n\n\ndef upgrade",
    ),
}


@pytest.mark.parametrize("case", RIGHT)
def test_a_file_may_use_what_is_made_for_it(rules_broken_by: "Files", case: str):
    assert rules_broken_by(SECOND_FILE, *RIGHT[case]) == []


def begun_twice(change: Callable[[Operations], None], *, deferred: bool, downward: bool) -> list[str]:
    """What may be done twice, and would fail then: a run that died begins anew, and what was put off may be undone."""
    parts = collect(change, NEXT, downward=downward)
    return [
        part.about
        for part in parts
        if (deferred or len(parts) > 1) and isinstance(part, Transaction) and part.plain
    ]


@pytest.mark.parametrize("downward", [False, True], ids=["up", "down"])
@pytest.mark.parametrize("revision", history(), ids=lambda revision: revision.revision)
def test_what_may_be_begun_twice_uses_operations_alone(revision: Revision, downward: bool):
    module = scripts().get_revision(revision.revision).module
    change = module.downgrade if downward else module.upgrade
    plain = begun_twice(change, deferred=revision.deferred is not None, downward=downward)
    assert not plain, f"write these by todo_schema.operations: {plain}"


def test_a_plain_operation_is_told_where_it_may_be_begun_twice():
    def plain(op: Operations) -> None:
        op.drop_column("tasks", "note")

    def mixed(op: Operations) -> None:
        plain(op)
        operations.create_index(op, "ix_tasks_note", "tasks", ["note"])

    assert begun_twice(plain, deferred=False, downward=True) == []
    assert begun_twice(plain, deferred=True, downward=True) == ["ALTER TABLE tasks DROP COLUMN note"]
    assert begun_twice(mixed, deferred=False, downward=False) == ["ALTER TABLE tasks DROP COLUMN note"]


def test_each_line_has_a_single_head_and_the_expand_line_s_is_the_schema_version():
    ends = [revisions[-1].revision for revisions in map(of, Line) if revisions]
    assert sorted(scripts().get_heads()) == sorted(ends)
    assert HEAD in ends
    assert {revision.line for revision in history()} == {line for line in Line if of(line)}


Files = Callable[..., list[str]]


@pytest.fixture
def rules_broken_by(tmp_path: Path) -> Files:
    """Gives the rules that two contract revisions after an expand one break, once some of their text is replaced.

    `rules(file, old, new)` replaces `old`; without a `new` the file is the text `old`.
    """

    def rules(name: str = "", old: str = "", new: str | None = None) -> list[str]:
        folder = packages.throwaway_package(
            tmp_path, packages.NEXT_REVISION | {CONTRACT_FILE: FIRST_TEXT, SECOND_FILE: SECOND_TEXT}
        )
        migrations = folder / "todo_schema" / "migrations"
        (migrations / "catalog" / f"{NEXT}.txt").touch()
        for revision in (CONTRACT, SECOND):
            text = f"requires = {NEXT_VERSION}\nfloor = {NEXT_VERSION}\n- column tasks.x = text\n"
            (migrations / "catalog" / f"{revision}.txt").write_text(text)
        if name:
            path = next(migrations.glob(f"*/{name}"), migrations / name)
            text = path.read_text() if path.exists() else ""
            assert new is None or old in text
            path.write_text(old if new is None else text.replace(old, new), encoding="utf-8")
        return broken_rules(migrations, NEXT_VERSION)

    return rules


def test_revisions_of_both_lines_can_keep_every_rule(rules_broken_by: Files):
    assert rules_broken_by() == []


# What is replaced in one of the files, and the rule that is broken.
WRONG = {
    "a floor above what it requires": (
        SECOND_FILE,
        f"floor = {NEXT_VERSION}",
        f"floor = {NEXT_VERSION + 1}",
        "not 1 <= floor <= requires",
    ),
    "a schema that nobody has": (
        SECOND_FILE,
        f"requires = {NEXT_VERSION}",
        f"requires = {NEXT_VERSION + 1}",
        "requires <= SCHEMA_VERSION",
    ),
    "no floor": (SECOND_FILE, f"floor = {NEXT_VERSION}\n", "", "not 1 <= floor"),
    "no schema that it requires": (
        SECOND_FILE,
        f"requires = {NEXT_VERSION}\n",
        "",
        "not 1 <= floor <= requires",
    ),
    "a floor that falls": (SECOND_FILE, f"floor = {NEXT_VERSION}", "floor = 1", "its floor is below"),
    "requirements that fall": (
        SECOND_FILE,
        f"requires = {NEXT_VERSION}\nfloor = {NEXT_VERSION}",
        "requires = 1\nfloor = 1",
        "requires less than",
    ),
    "a floor that its catalogue does not have": (
        CONTRACT_FILE,
        f"floor = {NEXT_VERSION}",
        f"floor = {LAST_FLOOR}",
        f"{CONTRACT}.txt: does not repeat requires and floor",
    ),
    "a floor in the expand line": (
        EXPAND_FILE,
        "\n\n\ndef up",
        "\nfloor = 2\n\n\ndef up",
        "as only a contract",
    ),
    "another ordinal than its file's": (
        SECOND_FILE,
        f'n = "{SECOND}"',
        f'n = "{THIRD}"',
        f"revision is not '{SECOND}'",
    ),
    "a revision that does not follow the last": (
        SECOND_FILE,
        f'down_revision = "{CONTRACT}"',
        "down_revision = None",
        f"down_revision is not '{CONTRACT}'",
    ),
    "a first revision that follows another": (
        FIRST_FILE,
        "down_revision = None",
        f'down_revision = "{NEXT}"',
        "down_revision is not None",
    ),
    "an expand revision after a contract one": (
        EXPAND_FILE,
        f'down_revision = "{HEAD}"',
        f'down_revision = "{CONTRACT}"',
        f"down_revision is not '{HEAD}'",
    ),
    "no line": (FIRST_FILE, 'branch_labels = "contract"\n', "", "branch_labels is not 'contract'"),
    "another line": (FIRST_FILE, '"contract"', '"expand"', "branch_labels is not 'contract'"),
    "a line named twice": (
        SECOND_FILE,
        "requires =",
        'branch_labels = "x"\nrequires =',
        "only the first revision",
    ),
    "a dependency": (
        SECOND_FILE,
        "requires =",
        f'depends_on = "{NEXT}"\nrequires =',
        "depends on a revision",
    ),
    "an import of ours": (
        SECOND_FILE,
        "import sqlalchemy as sa\n",
        "import sqlalchemy as sa\n\nfrom todo_schema import models\n",
        "imports todo_schema",
    ),
    "an import of the whole package": (
        SECOND_FILE,
        "import sqlalchemy as sa\n",
        "import sqlalchemy as sa\n\nimport todo_schema\n",
        "imports todo_schema",
    ),
    "an import from a module of ours": (
        SECOND_FILE,
        "import sqlalchemy as sa\n",
        "import sqlalchemy as sa\n\nfrom todo_schema.models import Task\n",
        "imports todo_schema.models",
    ),
    "a deferred revision that does not say what it costs": (
        EXPAND_FILE,
        "\n\n\ndef up",
        '\ndeferred = ""\n\n\ndef up',
        "is deferred, and does not say what it costs",
    ),
    "a deferred contract revision": (
        SECOND_FILE,
        "requires =",
        'deferred = "slow"\nrequires =',
        "as only an expand revision may be",
    ),
    "a revision that builds on one that nobody defers": (
        SECOND_FILE,
        "requires =",
        f'builds_on = ("{NEXT}",)\nrequires =',
        f"builds on {NEXT}, which is no deferred revision before it",
    ),
    "a revision that builds on no tuple": (
        SECOND_FILE,
        "requires =",
        f'builds_on = "{NEXT}"\nrequires =',
        "builds_on is no tuple",
    ),
    "a preflight that asks for something else": (
        SECOND_FILE,
        "def upgrade",
        "def preflight(op):\n    pass\n\n\ndef upgrade",
        "with at most a preflight beside",
    ),
    "an import inside a function": (
        SECOND_FILE,
        '    """Drop the column."""\n',
        '    """Drop the column."""\n    from ..env import main\n',
        "imports ..env",
    ),
    "a docstring that nobody has written": (
        SECOND_FILE,
        "Gain: one column less.",
        "Gain: what people gain.",
        "still says what it was written with: Gain: what people gain.",
    ),
    "a docstring that leaves something out": (
        SECOND_FILE,
        "Older packages: ",
        "",
        "does not say Gain, Locks, ",
    ),
    "a docstring without a sentence": (
        SECOND_FILE,
        "a task.\n\nGain",
        "a task\n\nGain",
        "begin with a sentence",
    ),
    "no way back": (
        SECOND_FILE,
        "def downgrade(op: Operations)",
        "def undo(op: Operations)",
        "go up and down",
    ),
    "Alembic's own signature": (SECOND_FILE, "(op: Operations)", "()", "go up and down on the operations"),
    "more than ASCII": (SECOND_FILE, "one column", "one c\u00f6lumn", "is not ASCII"),
    "a revision without a catalogue": (
        f"contract/{THIRD}_more.py",
        SECOND_TEXT,
        None,
        f"{THIRD}: has no catalogue",
    ),
    "a gap": (f"contract/{TENTH}_more.py", SECOND_TEXT, None, f"is not named {THIRD}_ and what it does"),
    "a name that says nothing": (f"versions/{AFTER}.py", SECOND_TEXT, None, f"is not named {AFTER}_"),
    "a revision that SCHEMA_VERSION does not count": (
        f"versions/{AFTER}_more.py",
        SECOND_TEXT,
        None,
        f"{NEXT_VERSION + 1} expand revisions, and SCHEMA_VERSION = {NEXT_VERSION}",
    ),
    "a catalogue of no revision": (
        f"catalog/{THIRD}.txt",
        "requires = 1\n",
        None,
        f"catalog/{THIRD}: belongs to no",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_file_that_breaks_a_rule_is_told(rules_broken_by: Files, case: str):
    name, old, new, rule = WRONG[case]
    broken = rules_broken_by(name, old, new)
    assert [line for line in broken if rule in line], broken
