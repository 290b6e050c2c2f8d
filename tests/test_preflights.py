"""Preflights: the rows that a revision would fail on are found, counted and named before anything is changed."""

import re
from collections.abc import Iterator

import pytest

from tests.support import asking, packages
from tests.support.asking import Package, Said
from tests.support.contracting import everything, recorded
from tests.support.online import AFTER, revision_file
from tests.support.packages import CONTRACT
from tests.support.revisions import CONTRACTS, NEWEST_CONTRACT, NEXT, NEXT_VERSION
from tests.support.servers import Server, execute
from tests.support.ways import Call, both_drivers
from todo_schema.compatibility import HEAD, Line, revision_at

LAST = f"{NEXT_VERSION + 2:03d}"
AFTER_CONTRACT = revision_at(Line.CONTRACT, len(CONTRACTS) + 2)

# A table that refers to users by text, as the services have it that this package grew from.
TABLE = revision_file(
    NEXT,
    HEAD,
    """
op.create_table(
    "masterplans",
    sa.Column("id", sa.Integer(), sa.Identity(), primary_key=True),
    sa.Column("user_id", sa.String(100)),
)
""",
    'op.drop_table("masterplans")',
)
UUIDS = "'^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$'"
NO_UUID = f"SELECT id FROM masterplans WHERE user_id !~* {UUIDS} ORDER BY id"
NO_USER = f"""
    SELECT id FROM masterplans m WHERE user_id ~* {UUIDS}
    AND NOT EXISTS (SELECT FROM users WHERE users.id = m.user_id::uuid) ORDER BY id
"""
SAME_EMAIL = "SELECT replace(email, '.com', '') FROM users GROUP BY 1 HAVING count(*) > 1 ORDER BY 1"


def preflight(*looks: tuple[str, str]) -> str:
    """The text of a preflight that looks for each rule's rows."""
    lines = (f"    yield from operations.violation(connection, {rule!r}, {query!r})" for rule, query in looks)
    return "\n\ndef preflight(connection):\n" + "\n".join(lines) + "\n"


def looking(files: dict[str, str], *looks: tuple[str, str]) -> dict[str, str]:
    """These revisions with that preflight."""
    return {name: text + preflight(*looks) for name, text in files.items()}


TO_UUID = looking(
    revision_file(
        AFTER,
        NEXT,
        """
operations.add_column(op, "masterplans", sa.Column("user_uuid", sa.Uuid()))
operations.backfill(op, "masterplans", {"user_uuid": "user_id::uuid"}, where="user_uuid IS NULL")
operations.add_foreign_key(op, "fk_masterplans_user_uuid_users", "masterplans", ["user_uuid"], "users", ["id"])
""",
        'op.drop_column("masterplans", "user_uuid")',
    ),
    ("user_id is no UUID", NO_UUID),
    ("user_id is no user's", NO_USER),
)
ONE_EMAIL = looking(
    revision_file(
        LAST,
        AFTER,
        """operations.create_index(op, "ux_email", "users", ["replace(email, '.com', '')"], unique=True)""",
        'operations.drop_index(op, "ux_email", "users")',
    ),
    ("one email in two spellings", SAME_EMAIL),
)
_STEP = '''\
"""A contract step of a test.

Gain: none.
Locks: masterplans.
Older packages: cannot read it any more.
Going back: undoes it.
"""

from todo_schema import operations

revision = "{revision}"
down_revision = {down_revision!r}
branch_labels = {labels!r}
requires = {version}
floor = {version}


def upgrade(op):
    op.execute("ALTER TABLE masterplans {up}")


def downgrade(op):
    op.execute("ALTER TABLE masterplans {down}")
'''


def step(revision: str, down_revision: str | None, up: str, down: str) -> dict[str, str]:
    """A contract revision that alters the table, by the name of its file."""
    labels = None if down_revision else "contract"
    text = _STEP.format(
        revision=revision, down_revision=down_revision, labels=labels, version=NEXT_VERSION, up=up, down=down
    )
    return {f"{revision}_of_a_test.py": text}


# As it was done there: in place.
IN_PLACE = looking(
    step(
        AFTER_CONTRACT,
        CONTRACT,
        "ALTER user_id TYPE uuid USING user_id::uuid",
        "ALTER user_id TYPE varchar(100)",
    ),
    ("user_id is no UUID", NO_UUID),
)
# Whoever it is has left.
ORPHAN = "6fa459ea-ee8a-3ca4-894e-db77e160355e"
FILLED = f"""
INSERT INTO users (id, email) VALUES ('1fa459ea-ee8a-3ca4-894e-db77e160355e', 'ann@example.com');
INSERT INTO users (email) VALUES ('bob@example'), ('bob@example.com');
INSERT INTO masterplans (user_id) VALUES ('bob'), (''), ('1fa459ea-ee8a-3ca4-894e-db77e160355e'),
    ('6fa459ea-ee8a-3ca4-894e-db77e160355'), (NULL), ('1FA459EA-EE8A-3CA4-894E-DB77E160355E'), ('{ORPHAN}')
"""
MENDED = """
DELETE FROM masterplans WHERE id IN (1, 2, 4, 7);
UPDATE users SET email = 'robert@example.com' WHERE email = 'bob@example'
"""


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Package]:
    """The package that made the table."""
    folder = packages.throwaway_package(tmp_path_factory.mktemp("older"), TABLE)
    with asking.package(folder) as asked:
        yield asked


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Package]:
    """The package that refers to users as it should, by two revisions that look before."""
    folder = packages.throwaway_package(tmp_path_factory.mktemp("looking"), TABLE | TO_UUID | ONE_EMAIL)
    with asking.package(folder) as asked:
        yield asked


@pytest.fixture(scope="module")
def filled(server: Server, template: str, older: Package) -> str:
    """A database with a bit of everything in it, to be copied."""
    url = server.create_database(template=template)
    older("upgrade", url)
    execute(url, FILLED)
    return url


@pytest.fixture
def bad(server: Server, filled: str) -> Iterator[str]:
    """The url of such a database."""
    url = server.create_database(template=filled)
    yield url
    server.drop_database(url)


def told(said: Said) -> list[tuple[str, str, int, list[str]]]:
    """Revision, rule, count and sample of each violation."""
    found = said.facts["violations"]
    return [(one["revision"], one["rule"], one["count"], list(one["sample"])) for one in found]


IN_TEXT = [
    (AFTER, "user_id is no UUID", 3, ["1", "2", "4"]),
    (AFTER, "user_id is no user's", 1, ["7"]),
    (LAST, "one email in two spellings", 1, ["bob@example"]),
]


@both_drivers
def test_the_rows_that_revisions_would_fail_on_are_named_and_nothing_is_touched(
    package: Package, bad: str, call: Call
):
    before = everything(bad)
    said = package.ask("upgrade", bad, call=call)
    assert said.error == "PreflightError"
    assert told(said) == IN_TEXT
    assert everything(bad) == before
    assert "applying" not in "".join(said.told)
    for found in said.facts["violations"]:
        # What the error says is a query that can be pasted, and finds exactly these.
        assert found["query"] in said.text
        assert [str(row[0]) for row in execute(bad, found["query"])] == found["sample"]
    first = said.facts["violations"][0]
    assert f"that revision {AFTER} would fail on:\n" in said.facts["found"]
    assert "user_id is no UUID: 3 (1, 2, 4); all of them: SELECT id FROM" in said.facts["found"]
    assert said.facts["cure"].endswith(f"call again: {first['query']};")
    assert said.facts["pickled"]


@both_drivers
def test_once_they_are_mended_the_upgrade_goes_through(package: Package, bad: str, call: Call):
    execute(bad, MENDED)
    assert package("upgrade", bad, call=call).applied == [AFTER, LAST]
    assert execute(bad, "SELECT id, user_uuid IS NULL FROM masterplans ORDER BY id") == [
        (3, False),
        (5, True),
        (6, False),
    ]


@both_drivers
def test_a_plan_runs_the_preflights_alone(package: Package, bad: str, call: Call):
    before = everything(bad)
    answer = package("plan", bad, call=call, preflight=True).answer
    assert len(re.findall(rf"^stops upgrade  (?:{AFTER}|{LAST}) ", answer["text"], re.MULTILINE)) == 3
    found = answer["violations"]
    assert [(one["revision"], one["count"]) for one in found] == [(AFTER, 3), (AFTER, 1), (LAST, 1)]
    assert everything(bad) == before
    execute(bad, MENDED)
    assert package("plan", bad, call=call, preflight=True).answer["violations"] == []


@both_drivers
def test_the_sample_of_many_is_short_and_the_query_still_finds_all(package: Package, bad: str, call: Call):
    execute(bad, "INSERT INTO masterplans (user_id) SELECT 'x' || g FROM generate_series(1, 1000) g")
    said = package.ask("upgrade", bad, call=call)
    first = said.facts["violations"][0]
    assert (first["count"], first["sample"]) == (1003, ["1", "2", "4", "8", "9"])
    assert "1003 (1, 2, 4, 8, 9, …); all of them:" in said.text
    assert len(execute(bad, first["query"])) == 1003


@both_drivers
def test_in_a_schema_of_its_own_the_query_is_told_with_where_to_look(
    older: Package, package: Package, bad: str, call: Call
):
    older("upgrade", bad, schema="to do")
    execute(bad, "INSERT INTO \"to do\".masterplans (user_id) VALUES ('carol')")
    said = package.ask("upgrade", bad, call=call, schema="to do")
    assert [(rule, sample) for _, rule, _, sample in told(said)] == [("user_id is no UUID", ["1"])]
    _, _, paste = said.facts["cure"].partition("call again: ")
    assert paste.startswith('SET search_path = "to do"; ')
    assert execute(bad, paste) == [(1,)]


# The contract line


@pytest.fixture(scope="module")
def contracting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Package]:
    """A package that changes the type in place, by its second contract step."""
    steps = step(CONTRACT, NEWEST_CONTRACT, "ADD spare int", "DROP spare") | IN_PLACE
    folder = packages.throwaway_package(tmp_path_factory.mktemp("contracting"), TABLE | steps)
    for name in (CONTRACT, AFTER_CONTRACT):
        catalogue = folder / "todo_schema" / "migrations" / "catalog" / f"{name}.txt"
        catalogue.write_text(f"requires = {NEXT_VERSION}\nfloor = {NEXT_VERSION}\n", encoding="utf-8")
    with asking.package(folder) as asked:
        yield asked


@both_drivers
def test_no_contract_step_is_applied_where_a_later_one_would_fail(contracting: Package, bad: str, call: Call):
    before = everything(bad)
    said = contracting.ask("contract", bad, call=call)
    assert said.error == "PreflightError"
    assert told(said) == [(AFTER_CONTRACT, "user_id is no UUID", 3, ["1", "2", "4"])]
    assert said.facts["pickled"]
    assert everything(bad) == before
    execute(bad, MENDED)
    assert contracting("contract", bad, call=call).applied == [*CONTRACTS, CONTRACT, AFTER_CONTRACT]
    assert execute(bad, "SELECT DISTINCT pg_typeof(user_id)::text FROM masterplans") == [("uuid",)]


# What a preflight may do


@pytest.fixture(scope="module")
def asking_a_table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Package]:
    """A package whose preflight does what a table of the test's says."""
    one = revision_file(AFTER, NEXT, 'op.add_column("masterplans", sa.Column("spare", sa.Integer()))')
    later = revision_file(LAST, AFTER, 'op.add_column("masterplans", sa.Column("other", sa.Integer()))')
    body = """

def preflight(connection):
    asked = connection.execute(sa.text(f"SELECT rule, query FROM asked WHERE revision = '{revision}'")).all()
    for rule, query in asked:
        if rule:
            yield from operations.violation(connection, rule, query)
        else:
            connection.exec_driver_sql(query)
"""
    files = {name: text + body for name, text in (one | later).items()}
    folder = packages.throwaway_package(tmp_path_factory.mktemp("asking"), TABLE | files)
    with asking.package(folder) as asked:
        yield asked


def ask(url: str, *looks: tuple[str, str, str]) -> None:
    """Have the preflights of revisions look so: revision, rule and query."""
    execute(url, "CREATE TABLE IF NOT EXISTS asked (revision text, rule text, query text)")
    for look in looks:
        execute(url, "INSERT INTO asked VALUES (%s, %s, %s)", look)


@both_drivers
@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM masterplans",
        "INSERT INTO users (email) VALUES ('x@example.com')",
        "CREATE TABLE found AS SELECT 1 AS one",
        "SELECT nextval('tasks_id_seq')",
        "SET TRANSACTION READ WRITE",
    ],
)
def test_the_server_refuses_a_preflight_that_writes_and_nothing_has_changed(
    asking_a_table: Package, bad: str, call: Call, statement: str
):
    ask(bad, (AFTER, "", statement))
    before = everything(bad), execute(bad, "SELECT count(*) FROM masterplans")
    said = asking_a_table.ask("upgrade", bad, call=call)
    assert said.error == "MigrationFailedError"
    assert "read-" in said.facts["found"]
    if "TRANSACTION" not in statement:
        assert said.facts["found"].startswith(
            f"the preflight of revision {AFTER} tried to write: cannot execute"
        )
    assert (everything(bad), execute(bad, "SELECT count(*) FROM masterplans")) == before


AWKWARD = {
    "per cent": ("SELECT id FROM masterplans WHERE user_id LIKE 'b%b' OR id % 7 = 8", ["1"]),
    "parameters": ("SELECT 1 WHERE '%(x)s %s :x $1' LIKE '%%:x_$1' -- %s :x", ["1"]),
    "casts": (f"SELECT id::text || ':id' FROM masterplans WHERE user_id ~ {UUIDS} AND id::int=3", ["3:id"]),
    "classes": ("SELECT id FROM masterplans WHERE user_id ~ '^[[:alpha:]]+$'", ["1"]),
    "backslashes": (r"SELECT id FROM masterplans WHERE user_id ~ '^\w+$' AND '\:a' = E'\\:a'", ["1"]),
    "times": ("SELECT 1 WHERE '2024-01-01 10:30:00'::timestamp < now()", ["1"]),
    "a semicolon": ("  SELECT id FROM masterplans WHERE id = 1 ;\n", ["1"]),
    "white space": ("SELECT id FROM masterplans\nWHERE user_id || ' \n ' = 'bob \n '", ["1"]),
    "a remark": ("SELECT id -- its key\nFROM masterplans -- all of them\nWHERE id = 1 -- or one", ["1"]),
    "with": ("WITH bad AS (SELECT id, id FROM masterplans WHERE id = 1) SELECT * FROM bad", ["1"]),
    "letters": ("SELECT 'Zoë: 100%' WHERE true", ["Zoë: 100%"]),
    "null": ("SELECT user_id FROM masterplans WHERE user_id IS NULL", ["None"]),
}


@both_drivers
def test_a_query_means_what_it_says_whatever_stands_in_it(asking_a_table: Package, bad: str, call: Call):
    ask(bad, *((AFTER, rule, query) for rule, (query, _) in AWKWARD.items()))
    said = asking_a_table.ask("upgrade", bad, call=call)
    assert said.error == "PreflightError", said
    assert told(said) == [(AFTER, rule, 1, keys) for rule, (_, keys) in AWKWARD.items()]
    for found in said.facts["violations"]:
        assert [str(row[0]) for row in execute(bad, found["query"])] == found["sample"], found


@both_drivers
def test_what_needs_a_column_of_a_revision_before_it_is_looked_at_just_before_its_own(
    asking_a_table: Package, bad: str, call: Call
):
    ask(bad, (LAST, "spare is missing", "SELECT id FROM masterplans WHERE spare IS NULL ORDER BY id LIMIT 2"))
    said = asking_a_table.ask("upgrade", bad, call=call)
    assert said.error == "PreflightError"
    assert told(said) == [(LAST, "spare is missing", 2, ["1", "2"])]
    # What comes before it is applied, and stays.
    assert recorded(bad) == {AFTER}
    execute(bad, "UPDATE masterplans SET spare = 1")
    assert asking_a_table("upgrade", bad, call=call).applied == [LAST]


@both_drivers
def test_a_preflight_that_fails_at_its_own_turn_is_no_preflight_that_found_nothing(
    asking_a_table: Package, bad: str, call: Call
):
    ask(bad, (LAST, "never", "SELECT id FROM masterplans WHERE never_there IS NULL"))
    said = asking_a_table.ask("upgrade", bad, call=call)
    assert said.error == "MigrationFailedError"
    assert "never_there" in said.facts["found"]
    assert recorded(bad) == {AFTER}


@both_drivers
def test_a_fresh_database_has_no_rows_to_fail_on(package: Package, database: str, call: Call):
    assert package("upgrade", database, call=call).applied[-2:] == [AFTER, LAST]
