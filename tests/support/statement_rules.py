"""What a revision may not say in plain SQL, because a live service would stall, and what to write for it.

A table that the revision itself creates holds no rows yet, and nobody waits for it: of that, anything may be said.
Each rule is a function whose docstring is its reason, and whose answer is what to write instead.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.support.revision_statements import Statement, statements_of
from todo_schema.parts import Part
from todo_schema.sql_text import NAME

_N = rf"({NAME})"
_COLUMNS = r"\((.*?)\)"
_COMMA = r",\s*(?![^()]*\))"  # in no parentheses
_ADD = rf"ADD (?:CONSTRAINT {_N} )?"

Advice = Callable[[Statement], str]


@dataclass(frozen=True)
class Rule:
    """Refuses some acts on a table that may hold rows.

    Attributes:
        acts: What is refused.
        advice: The function.
        whole_table: Whether it is refused only where all of a table may be read or written.
        unless: The beginning of what `operations` itself writes for want of anything better.

    """

    acts: frozenset[str]
    advice: Advice
    whole_table: bool = False
    unless: str | None = None

    def refuses(self, statement: Statement) -> bool:
        """Whether a statement breaks this rule."""
        if self.unless is not None and statement.sql.startswith(self.unless):
            return False
        met = statement.costly if self.whole_table else statement.tables
        return bool(met) and not self.acts.isdisjoint(statement.effect.acts)


RULES: list[Rule] = []


def _rule(*acts: str, whole_table: bool = False, unless: str | None = None) -> Callable[[Advice], Advice]:
    def add(advice: Advice) -> Advice:
        RULES.append(Rule(frozenset(acts), advice, whole_table, unless))
        return advice

    return add


def refusals(revision: Sequence[str | Part], *, removes: bool = False) -> list[str]:
    """Say what a revision may not do as it does, a line for each statement: what is wrong, and what to write instead.

    Args:
        revision: Its parts, or plain statements of one transaction.
        removes: Whether it may remove what older packages use: a contract revision may, and the way back.

    """
    rules = [rule for rule in RULES if not (removes and rule.advice is removal)]
    lines: dict[str, str] = {}
    for statement in statements_of(revision):
        of_form = next((advice for advice in (unknown, timeout, there, replaced) if advice(statement)), None)
        advice = of_form or next((rule.advice for rule in rules if rule.refuses(statement)), None)
        if advice is None and statement.costly:
            advice = whole_table
        if advice is not None:
            lines.setdefault(statement.sql, f"{statement.sql[:90]}: {advice.__doc__} {advice(statement)}")
    return list(lines.values())


def unknown(statement: Statement) -> str:
    """Nobody can say what it locks, as its form is not known."""
    if statement.effect.known:
        return ""
    return "Write it in a form of todo_schema.lock_rules, or add the form there and to tests/support/lock_cases.py."


def timeout(statement: Statement) -> str:
    """The runner limits how long others wait behind a revision, and tries again."""
    return "Leave it out." if "SET" in statement.effect.acts and "timeout" in statement.sql.lower() else ""


def there(statement: Statement) -> str:
    """A table that is there already may hold rows, and may be another one."""
    return "Leave IF NOT EXISTS out: what was applied is not applied again." if statement.may_create else ""


def replaced(statement: Statement) -> str:
    """A deferred revision may be run after a later one, and would put its older text back."""
    if statement.in_block:
        return ""  # operations.replace_function and replace_trigger look first
    if "CREATE OR REPLACE FUNCTION" in statement.effect.acts:
        return _write("replace_function", *statement.groups(r"REPLACE \w+ (.*?\)) (.*)"))
    if "CREATE OR REPLACE TRIGGER" in statement.effect.acts:
        name, moment, table, action = statement.groups(rf"TRIGGER {_N} (.*) ON {_N} (.*)")
        return _write("replace_trigger", name, table, f"{moment} {action}")
    return ""


@_rule("CREATE INDEX", "CREATE INDEX CONCURRENTLY")
def index(statement: Statement) -> str:
    """Every writer waits until the index is built, and CONCURRENTLY fails in a transaction."""
    unique, name, table, using, columns, include, where = statement.groups(
        rf"CREATE (UNIQUE )?INDEX (?:CONCURRENTLY )?(?:IF NOT EXISTS )?(?:{_N} )?ON (?:ONLY )?{_N} ?"
        rf"(?:USING (\w+) ?)?{_COLUMNS}(?: INCLUDE ?{_COLUMNS})?(?: WHERE ([^;]*))?(?:;|$)"
    )
    return _write(
        "create_index",
        name or "ix_...",
        table,
        _list(columns),
        unique=unique == "UNIQUE",
        where=where,
        using="" if using.lower() == "btree" else using,
        include=_list(include) if include else (),
    )


@_rule("DROP INDEX", "DROP INDEX CONCURRENTLY")
def index_drop(statement: Statement) -> str:
    """Everybody waits behind it, as it waits for every reader of its table; and CONCURRENTLY fails in a transaction."""
    return _write("drop_index", statement.tables[0], "...")


@_rule("ADD CHECK")
def check(statement: Statement) -> str:
    """All rows are compared while nobody can read or write the table."""
    name, condition = statement.groups(rf"{_ADD}CHECK ?\((.*)\)")
    return _write("add_check", name or "ck_...", statement.tables[0], condition)


@_rule("ADD FOREIGN KEY", whole_table=True)
def foreign_key(statement: Statement) -> str:
    """All rows are compared while nobody can write either table."""
    name, columns, target, keys, ondelete = statement.groups(
        rf"{_ADD}FOREIGN KEY ?{_COLUMNS} REFERENCES {_N} ?(?:{_COLUMNS})?"
        r"(?: ON DELETE (CASCADE|RESTRICT|NO ACTION|SET NULL|SET DEFAULT))?"
    )
    names = name or "fk_...", statement.tables[0], _list(columns), target, _list(keys or "id")
    return _write("add_foreign_key", *names, ondelete=ondelete)


@_rule("SET NOT NULL", "ADD NOT NULL", whole_table=True)
def not_null(statement: Statement) -> str:
    """All rows are looked through while nobody can read or write the table."""
    column, other = statement.groups(rf"ALTER (?:COLUMN )?{_N} SET NOT NULL|NOT NULL {_N}")
    return _write("set_not_null", statement.tables[0], column or other)


@_rule("ADD UNIQUE", "ADD PRIMARY KEY")
def unique(statement: Statement) -> str:
    """Nobody can read or write the table until the index behind it is built."""
    name, columns = statement.groups(rf"{_ADD}(?:UNIQUE|PRIMARY KEY)[^(]*{_COLUMNS}")
    also = ", and operations.set_not_null" if "ADD PRIMARY KEY" in statement.effect.acts else ""
    return _write("add_unique", name or "uq_...", statement.tables[0], _list(columns)) + also


@_rule("ADD EXCLUDE")
def exclusion(statement: Statement) -> str:
    """Nobody can read or write the table until the index behind it is built, which no operation can do otherwise."""
    return "Write a new table with that rule, and fill it from a service."


@_rule("ALTER COLUMN TYPE")
def other_type(statement: Statement) -> str:
    """The table is written anew while nobody can use it, and what older packages have prepared fails."""
    table, (column,) = statement.tables[0], statement.groups(rf"ALTER (?:COLUMN )?{_N} (?:SET DATA )?TYPE ")
    return (
        f'Write a new column, a backfill and a contract revision: operations.add_column(op, "{table}", '
        f'sa.Column("{column}_new", ...)), operations.replace_trigger that keeps both alike, operations.backfill, and '
        "the old one is dropped in migrations/contract."
    )


@_rule("ADD COLUMN", whole_table=True)
def new_column(statement: Statement) -> str:
    """All rows are written or read while nobody can use the table."""
    table, (column,) = statement.tables[0], statement.groups(rf"ADD (?:COLUMN )?(?:IF NOT EXISTS )?{_N}")
    return (
        f'Write operations.add_column(op, "{table}", sa.Column("{column}", ..., nullable=True)), '
        f'operations.set_default(op, "{table}", "{column}", "..."), '
        f'operations.backfill(op, "{table}", {{"{column}": "..."}}, where="{column} IS NULL"), and its rules by '
        "operations.set_not_null, add_check, add_unique or add_foreign_key."
    )


@_rule(
    "DROP TABLE", "DROP COLUMN", "DROP VIEW", "DROP SEQUENCE", "RENAME TABLE", "RENAME COLUMN", "SET SCHEMA"
)
def removal(statement: Statement) -> str:
    """Older packages still use it."""
    return "Write a contract revision: make revision ID=c... M='...'"


@_rule("UPDATE")
def update(statement: Statement) -> str:
    """Each row that it changes stays locked until the revision is committed."""
    table, changes, where = statement.groups(rf"UPDATE (?:ONLY )?{_N} SET (.*?)(?: WHERE (.*))?$")
    pairs = [change.partition(" = ") for change in re.split(_COMMA, changes)]
    return _write("backfill", table, {column: value for column, _, value in pairs}, where=where or "...")


@_rule("DELETE")
def delete(statement: Statement) -> str:
    """Each row that it deletes stays locked until the revision is committed."""
    return "Let a service delete them in batches, and a preflight find what is left: operations.violation."


@_rule("VALIDATE CONSTRAINT")
def validation(statement: Statement) -> str:
    """All rows are compared while the locks of the statements before it are held."""
    return "Write operations.add_check or operations.add_foreign_key, which do it in a part of its own."


@_rule("LOCK TABLE", unless="DO $todo_schema$ BEGIN IF random() < 0.5 THEN LOCK TABLE")
def lock(statement: Statement) -> str:
    """Others wait until the revision is committed."""
    return "Leave it out: each statement takes the lock that it needs."


@_rule("TRUNCATE", "VACUUM", "VACUUM FULL", "CLUSTER", "REINDEX", "REINDEX CONCURRENTLY")
def maintenance(statement: Statement) -> str:
    """It stalls who uses the table, or fails in a transaction, and the schema is the same afterwards."""
    return "Leave it to who runs the database; for a new index, operations.create_index and operations.drop_index."


def whole_table(statement: Statement) -> str:
    """A whole table is read or written in one transaction, whose locks are held as long."""
    return "Write a trigger for new rows, and operations.backfill for those that are there."


def _list(columns: str) -> list[str]:
    return [column.strip(' "') for column in re.split(_COMMA, columns)]


def _write(operation: str, *arguments: object, **options: object) -> str:
    """Return the call of an operation, to be pasted."""
    given = ["op", *(json.dumps(argument, ensure_ascii=False) for argument in arguments)]
    given += [
        f"{name}={'True' if value is True else json.dumps(value)}" for name, value in options.items() if value
    ]
    return f"Write operations.{operation}({', '.join(given)})"
