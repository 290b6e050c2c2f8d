"""Turns the calls of a revision into its parts: Alembic's operations into SQL text, ours into parts of other kinds."""

import logging
import re
from collections.abc import Callable
from contextvars import ContextVar

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext

from todo_schema.compatibility import Line, line_of, number_of
from todo_schema.parts import Backfill, IndexBuild, IndexDrop, Part, Transaction, Validation

_OPTION = "todo_schema_collector"
_OWN_TRANSACTION = re.compile(r"(?:BEGIN|COMMIT|ROLLBACK|ABORT|END|START\s+TRANSACTION)\b", re.IGNORECASE)

_collecting: ContextVar[bool] = ContextVar("todo_schema_collecting", default=False)


def _is_not_ours(_record: logging.LogRecord) -> bool:
    return not _collecting.get()


# Alembic tells of each context that is made ("Generating static SQL"): in the log of a host, for each revision, of a
# script that nobody asked for.
logging.getLogger(MigrationContext.__module__).addFilter(_is_not_ours)


class Collector:
    """What has been collected of one revision.

    Attributes:
        rank: What it is compared by with the revision that a definition is of, later being greater: the schema version,
            and the place in the contract line among those that require it. None is later than any: on the way back
            the revision below is right, whatever is there.
        mark: What a definition says afterwards that it is of.

    """

    def __init__(self, revision: str, requires: int | None, *, downward: bool) -> None:
        number, version = number_of(revision), requires or 0
        of_contract = line_of(revision) is Line.CONTRACT
        self.rank = (version, number) if of_contract else None if downward else (number, 0)
        at = version if of_contract else number - downward
        self.mark = f"todo_schema {at:03d}" + (f" {revision}" if of_contract and not downward else "")
        self._parts: list[Part] = []
        # What the transaction that is being collected locks.
        self._locked: str | None = None

    def statement(self, sql: str, about: str | None = None, locks: str | None = None) -> None:
        """Add a statement to the transaction that is being collected.

        Two tables locked in one transaction make a circle with a service that writes to them in the other order: so
        what locks another table begins another transaction.

        Args:
            sql: The statement.
            about: What it does, where it is one of `operations`.
            locks: What it locks, where it is one of `operations`: a table.

        """
        if locks is not None and self._locked not in (None, locks):
            self._parts.append(Transaction((), plain=False))
            self._locked = None
        self._locked = locks or self._locked
        begun = self._parts.pop() if self._parts and isinstance(self._parts[-1], Transaction) else None
        before = begun if isinstance(begun, Transaction) else Transaction((), plain=False)
        said = about or " ".join(sql.split("(", 1)[0].split()[:6])
        abouts = tuple(dict.fromkeys((*before.abouts, said)))
        self._parts.append(Transaction((*before.statements, sql), abouts, before.plain or about is None))

    def add(self, part: IndexBuild | IndexDrop | Validation | Backfill) -> None:
        """Add what is no statement of a transaction."""
        self._parts.append(part)
        self._locked = None

    @property
    def parts(self) -> tuple[Part, ...]:
        """What has been collected, in order."""
        return tuple(self._parts)

    # What follows makes it the text file that Alembic writes its SQL to, each statement at once.

    def write(self, text: str) -> None:
        """Take a statement of Alembic's.

        Raises:
            ValueError: It would end the transaction that the revision is applied in, as autocommit_block does.

        """
        sql = text.strip().removesuffix(";").strip()
        if _OWN_TRANSACTION.match(sql):
            raise ValueError(
                f"found: {sql.split()[0]} in a revision, or autocommit_block; needed: no transaction of its own; "
                "write: what operations has, such as operations.create_index"
            )
        if sql:
            self.statement(sql)

    def flush(self) -> None:
        """Do nothing: nothing is kept back."""


def collect(
    change: Callable[[Operations], None],
    revision: str,
    *,
    requires: int | None = None,
    downward: bool = False,
) -> tuple[Part, ...]:
    """Call a revision's `upgrade` or `downgrade`, and return its parts. No database is asked.

    Args:
        change: The function.
        revision: The revision.
        requires: The schema version that a contract revision requires.
        downward: Whether the revision is undone.

    """
    collector = Collector(revision, requires, downward=downward)
    token = _collecting.set(True)
    try:
        context = MigrationContext.configure(
            dialect_name="postgresql",
            # With the driver's own parameter style a per cent sign would come out doubled.
            dialect_opts={"paramstyle": "named"},
            opts={"as_sql": True, "output_buffer": collector, _OPTION: collector},
        )
    finally:
        _collecting.reset(token)
    change(Operations(context))
    return collector.parts


def collector_of(op: Operations) -> Collector:
    """Return what collects the calls on an `op`.

    Raises:
        TypeError: The `op` is not one that todo_schema gave to a revision.

    """
    collector = op.get_context().opts.get(_OPTION)
    if not isinstance(collector, Collector):
        raise TypeError(
            "found: an op of plain Alembic's; needed: the one that a revision of todo_schema is called with; "
            "write: def upgrade(op), and call upgrade() of todo_schema"
        )
    return collector


def transact(op: Operations, about: str, *statements: str, locks: str | None = None) -> None:
    """Add statements of ours to the transaction that is being collected.

    Args:
        op: What the revision was given.
        about: What they do, as a person reads it.
        statements: The statements; they may be run again.
        locks: The table that they lock, for a transaction of its own.

    """
    for statement in statements:
        collector_of(op).statement(statement, about, locks)
