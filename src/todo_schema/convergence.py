"""Which changes make tables that somebody else made those of a schema version, and what is in their way.

Pure rules, no I/O: the catalogue as it is, the one that is wanted, and what stands around them lead to changes. These
are found anew before each run, so that one which died is gone on with by the next.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from todo_schema import catalog, column_changes, constraint_changes, index_changes
from todo_schema.adoption_changes import Change, Findings, Phase
from todo_schema.catalog import Catalog
from todo_schema.collecting import transact
from todo_schema.compatibility import ENTITY_TABLES, Line, revision_at
from todo_schema.quoting import identifier, literal
from todo_schema.relations import Relations
from todo_schema.surroundings import Surroundings

if TYPE_CHECKING:
    from alembic.operations import Operations

# What has no change of its own: a revision makes it, with all that it needs.
_WHOLE = ("function ", "statistics ", "trigger ")


def converge(
    existing: Catalog, version: int, contract: int, around: Surroundings, *, widen_keys: bool = False
) -> Findings:
    """Compare tables with those of a schema version, and say what would make them so; `in_order` puts it in order.

    Args:
        existing: Their catalogue.
        version: The schema version.
        contract: The place in the contract line.
        around: What stands around them.
        widen_keys: Whether keys of 32 bits are to become those of 64, which writes their table anew.

    """
    wanted = catalog.entities(catalog.expected(version, contract))
    findings = Findings()
    _whole(existing, wanted, findings)
    _names(wanted, around, findings)
    columns = column_changes.compare(existing, wanted, _later(version), around, widen_keys=widen_keys)
    there = {table for table in ENTITY_TABLES if f"table {table}" in existing}
    relations = [Relations(table, existing, wanted, columns, around) for table in sorted(ENTITY_TABLES)]
    for of_table in relations:
        constraint_changes.compare(of_table)
        index_changes.compare(of_table)
    # Relations first: what is dropped in the same moment would have to be compared with a column's new type.
    for part in (*(of_table.findings for of_table in relations), columns):
        findings.changes += part.changes
        # That a table is missing says it all.
        findings.obstacles += [
            line for line in part.obstacles if catalog.table_of(line.partition(":")[0]) in there
        ]
        findings.kept += part.kept
        findings.retyped |= part.retyped
        findings.resorted |= part.resorted
    findings.changes += _comments(existing, wanted)
    return findings


def in_order(changes: Iterable[Change]) -> list[Change]:
    """Return changes in the order to be made.

    Where indexes have to go for a while they are missed: their table comes last, is altered next and has them again,
    before anything else is waited for.
    """
    listed = list(changes)
    released = {change.table for change in listed if change.phase == Phase.RELEASE}

    def place(change: Change) -> tuple[int, bool, str, int]:
        is_last = change.table in released and change.phase <= Phase.INDEXES
        return max(change.phase, Phase.INDEXES), is_last, change.table, change.phase

    return sorted(listed, key=place)


def _whole(existing: Catalog, wanted: Catalog, findings: Findings) -> None:
    """Compare what no change of ours would mend, and say what is theirs."""
    for fact, value in sorted(wanted.items()):
        if fact.startswith(("table ", *_WHOLE)) and existing.get(fact) != value:
            found = f"found {existing[fact]}" if fact in existing else "missing"
            findings.obstacles.append(f"{fact}: {found}, needed {value}")
    for fact, value in sorted(existing.items()):
        if fact.startswith(("policy ", "security ", *_WHOLE)) and fact not in wanted:
            findings.kept.append(f"{fact}: {value}")


def _names(wanted: Catalog, around: Surroundings, findings: Findings) -> None:
    """Say which tables have columns that are another's, and which names of ours belong to something else."""
    findings.obstacles += [
        f"table {table}: found {what}, needed one by itself" for table, what in around.bent.items()
    ]
    for fact in sorted(wanted):
        kind, _, name = fact.partition(" ")
        taken = around.taken.get(name.partition(".")[2])
        if taken and kind in {"constraint", "index"}:
            findings.obstacles.append(f"{fact}: its name is that of {taken}: rename that")


def _later(version: int) -> dict[str, tuple[str, str]]:
    """Return the columns that revisions after a version add: which revision, and the fact."""
    added: dict[str, tuple[str, str]] = {}
    before = catalog.entities(catalog.expected(version))
    for number in sorted(number for number in catalog.known_versions() if number > version):
        for fact, value in catalog.entities(catalog.expected(number)).items():
            if fact.startswith("column ") and fact not in before:
                added.setdefault(fact, (revision_at(Line.EXPAND, number), value))
    return added


def _comments(existing: Catalog, wanted: Catalog) -> Iterator[Change]:
    """Yield a change for all comments of each table that are missing or say something else."""
    for table in sorted(ENTITY_TABLES):
        texts = {
            fact.removeprefix("comment "): value
            for fact, value in wanted.items()
            if fact.startswith("comment ") and catalog.table_of(fact) == table and existing.get(fact) != value
        }
        if texts:
            about = f"comments of {table}: {len(texts)}"
            gone = [
                f"{name} {existing[f'comment {name}']}" for name in texts if f"comment {name}" in existing
            ]
            about += f", in place of these: {', '.join(gone)}" if gone else ""
            yield Change(Phase.MOMENT, table, about, partial(_comment, about, table, texts))


def _comment(about: str, table: str, texts: dict[str, str], op: Operations) -> None:
    for name, text in texts.items():
        _, _, column = name.partition(".")
        what = f"COLUMN {identifier(table)}.{identifier(column)}" if column else f"TABLE {identifier(table)}"
        transact(op, about, f"COMMENT ON {what} IS {literal(json.loads(text))}", locks=table)
