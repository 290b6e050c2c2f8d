"""The constraints and indexes of a table that is to be adopted, beside those that are wanted."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from todo_schema.adoption_changes import Change, Findings, Phase
from todo_schema.catalog import Catalog
from todo_schema.collecting import transact
from todo_schema.parts import IndexBuild
from todo_schema.quoting import identifier
from todo_schema.surroundings import Surroundings

if TYPE_CHECKING:
    from alembic.operations import Operations

# What an adoption that died has left: `operations.set_not_null` calls its rule so, and we what makes room.
OURS = ("todo_schema_not_null_", "todo_schema_old_")

_UNIQUE = re.compile(r"(?:PRIMARY KEY|UNIQUE) (?P<columns>\(.*\))")
_INDEX = re.compile(
    r'CREATE (?P<unique>UNIQUE )?INDEX (?:"(?:[^"]|"")*"|[^" ]+) ON (?:ONLY )?\S+ (?P<definition>USING .*?)'
    r"(?P<invalid> \(invalid\))?",
    re.DOTALL,
)


class Index:
    """An index as its fact in a catalogue describes it."""

    def __init__(self, table: str, name: str, fact: str) -> None:
        told = _INDEX.fullmatch(fact)
        assert told is not None  # noqa: S101  # PostgreSQL's own words
        self.invalid = told["invalid"] is not None
        self.statement = fact.removesuffix(" (invalid)")
        self.build = IndexBuild(name, table, told["definition"], told["unique"] is not None)

    def does(self, other: IndexBuild) -> bool:
        """Tell whether it is all that another would be."""
        same = self.build.definition == other.definition
        return same and not self.invalid and (self.build.unique or not other.unique)

    def is_like(self, other: IndexBuild) -> bool:
        """Tell whether it is the same but for its name."""
        return self.does(other) and self.build.unique == other.unique


class Relations:
    """What a table has, and should have; and what becomes of it.

    Attributes:
        table: The table.
        rules: Its constraints as they are wanted, by name.
        indexes: Its indexes as they are wanted, by name.
        their_rules: Those that are there.
        their_indexes: Those that are there.
        around: What stands around the tables.
        retyped: Its columns whose type becomes another.
        resorted: Those of them whose indexes that would build anew.
        ours: Its columns as they are wanted.
        findings: What has been found out.

    """

    def __init__(
        self, table: str, existing: Catalog, wanted: Catalog, columns: Findings, around: Surroundings
    ) -> None:
        self.table = table
        self.around = around
        self.findings = Findings()
        self.retyped = _columns_of(table, columns.retyped)
        self.resorted = _columns_of(table, columns.resorted)
        self.ours = frozenset(_of(table, "column", wanted))
        self.rules = _of(table, "constraint", wanted)
        self.their_rules = _of(table, "constraint", existing)
        self.indexes, self.their_indexes = (
            {name: Index(table, name, fact) for name, fact in _of(table, "index", facts).items()}
            for facts in (wanted, existing)
        )

    def columns(self, name: str) -> frozenset[str]:
        """Return the columns that a constraint or an index reads."""
        return self.around.columns.get(f"{self.table}.{name}", frozenset())

    def keeps_unique(self, columns: str) -> bool:
        """Tell whether something of ours keeps columns unique, `(id)`."""
        if columns in map(unique_columns, self.rules.values()):
            return True
        wanted = f"USING btree {columns}"
        return any(index.build.unique and index.build.definition == wanted for index in self.indexes.values())

    def change(self, phase: Phase, about: str, make: Callable[[Operations], None], **more: Any) -> None:
        """Add a change."""
        self.findings.changes.append(Change(phase, self.table, about, make, **more))

    def moment(self, about: str, action: str) -> None:
        """Add a change of a moment: an SQL statement."""
        self.change(Phase.MOMENT, about, lambda op: transact(op, about, action, locks=self.table))

    def leftover(self, kind: str, name: str, fact: str, drop: Callable[[Operations], None]) -> None:
        """Say that something goes since ours does the same, unless somebody's foreign key rests on it."""
        if whose := self.around.key_targets.get(f"{self.table}.{name}"):
            self.findings.kept.append(f"{kind} {self.table}.{name}: {fact}, for {whose} rests on it")
        else:
            self.change(Phase.LEFTOVERS, f"{kind} {name} is dropped, for ours does the same: {fact}", drop)

    def keep(self, kind: str, name: str, fact: str) -> None:
        """Say that something of theirs stays."""
        self.findings.kept.append(f"{kind} {self.table}.{name}: {fact}")

    def obstacle(self, kind: str, name: str, what: str) -> None:
        """Say what is in the way."""
        self.findings.obstacles.append(f"{kind} {self.table}.{name}: {what}")


def unique_columns(rule: str) -> str | None:
    """Return the columns that a constraint keeps unique, `(id)`; None where it is of another kind."""
    told = _UNIQUE.fullmatch(rule)
    return told["columns"] if told else None


def repeated(table: str, columns: str) -> str:
    """Return the condition of rows that have the same values as others: `(email)` of `users`."""
    inner = columns[1:-1]
    return f"({inner}) IN (SELECT {inner} FROM {identifier(table)} GROUP BY {inner} HAVING count(*) > 1)"


def _of(table: str, kind: str, catalog: Catalog) -> dict[str, str]:
    prefix = f"{kind} {table}."
    return {name.removeprefix(prefix): fact for name, fact in catalog.items() if name.startswith(prefix)}


def _columns_of(table: str, names: set[str]) -> frozenset[str]:
    return frozenset(name.removeprefix(f"{table}.") for name in names if name.startswith(f"{table}."))
