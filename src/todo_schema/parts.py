"""The parts that a revision consists of: what can be done in one transaction, and what cannot. SQL text, no I/O.

Functions of `operations` make them, the runner carries them out, `plan` describes them and `sql` prints them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from todo_schema.quoting import identifier, literal


class Lock(StrEnum):
    """The modes of a table lock, weakest first: https://www.postgresql.org/docs/current/explicit-locking.html."""

    ACCESS_SHARE = "ACCESS SHARE"
    ROW_SHARE = "ROW SHARE"
    ROW_EXCLUSIVE = "ROW EXCLUSIVE"
    SHARE_UPDATE_EXCLUSIVE = "SHARE UPDATE EXCLUSIVE"
    SHARE = "SHARE"
    SHARE_ROW_EXCLUSIVE = "SHARE ROW EXCLUSIVE"
    EXCLUSIVE = "EXCLUSIVE"
    ACCESS_EXCLUSIVE = "ACCESS EXCLUSIVE"


def do_statement(body: str, declare: str = "") -> str:
    """Return an anonymous block of PL/pgSQL."""
    tag = "$todo_schema$"
    while tag in body:  # a schema may have any name, and a function any body
        tag = f"{tag[:-1]}_$"
    # Columns may have any name, also one of these variables'.
    declared = f"#variable_conflict use_column\nDECLARE\n    {declare}\n" if declare else ""
    return f"DO {tag}\n{declared}BEGIN\n    {body}\nEND\n{tag}"


@dataclass(frozen=True)
class Transaction:
    """Statements that are applied together or not at all.

    Attributes:
        statements: The statements; names are found by the search_path.
        abouts: What they do, as a person reads it.
        plain: Whether some of them are not of `operations`, and so may fail where they are run again.

    """

    statements: tuple[str, ...]
    abouts: tuple[str, ...] = ()
    plain: bool = True

    @property
    def about(self) -> str:
        """What it does."""
        return ", ".join(self.abouts) or "nothing"


@dataclass(frozen=True)
class IndexBuild:
    """An index that is built while others read and write: CREATE INDEX CONCURRENTLY.

    Attributes:
        name: The index.
        table: Its table.
        definition: All that follows the table's name: `USING btree (user_id, created_at DESC)`.
        unique: Whether it keeps values unique.

    """

    name: str
    table: str
    definition: str
    unique: bool = False

    @property
    def about(self) -> str:
        """What it does."""
        return f"create index {self.name} on {self.table}"

    def statement(self, table: str, *, concurrently: bool = True) -> str:
        """Return the statement that builds it, on a table that is named as SQL names it."""
        kind = "UNIQUE INDEX" if self.unique else "INDEX"
        how = " CONCURRENTLY" if concurrently else ""
        return f"CREATE {kind}{how} {identifier(self.name)} ON {table} {self.definition}"


@dataclass(frozen=True)
class IndexDrop:
    """An index that is dropped while others read and write: DROP INDEX CONCURRENTLY.

    Attributes:
        name: The index.
        table: Its table.

    """

    name: str
    table: str

    @property
    def about(self) -> str:
        """What it does."""
        return f"drop index {self.name} of {self.table}"

    def statement(self, home: str, *, concurrently: bool = True) -> str:
        """Return the statement that drops it, in a schema."""
        how = " CONCURRENTLY" if concurrently else ""
        return f"DROP INDEX{how} IF EXISTS {home}{identifier(self.name)}"


@dataclass(frozen=True)
class Validation:
    """The rows that are there already are compared with a constraint that was added NOT VALID.

    Attributes:
        table: The table.
        constraint: Its constraint.
        target: The table that a foreign key refers to; None for a CHECK.

    """

    table: str
    constraint: str
    target: str | None = None

    @property
    def about(self) -> str:
        """What it does."""
        return f"validate {self.constraint} of {self.table}"

    def statement(self, home: str) -> str:
        """Return the statement that validates it, in a schema; nothing is done where it is valid already."""
        return f"ALTER TABLE {home}{identifier(self.table)} VALIDATE CONSTRAINT {identifier(self.constraint)}"


@dataclass(frozen=True)
class Backfill:
    """Rows that are there already are given values, a batch of keys in each transaction.

    Attributes:
        table: The table.
        set_: The expression that each column is set to.
        where: Which rows; those that have been done should not match any more.
        key: The column that leads through the table: its primary key.
        batch: How many keys the first batch takes; those after it are sized by time.

    """

    table: str
    set_: Mapping[str, str] = field(hash=False)
    where: str
    key: str = "id"
    batch: int = 1000

    @property
    def about(self) -> str:
        """What it does."""
        return f"backfill {', '.join(self.set_)} of {self.table}"

    def update(self, home: str, bounds: str) -> str:
        """Return the statement that changes the rows within some bounds of the key."""
        changes = ", ".join(f"{identifier(column)} = {value}" for column, value in self.set_.items())
        return f"UPDATE {home}{identifier(self.table)} SET {changes} WHERE {bounds} AND ({self.where})"


# Makes `updated_at` stay as it is, in a block and for its transaction: what a revision fills in is no user's change.
BY_A_REVISION = "PERFORM set_config('todo_schema.backfill', 'on', true)"

Part = Transaction | IndexBuild | IndexDrop | Validation | Backfill


def fit_one_transaction(parts: Sequence[Part]) -> bool:
    """Tell whether a revision of these parts is applied whole or not at all."""
    return len(parts) <= 1 and all(isinstance(part, Transaction) for part in parts)


def locks_of(part: IndexBuild | IndexDrop | Validation | Backfill) -> tuple[tuple[str, Lock], ...]:
    """Return the lock that a part holds on each table while it runs."""
    if isinstance(part, Backfill):
        return ((part.table, Lock.ROW_EXCLUSIVE),)
    locks = [(part.table, Lock.SHARE_UPDATE_EXCLUSIVE)]
    if isinstance(part, Validation) and part.target is not None and part.target != part.table:
        locks.append((part.target, Lock.ROW_SHARE))
    return tuple(locks)


def scans_of(part: IndexBuild | IndexDrop | Validation | Backfill) -> tuple[str, ...]:
    """Return the tables that a part reads from end to end."""
    if isinstance(part, IndexDrop):
        return ()
    target = part.target if isinstance(part, Validation) else None
    return (part.table,) if target in (None, part.table) else (part.table, str(target))


def in_place(part: Part, home: str) -> tuple[str, ...]:
    """Return the statements that do the same in a transaction, to tables in a schema that nobody uses yet."""
    match part:
        case IndexBuild():
            return (part.statement(f"{home}{identifier(part.table)}", concurrently=False),)
        case IndexDrop():
            return (part.statement(home, concurrently=False),)
        case Validation():
            return (part.statement(home),)
        case Backfill():
            return (part.update(home, "true"),)
        case Transaction():
            return part.statements


def messages_of(part: Part, home: str = "") -> tuple[str, ...]:
    """Return what psql has to send for a part, a message each.

    The script can not look first what an earlier run has left: it stops where that is in the way.
    """
    match part:
        case IndexBuild():
            built = part.statement(f"{home}{identifier(part.table)}")
            there = built.replace(" CONCURRENTLY ", " CONCURRENTLY IF NOT EXISTS ", 1)
            name = literal(f"{home}{identifier(part.name)}")
            stop = do_statement(f"""IF NOT EXISTS (SELECT FROM pg_index
                   WHERE indexrelid = to_regclass({name}) AND indisvalid) THEN
        RAISE EXCEPTION '%', {literal(f"index {part.name} is there and invalid")} USING HINT =
            {literal(f"DROP INDEX CONCURRENTLY {home}{identifier(part.name)}; and run the script again")};
    END IF;""")
            return there, stop
        case IndexDrop() | Validation():
            return (part.statement(home),)
        case Backfill():
            return (_backfill_script(part, home),)
        case Transaction():
            return part.statements


def _backfill_script(part: Backfill, home: str) -> str:
    key = identifier(part.key)
    table = f"{home}{identifier(part.table)}"
    kind = f"{table}.{key}%TYPE"
    # The block commits after each batch, which a DO outside of a transaction may.
    return do_statement(
        f"""todo_stop := (SELECT {key} FROM {table} ORDER BY {key} DESC LIMIT 1);
    LOOP
        todo_upper := ({upper_query(part, home, f"todo_last IS NULL OR {key} > todo_last", "todo_stop")});
        EXIT WHEN todo_upper IS NULL;
        {BY_A_REVISION};
        {part.update(home, f"(todo_last IS NULL OR {key} > todo_last) AND {key} <= todo_upper")};
        COMMIT;
        todo_last := todo_upper;
    END LOOP;""",
        declare=f"todo_last {kind};\n    todo_upper {kind};\n    todo_stop {kind};",
    )


def upper_query(part: Backfill, home: str, after: str, stop: str, batch: int | None = None) -> str:
    """Return the query for the last key of the next batch; not max(), which uuids have since PostgreSQL 18 only.

    Args:
        part: The backfill.
        home: The schema and a dot, or nothing.
        after: The condition that holds after the last batch, as SQL.
        stop: The last key of all, as SQL.
        batch: How many keys; as many as the part begins with where None.

    """
    key = identifier(part.key)
    keys = f"""SELECT {key} FROM {home}{identifier(part.table)}
            WHERE ({after}) AND {key} <= {stop} ORDER BY {key} LIMIT {batch or part.batch}"""
    return f"SELECT {key} FROM ({keys}) AS batch ORDER BY {key} DESC LIMIT 1"
