"""The plain statements of a revision, each with what it meets: tables that hold rows, and what is known of those."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from todo_schema.lock_classes import Effect, effects_of
from todo_schema.parts import Part, Transaction, Validation
from todo_schema.sql_text import NAME

_PROOF = rf"CONSTRAINT ({NAME}) CHECK \( ?({NAME}) IS NOT NULL ?\) NOT VALID$"
_PROVEN = rf"ALTER (?:COLUMN )?({NAME}) SET NOT NULL$"


class Statement(NamedTuple):
    """One thing that a statement does, and what it meets.

    Attributes:
        sql: The whole statement, in one line.
        effect: What this does.
        in_block: Whether it is in a `DO` block.
        tables: The tables that it locks and that may hold rows.
        costly: Those of them that it may read or write from end to end.

    """

    sql: str
    effect: Effect
    in_block: bool
    tables: tuple[str, ...]
    costly: tuple[str, ...]

    @property
    def may_create(self) -> bool:
        """Whether it creates a table unless there is one of that name."""
        return re.search(r"\bCREATE (\w+ )?TABLE IF NOT EXISTS\b", self.sql, re.IGNORECASE) is not None

    def groups(self, pattern: str) -> list[str]:
        """The groups of a pattern in it, without the quotes of names; `...` for each where it is not found."""
        compiled = re.compile(pattern, re.IGNORECASE)
        found = compiled.search(self.sql)
        return [(group or "").strip(' "') for group in found.groups()] if found else ["..."] * compiled.groups


@dataclass
class _Before:
    """What has been done before a statement: tables created, NULLs forbidden to new rows, and to all."""

    created: set[str] = field(default_factory=set)
    forbidden: dict[tuple[str, str], str] = field(default_factory=dict)
    proven: set[tuple[str, str]] = field(default_factory=set)

    def met_by(self, sql: str, effect: Effect, *, in_block: bool) -> Statement:
        tables = tuple(name for name, _ in effect.locks if name not in self.created)
        costly = tuple(name for name in (*effect.scans, *effect.rewrites) if name not in self.created)
        done = Statement(" ".join(sql.split()), effect, in_block, tables, tuple(dict.fromkeys(costly)))
        proven = effect.acts == ("SET NOT NULL",) and (*tables, *done.groups(_PROVEN)) in self.proven
        # Nor is the other table read for an empty one, which refers to nothing.
        empty = effect.acts == ("ADD FOREIGN KEY",) and effect.locks[0][0] in self.created
        return done._replace(costly=()) if proven or empty else done

    def followed_by(self, statement: Statement) -> None:
        if not statement.may_create:
            self.created |= {*statement.effect.creates}
        if statement.effect.acts == ("ADD CHECK NOT VALID",):
            name, column = statement.groups(_PROOF)
            self.forbidden |= {(table, name): column for table in statement.tables}
        if "DROP CONSTRAINT" in statement.effect.acts:
            self.proven = {(table, column) for table, column in self.proven if table not in statement.tables}

    def validated(self, part: Validation) -> None:
        if column := self.forbidden.get((part.table, part.constraint)):
            self.proven.add((part.table, column))


def statements_of(revision: Sequence[str | Part]) -> Iterator[Statement]:
    """Yield what the transactions of a revision consist of.

    Args:
        revision: Its parts, or plain statements.

    """
    before = _Before()
    for part in revision:
        if isinstance(part, Validation):
            before.validated(part)
        plain = part.statements if isinstance(part, Transaction) else (part,)
        for sql in (sql for sql in plain if isinstance(sql, str)):
            done = effects_of(sql)
            in_block = any("DO" in effect.acts for effect in done)
            created = set(before.created)
            for effect in done:
                statement = before.met_by(sql, effect, in_block=in_block)
                yield statement
                before.followed_by(statement)
            # What a block creates it may create under a condition: nothing is known of it afterwards.
            before.created = created if in_block else before.created
