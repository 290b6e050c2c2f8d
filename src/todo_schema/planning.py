"""Describes what revisions would do to a database as it is now: parts, locks, and how large the tables are."""

from collections.abc import Iterable

from todo_schema import revisions
from todo_schema.lock_classes import effect_of, related_query
from todo_schema.parts import Backfill, Lock, Part, Transaction, Validation, locks_of, scans_of
from todo_schema.plans import PlannedPart, PlannedStep, TableSize
from todo_schema.quoting import literal
from todo_schema.reports import Revision
from todo_schema.wire import Wire, transaction

_Related = dict[str, list[str]]


def planned(wire: Wire, schema: str, steps: Iterable[Revision]) -> tuple[PlannedStep, ...]:
    """Describe revisions.

    Args:
        wire: A connection in no transaction.
        schema: The schema of the installation.
        steps: The revisions.

    """
    steps = tuple(steps)
    if not steps:
        return ()
    with transaction(wire):
        related: _Related = {}
        for name, table in wire.fetch(related_query(schema)):
            related.setdefault(str(name), []).append(str(table))
        sizes = {size.table: size for size in map(_size, wire.fetch(_sizes_query(schema)))}
    return tuple(_step(revision, related, sizes) for revision in steps)


def _step(revision: Revision, related: _Related, sizes: dict[str, TableSize]) -> PlannedStep:
    parts = revisions.parts(revision.revision)
    described = tuple(_part(part, related) for part in parts)
    concerned = {name for part in parts for name in _tables(part, related)}
    return PlannedStep(
        revision.revision,
        revision.summary,
        revision.details,
        revisions.render(revision.revision),
        revision.deferred,
        described,
        tuple(sizes[table] for table in sorted(concerned & sizes.keys())),
    )


def _part(part: Part, related: _Related) -> PlannedPart:
    if isinstance(part, Transaction):
        effect = effect_of("; ".join(part.statements), related=related)
        # Those of `operations` alone read nothing, which their text does not always tell: a validated CHECK proves it.
        scans, rewrites = (effect.scans, effect.rewrites) if part.plain else ((), ())
        return PlannedPart(part.about, "transaction", _named(effect.locks), scans, rewrites, effect.known)
    kind = {Validation: "validation", Backfill: "backfill"}.get(type(part), "concurrent")
    return PlannedPart(part.about, kind, _named(locks_of(part)), scans_of(part))


def _named(locks: Iterable[tuple[str, Lock]]) -> tuple[str, ...]:
    return tuple(f"{lock} on {table}" for table, lock in locks)


def _tables(part: Part, related: _Related) -> set[str]:
    if isinstance(part, Transaction):
        effect = effect_of("; ".join(part.statements), related=related)
        return {table for table, _ in effect.locks} | {*effect.scans, *effect.rewrites}
    return {table for table, _ in locks_of(part)}


def _sizes_query(schema: str) -> str:
    return f"""SELECT c.relname::text, c.reltuples::bigint, pg_total_relation_size(c.oid)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = {literal(schema)} AND c.relkind IN ('r', 'p')"""


def _size(row: tuple[object, ...]) -> TableSize:
    table, rows, size = row
    counted = int(str(rows))
    return TableSize(str(table), counted if counted >= 0 else None, int(str(size)))
