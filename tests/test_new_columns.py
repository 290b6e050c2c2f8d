"""add_column adds what the server adds without a rewrite, refuses the rest, and says what to write instead."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy.dialects import postgresql

from tests.support.servers import Server
from todo_schema import operations
from todo_schema.collecting import collect
from todo_schema.parts import Transaction


def default(text: str, kind: object = sa.Text, **options: object) -> sa.Column[object]:
    return sa.Column("new", kind, server_default=sa.text(text), **options)  # type: ignore[arg-type,call-overload]


PASSING = {
    "no default": lambda: sa.Column("new", sa.Text()),
    "a comment": lambda: sa.Column("new", sa.Text(collation="C"), comment="It's 100% new"),
    "a text": lambda: sa.Column(
        "new", sa.Text(), server_default="50% off: 12:30, it's \\ 'new'", nullable=False
    ),
    "a number": lambda: default("-1.5", sa.Numeric(6, 2), nullable=False),
    "false": lambda: sa.Column("new", sa.Boolean(), server_default=sa.false(), nullable=False),
    "a colon": lambda: default("'12 :30'"),
    "an escaped colon": lambda: default(r"""'{"at"\:1}'""", postgresql.JSONB),
    "a cast": lambda: default("'{}'::jsonb", postgresql.JSONB, nullable=False),
    "NULL": lambda: default("NULL"),
    "now()": lambda: sa.Column(
        "new", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
    ),
    "CURRENT_TIMESTAMP": lambda: default("CURRENT_TIMESTAMP", sa.DateTime(timezone=True)),
    "in an hour": lambda: default("(now() + interval '1 hour')", sa.DateTime(timezone=True)),
    "UTC": lambda: default("(now() AT TIME ZONE 'utc')", sa.DateTime),
    "an array": lambda: default("ARRAY[]::text[]", postgresql.ARRAY(sa.Text), nullable=False),
    "a constant uuid": lambda: default("'00000000-0000-0000-0000-000000000000'", sa.Uuid),
    "CURRENT_USER": lambda: default("CURRENT_USER"),
    "CHECK left to add_check": lambda: sa.Column("new", sa.Enum("a", "b", native_enum=False)),
}

# What the server would do, and what the message names.
REFUSED = {
    "gen_random_uuid()": (
        lambda: default("gen_random_uuid()", sa.Uuid),
        "rewrites",
        "backfill(op, 'rows', {'new'",
    ),
    "clock_timestamp()": (
        lambda: sa.Column("new", sa.DateTime(timezone=True), server_default=sa.func.clock_timestamp()),
        "rewrites",
        "set_default(op, 'rows', 'new', 'clock_timestamp()'); backfill(op,",
    ),
    "random()": (lambda: default("1 + random()", sa.Double), "rewrites", "add_column without a default"),
    "hidden": (lambda: default("'x' || CAST(random() AS text)"), "rewrites", "add_column without a default"),
    "nextval": (lambda: default("nextval('numbers')", sa.BigInteger), "rewrites", "backfill(op, "),
    "a function": (lambda: default("any_volatile()", sa.Integer), "rewrites", "backfill(op, "),
    "identity": (
        lambda: sa.Column("new", sa.BigInteger, sa.Identity()),
        "rewrites",
        "a nullable column, backfill",
    ),
    "computed": (
        lambda: sa.Column("new", sa.Integer, sa.Computed("id + 1", persisted=True)),
        "rewrites",
        "a plain column, a trigger and a backfill",
    ),
    "a domain": (
        lambda: sa.Column("new", postgresql.DOMAIN("positive", sa.Integer)),
        "rewrites",
        "add_check",
    ),
    "NOT NULL": (
        lambda: sa.Column("new", sa.Text, nullable=False),
        "fails",
        "set_not_null(op, 'rows', 'new')",
    ),
    "NOT NULL DEFAULT NULL": (
        lambda: default("NULL", nullable=False),
        "fails",
        "set_not_null(op, 'rows', 'new')",
    ),
    "unique": (
        lambda: sa.Column("new", sa.Text, unique=True),
        "reads",
        "operations.add_foreign_key, add_unique",
    ),
    "foreign key": (
        lambda: sa.Column("new", sa.Integer, sa.ForeignKey("rows.id")),
        "reads",
        "add_foreign_key",
    ),
    "check": (lambda: sa.Column("new", sa.Integer, sa.CheckConstraint("new > 0")), "reads", "or add_check"),
    "a CHECK of its type": (
        lambda: sa.Column("new", sa.Enum("a", native_enum=False, create_constraint=True, name="known")),
        "reads",
        "or add_check",
    ),
    "primary key": (
        lambda: sa.Column("new", sa.Integer, primary_key=True),
        "rewrites",
        "let a contract revision",
    ),
    "index": (lambda: sa.Column("new", sa.Text, index=True), "is lost", "operations.create_index"),
    "Python's default": (lambda: sa.Column("new", sa.Text, default="x"), "is lost", "server_default="),
    "Python's onupdate": (lambda: sa.Column("new", sa.Text, onupdate=str), "is lost", "server_default="),
    "no value": (
        lambda: sa.Column("new", sa.Text, server_default=sa.FetchedValue(), nullable=False),
        "",
        "backfill",
    ),
}


@pytest.fixture(scope="module")
def connection(server: Server) -> Iterator[sa.Connection]:
    url = server.create_database()
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql("""
            CREATE TABLE rows (id int PRIMARY KEY); INSERT INTO rows SELECT generate_series(1, 3);
            CREATE SEQUENCE numbers; CREATE DOMAIN positive AS int CHECK (VALUE > 0);
            CREATE FUNCTION any_volatile() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'""")
        connection.commit()
        yield connection
    engine.dispose()
    server.drop_database(url)


@pytest.fixture
def change(connection: sa.Connection) -> Iterator[sa.Connection]:
    """A connection in a transaction that is rolled back."""
    connection.begin()
    yield connection
    connection.rollback()


def added(column: sa.Column[object]) -> str:
    (part,) = collect(lambda op: operations.add_column(op, "rows", column), "002")
    assert isinstance(part, Transaction)
    return ";".join(part.statements)


def file_of(change: sa.Connection) -> object:
    return change.exec_driver_sql("SELECT pg_relation_filenode('rows')").scalar_one()


def described(change: sa.Connection) -> object:
    return change.exec_driver_sql("""
        SELECT format_type(atttypid, atttypmod), attcollation, attnotnull, pg_get_expr(adbin, adrelid),
               col_description(attrelid, attnum)
        FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE attrelid = 'rows'::regclass AND attname = 'new'""").one()


@pytest.mark.parametrize("name", PASSING)
def test_what_the_server_adds_without_a_rewrite_is_added_as_alembic_adds_it(change: sa.Connection, name: str):
    before = file_of(change)
    cursor = change.connection.cursor()
    cursor.execute(added(PASSING[name]()))
    assert file_of(change) == before
    ours = described(change)
    # Once more: it is there already.
    cursor.execute(added(PASSING[name]()))
    assert described(change) == ours
    if name != "a colon":  # which SQLAlchemy takes for a parameter, and writes NULL
        change.rollback()
        Operations(MigrationContext.configure(change)).add_column("rows", PASSING[name]())
        assert described(change) == ours


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (lambda: default("'12 :30'"), "12 :30"),
        (lambda: default(r"'12\:30 100% %% %s'"), "12:30 100% %% %s"),
        (lambda: sa.Column("new", sa.Text, server_default="12:30 100% %% \\"), "12:30 100% %% \\"),
        (lambda: sa.Column("new", sa.Text, server_default=sa.literal("100% %s")), "100% %s"),
    ],
)
def test_a_default_is_the_text_that_was_written(change: sa.Connection, column, value: str):
    change.connection.cursor().execute(added(column()))
    assert change.exec_driver_sql("SELECT new FROM rows").scalars().first() == value


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_rewrite_or_read_the_table_or_be_lost_is_refused_with_what_to_write(
    change: sa.Connection, name: str
):
    column, does, advice = REFUSED[name]
    with pytest.raises(ValueError, match=r"^add_column rows\.new: ") as refused:
        added(column())
    assert advice in str(refused.value)
    plainly = Operations(MigrationContext.configure(change)).add_column
    before = file_of(change)
    if does == "fails":
        with pytest.raises(sa.exc.DBAPIError):
            plainly("rows", column())
    elif does == "rewrites":
        plainly("rows", column())
        assert file_of(change) != before


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        ("int", lambda: sa.Column("new", sa.Text)),
        ("varchar(9)", lambda: sa.Column("new", sa.String(10))),
        ("numeric(9, 2)", lambda: sa.Column("new", sa.Numeric(9, 3))),
        ("text", lambda: sa.Column("new", sa.Text(collation="C"))),
        ("text", lambda: default("''", nullable=False)),
    ],
)
def test_a_column_of_that_name_that_is_another_is_refused(change: sa.Connection, there: str, wanted):
    cursor = change.connection.cursor()
    cursor.execute(f"ALTER TABLE rows ADD new {there}")
    with pytest.raises(
        change.dialect.dbapi.Error, match=r"found: another column new in table rows; needed: .*; cure: "
    ):
        cursor.execute(added(wanted()))
