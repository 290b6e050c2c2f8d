"""Describes what revisions would do to a database as it is now: parts, locks, and how large the tables are."""

from collections.abc import Iterable
from dataclasses import replace

from todo_schema import revisions
from todo_schema.lock_classes import Effect, Related, effect_of, related_query
from todo_schema.parts import Backfill, Part, Transaction, Validation, locks_of, scans_of
from todo_schema.plans import PlannedPart, PlannedStep, TableSize
from todo_schema.quoting import literal
from todo_schema.reports import Revision
from todo_schema.wire import Wire, transaction


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
        related, sizes = survey(wire, schema)
    return tuple(_step(revision, related, sizes) for revision in steps)


def survey(wire: Wire, schema: str) -> tuple[Related, dict[str, TableSize]]:
    """Return what the tables of a schema are locked together with, and how large they are."""
    related: dict[str, list[str]] = {}
    for name, table in wire.fetch(related_query(schema)):
        related.setdefault(str(name), []).append(str(table))
    return related, {size.table: size for size in map(_size, wire.fetch(_sizes_query(schema)))}


def _step(revision: Revision, related: Related, sizes: dict[str, TableSize]) -> PlannedStep:
    parts = [(part, effect_of_part(part, related)) for part in revisions.parts(revision.revision)]
    concerned = {
        name for _, effect in parts for name in (*dict(effect.locks), *effect.scans, *effect.rewrites)
    }
    return PlannedStep(
        revision.revision,
        revision.summary,
        revision.details,
        revisions.render(revision.revision),
        revision.deferred,
        tuple(_described(part, effect) for part, effect in parts),
        tuple(sizes[table] for table in sorted(concerned & sizes.keys())),
    )


def effect_of_part(part: Part, related: Related) -> Effect:
    """Return what a part does to the tables that others use."""
    if not isinstance(part, Transaction):
        return Effect(locks=locks_of(part), scans=scans_of(part))
    effect = effect_of("; ".join(part.statements), related=related)
    # Those of `operations` alone read nothing, which their text does not always tell: a validated CHECK proves it.
    return effect if part.plain else replace(effect, scans=(), rewrites=())


def _described(part: Part, effect: Effect) -> PlannedPart:
    kinds = {Transaction: "transaction", Validation: "validation", Backfill: "backfill"}
    locks = tuple(f"{lock} on {table}" for table, lock in effect.locks)
    kind = kinds.get(type(part), "concurrent")
    return PlannedPart(part.about, kind, locks, effect.scans, effect.rewrites, effect.known)


def _sizes_query(schema: str) -> str:
    return f"""SELECT c.relname::text, c.reltuples::bigint, pg_total_relation_size(c.oid)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = {literal(schema)} AND c.relkind IN ('r', 'p')"""


def _size(row: tuple[object, ...]) -> TableSize:
    table, rows, size = row
    counted = int(str(rows))
    return TableSize(str(table), counted if counted >= 0 else None, int(str(size)))
