"""What the history says of revisions that are not done in one transaction: SQL text, and what its rows mean.

Beside `upgrade`, `downgrade`, `stamp` and `adopt` a row's action is one of these:

- `defer`: the version has moved past a deferred revision, which is still to be carried out; `finish`: it has been.
- `start`: a contract revision of several parts has raised the floor, and no more.
- `undo`: the version has moved below an expand revision of several parts, which is still to be undone; `undone`.
- `part 2 of 3`: that part of a revision has been carried out; of a backfill `part 2 of 3 at KEY, 900 rows` while it
  goes on, and `part 2 of 3, 1200 rows` at its end. On the way back `undo 2 of 3`.
- `withdrawn 2 of 3`: that part has been done, and taken back, since rows break the rule that it added.
- `adopt keeps {"name": …}`: an adoption was about to drop an index of somebody else's, to make it again at its end.
"""

import json
import re
from dataclasses import asdict, dataclass

from todo_schema.compatibility import HISTORY_TABLE, Line
from todo_schema.parts import IndexBuild
from todo_schema.quoting import identifier, literal

_KEEPS = "adopt keeps "
_PART = re.compile(r"(part|undo) (\d+) of (\d+)(?:( at (?P<key>.*))?, (?P<rows>\d+) rows)?", re.DOTALL)


@dataclass(frozen=True)
class PartRow:
    """A row of the history that tells of one part.

    Attributes:
        id: The row.
        number: The part's number in its revision, from 1.
        action: The row's action, as it is.
        key: The last key of the last batch, where a backfill goes on; None where the part is done.
        rows: The rows that a backfill has changed.

    """

    id: int
    number: int
    action: str
    key: str | None
    rows: int

    @property
    def done(self) -> bool:
        """Whether the part has been carried out."""
        return self.key is None


def part_action(
    number: int, count: int, *, downward: bool, rows: int | None = None, key: str | None = None
) -> str:
    """Return the action of a part's row."""
    position = f" at {key}" if key is not None else ""
    filled = f"{position}, {rows} rows" if rows is not None else ""
    return f"{'undo' if downward else 'part'} {number} of {count}{filled}"


def part_of(row: tuple[object, ...]) -> PartRow:
    """Return what a row of `parts_query` says."""
    identity, action = int(str(row[0])), str(row[1])
    told = _PART.fullmatch(action)
    assert told is not None  # noqa: S101  # the query asks for no others
    return PartRow(identity, int(told[2]), action, told["key"], int(told["rows"] or 0))


def parts_query(schema: str, line: Line, number: int, checksum: str, *, downward: bool) -> str:
    """Return the query for the parts of a revision that count: id and action of each row, oldest first.

    What was done before the revision was last applied, undone or recorded is over, and what another text of its
    file did is not known to be the same.
    """
    table = f"{identifier(schema)}.{HISTORY_TABLE}"
    kind = "undo" if downward else "part"
    return f"""SELECT id, action FROM {table}
WHERE line = {literal(line)} AND ordinal = {number} AND checksum = {literal(checksum)} AND action ~ '^{kind} [0-9]'
      AND id > (SELECT coalesce(max(id), 0) FROM {table} WHERE line = {literal(line)}
                AND (ordinal = {number} AND action !~ '^({kind}|withdrawn) [0-9]'
                     OR ordinal < {number} AND action IN ('downgrade', 'stamp', 'adopt')))
ORDER BY id"""


def deferred_query(schema: str | None) -> str:
    """Return the query for the ordinals of the expand revisions that are deferred and not finished.

    Without a schema the history is the one that the search_path finds.
    """
    return _open_query(schema, "defer", ("finish",))


def undoing_query(schema: str) -> str:
    """Return the query for the ordinals of the expand revisions that are not undone to the end."""
    return _open_query(schema, "undo", ("undone", "upgrade", "defer"))


def contract_query(schema: str) -> str:
    """Return the query for the newest row of the contract line: action and ordinal."""
    return f"""SELECT action, ordinal FROM {identifier(schema)}.{HISTORY_TABLE}
WHERE line = 'contract' ORDER BY id DESC LIMIT 1"""


def half_contract(action: str | None, ordinal: int, contract: int) -> int | None:
    """Return which contract revision is half applied, or half undone; None for neither.

    Args:
        action: The action of the newest row of the line; None where there is none.
        ordinal: Its ordinal.
        contract: The place of the contract line.

    """
    begun = action is not None and re.match(r"(?:start|part|withdrawn|undo)\b", action) is not None
    return ordinal if begun and ordinal in (contract, contract + 1) else None


def _open_query(schema: str | None, begun: str, ended: tuple[str, ...]) -> str:
    table = HISTORY_TABLE if schema is None else f"{identifier(schema)}.{HISTORY_TABLE}"
    actions = ", ".join(map(literal, (begun, *ended)))
    return f"""SELECT begun.ordinal FROM {table} AS begun
WHERE begun.line = 'expand' AND begun.action = {literal(begun)}
      AND NOT EXISTS (SELECT FROM {table} AS later WHERE later.id > begun.id AND later.line = 'expand'
                      AND later.ordinal = begun.ordinal AND later.action IN ({actions}))
      AND NOT EXISTS (SELECT FROM {table} AS later WHERE later.id > begun.id AND later.line = 'expand'
                      AND {_ENDINGS[begun]})"""


# What makes it pointless to go on: the version has moved below, or somebody has written down where it is. What is
# left of a revision that is half undone stays, whatever is undone or recognised below it, until all tables are gone.
_ENDINGS = {
    "defer": "later.ordinal < begun.ordinal AND later.action IN ('downgrade', 'stamp', 'adopt')",
    "undo": "(later.action = 'stamp' OR later.action = 'downgrade' AND later.ordinal = 0 AND begun.ordinal > 1)",
}


def finish_backfill_statement(schema: str, row: int, action: str) -> str:
    """Return the statement by which the row of a backfill says that it is done."""
    table = f"{identifier(schema)}.{HISTORY_TABLE}"
    return f"""UPDATE {table} SET action = {literal(action)}, duration = clock_timestamp() - applied_at,
    applied_at = clock_timestamp() WHERE id = {row}"""


def withdraw_statement(schema: str, row: int) -> str:
    """Return the statement by which the row of a part says that the part was taken back."""
    table = f"{identifier(schema)}.{HISTORY_TABLE}"
    return f"UPDATE {table} SET action = regexp_replace(action, '^[a-z]+', 'withdrawn') WHERE id = {row}"


def keeping(index: IndexBuild) -> str:
    """Return the action of the row that keeps how an index is made."""
    return f"{_KEEPS}{json.dumps(asdict(index))}"


def kept(action: str) -> IndexBuild:
    """Return the index that such an action keeps."""
    return IndexBuild(**json.loads(action.removeprefix(_KEEPS)))


def kept_query(schema: str) -> str:
    """Return the query for such actions of an adoption that has not come to its end."""
    table = f"{identifier(schema)}.{HISTORY_TABLE}"
    return f"""SELECT DISTINCT action FROM {table} WHERE action LIKE {literal(f"{_KEEPS}%")}
AND id > (SELECT coalesce(max(id), 0) FROM {table} WHERE line = 'expand' AND action = 'adopt')"""
