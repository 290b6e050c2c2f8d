"""What a database at a schema version must contain, and how a real one differs from it.

A catalogue is a set of facts, each a name and a definition in PostgreSQL's own words:
`column tasks.title` is `text not null`. The facts of each released version are a file beside the revisions,
read off a database that the revisions made; those of a contract revision are what it takes away and adds.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from todo_schema import column_facts
from todo_schema.compatibility import (
    BOOKKEEPING_TABLES,
    ENTITY_TABLES,
    Line,
    contract_ordinal_of,
    ordinal_of,
    revision_at,
)
from todo_schema.quoting import identifier, literal
from todo_schema.wire import Wire, transaction

_FOLDER = Path(__file__).parent / "migrations" / "catalog"
_SEPARATOR = " = "

Catalog = dict[str, str]


@dataclass(frozen=True)
class Comparison:
    """How a catalogue differs from the one that its version asks for.

    Attributes:
        differences: What is missing or defined otherwise: something of ours may fail.
        extras: What is there beyond it, and what serves as well: somebody else's index on a table of ours, a default.

    """

    differences: tuple[str, ...]
    extras: tuple[str, ...]

    @property
    def is_equal(self) -> bool:
        """Whether there is no difference of either kind."""
        return not self.differences and not self.extras


def known_versions() -> list[int]:
    """Return the schema versions whose catalogue this package knows, newest first."""
    ordinals = (ordinal_of(file.stem) for file in _FOLDER.glob("*.txt"))
    return sorted((ordinal for ordinal in ordinals if ordinal is not None), reverse=True)


@dataclass(frozen=True)
class Contract:
    """A contract revision, as far as it can be known without running it.

    Attributes:
        number: Its place in the contract line, 1 for `c001`.
        requires: The schema version that a database must have before it is applied.
        floor: The oldest schema version whose package may use the database afterwards.
        removed: The facts that it takes away.
        added: The facts that it adds.

    """

    number: int
    requires: int
    floor: int
    removed: frozenset[tuple[str, str]]
    added: frozenset[tuple[str, str]]

    @property
    def revision(self) -> str:
        """The revision, `c001`."""
        return revision_at(Line.CONTRACT, self.number)

    def apply(self, before: Catalog) -> Catalog:
        """Return the catalogue after it."""
        kept = {name: value for name, value in before.items() if (name, value) not in self.removed}
        return kept | dict(self.added)


@cache
def contracts() -> tuple[Contract, ...]:
    """Return the contract revisions of this package, in order."""
    ordinals = sorted(filter(None, (contract_ordinal_of(file.stem) for file in _FOLDER.glob("c*.txt"))))
    return tuple(_read_contract(number) for number in ordinals)


def _read_contract(number: int) -> Contract:
    text = (_FOLDER / f"{revision_at(Line.CONTRACT, number)}.txt").read_text(encoding="utf-8")
    requires, floor, *lines = (line.split(_SEPARATOR, 1) for line in text.splitlines())
    changes = [(name[:2], name[2:], value) for name, value in lines]
    return Contract(
        number,
        int(requires[1]),
        int(floor[1]),
        frozenset((name, value) for sign, name, value in changes if sign == "- "),
        frozenset((name, value) for sign, name, value in changes if sign == "+ "),
    )


def floor_after(number: int) -> int:
    """Return the floor that the contract line asks for where it is at a place that this package knows."""
    return max((step.floor for step in contracts() if step.number <= number), default=1)


@cache
def expected(version: int, contract: int = 0) -> Catalog:
    """Return the catalogue of a database at this schema version, and at this place of the contract line.

    Raises FileNotFoundError where the version is unknown; contract revisions that are unknown change nothing.
    """
    lines = (_FOLDER / f"{version:03d}.txt").read_text(encoding="utf-8").splitlines()
    facts = dict(line.split(_SEPARATOR, 1) for line in lines)
    for step in contracts():
        if step.number <= contract:
            facts = step.apply(facts)
    return facts


def unsettled(revisions: Collection[int]) -> frozenset[str]:
    """Return the names of the facts that these expand revisions change: half done, nobody knows which of them hold."""
    known = set(known_versions())
    changed: set[str] = set()
    for number in revisions:
        if number in known:
            before = expected(number - 1) if number - 1 in known else {}
            changed |= {name for name, _ in before.items() ^ expected(number).items()}
    return frozenset(changed)


def without(catalog: Catalog, names: Collection[str]) -> Catalog:
    """Return a catalogue without some facts."""
    return {name: value for name, value in catalog.items() if name not in names}


def render(catalog: Catalog) -> str:
    """Return the catalogue as the text of its file, sorted by name."""
    return "".join(f"{name}{_SEPARATOR}{catalog[name]}\n" for name in sorted(catalog))


def render_contract(requires: int, floor: int, before: Catalog, after: Catalog) -> str:
    """Return what a contract revision changes as the text of its file."""
    changes = [f"- {name}{_SEPARATOR}{value}" for name, value in sorted(before.items() - after.items())]
    changes += [f"+ {name}{_SEPARATOR}{value}" for name, value in sorted(after.items() - before.items())]
    return "".join(
        f"{line}\n" for line in [f"requires{_SEPARATOR}{requires}", f"floor{_SEPARATOR}{floor}", *changes]
    )


def entities(catalog: Catalog) -> Catalog:
    """Return the part of a catalogue that is the entities', with the functions that they need, without bookkeeping."""
    return {
        name: value
        for name, value in catalog.items()
        if name.startswith("function ") or table_of(name) in ENTITY_TABLES
    }


def names_only(catalog: Catalog) -> frozenset[str]:
    """Return the tables and columns of a catalogue: what a package needs to find."""
    return frozenset(name for name in catalog if name.startswith(("table ", "column ")))


def compare(found: Catalog, wanted: Catalog) -> Comparison:
    """Compare what a database has with what it should have, a line for each difference."""
    absent = {
        name.removeprefix("table ") for name in wanted.keys() - found.keys() if name.startswith("table ")
    }
    differences: list[str] = []
    more: list[str] = []
    for name in sorted(wanted):
        if name not in found and table_of(name) in absent and not name.startswith("table "):
            continue  # that the table is missing says it all
        if name not in found:
            differences.append(f"{name}: missing, needed {wanted[name]}")
        elif found[name] != wanted[name]:
            serves = name.startswith("column ") and column_facts.serves(found[name], wanted[name])
            (more if serves else differences).append(f"{name}: found {found[name]}, needed {wanted[name]}")
    extras = more + [
        f"{name}: found {found[name]}, not expected" for name in sorted(found.keys() - wanted.keys())
    ]
    return Comparison(tuple(differences), tuple(extras))


def read(wire: Wire, schema: str) -> Catalog:
    """Read the catalogue of our tables. The transaction's search_path must be the schema alone.

    Left out is what operators may set as they like: owners, grants, storage parameters, statistics targets,
    the order of columns; and the NOT NULL constraints that PostgreSQL 18 lists beside the columns themselves.
    """
    names = ", ".join(literal(name) for name in sorted(ENTITY_TABLES | BOOKKEEPING_TABLES))
    rows = wire.fetch(f"""
        WITH ours AS (
            SELECT c.oid, c.relname, c.relkind, c.relpersistence, c.relrowsecurity
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = {literal(schema)} AND c.relname IN ({names})
              AND c.relkind IN ('r', 'p', 'v', 'm', 'f'))
        SELECT 'table ' || relname,
               CASE relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view'
                            WHEN 'm' THEN 'materialized view' ELSE 'foreign table' END
               || CASE relpersistence WHEN 'p' THEN '' WHEN 'u' THEN ' unlogged' ELSE ' temporary' END
        FROM ours
        UNION ALL
        SELECT 'security ' || relname, 'row level' FROM ours WHERE relrowsecurity
        UNION ALL
        SELECT 'column ' || relname || '.' || a.attname,
               format_type(a.atttypid, a.atttypmod)
               || CASE WHEN a.attcollation <> t.typcollation THEN ' collate ' || l.collname ELSE '' END
               || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END
               || CASE a.attidentity WHEN 'd' THEN ' generated by default as identity'
                                     WHEN 'a' THEN ' generated always as identity' ELSE '' END
               || CASE WHEN a.attgenerated <> '' THEN ' generated as ' || pg_get_expr(d.adbin, d.adrelid)
                       ELSE coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '') END
        FROM ours JOIN pg_attribute a ON a.attrelid = ours.oid AND a.attnum > 0 AND NOT a.attisdropped
             JOIN pg_type t ON t.oid = a.atttypid
             LEFT JOIN pg_collation l ON l.oid = a.attcollation
             LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        UNION ALL
        SELECT 'comment ' || relname || coalesce('.' || a.attname, ''), to_json(d.description)::text
        FROM ours JOIN pg_description d ON d.objoid = ours.oid AND d.classoid = 'pg_class'::regclass
             LEFT JOIN pg_attribute a ON a.attrelid = ours.oid AND a.attnum = d.objsubid AND d.objsubid > 0
        UNION ALL
        SELECT 'constraint ' || relname || '.' || k.conname, pg_get_constraintdef(k.oid)
        FROM ours JOIN pg_constraint k ON k.conrelid = ours.oid AND k.contype IN ('p', 'u', 'f', 'c', 'x')
        UNION ALL
        SELECT 'index ' || ours.relname || '.' || i.relname,
               pg_get_indexdef(i.oid, 0, true)
               || CASE WHEN x.indisvalid AND x.indisready THEN '' ELSE ' (invalid)' END
        FROM ours JOIN pg_index x ON x.indrelid = ours.oid JOIN pg_class i ON i.oid = x.indexrelid
        WHERE NOT EXISTS (SELECT FROM pg_constraint k
                          WHERE k.conindid = x.indexrelid AND k.contype IN ('p', 'u', 'x'))
        UNION ALL
        SELECT 'trigger ' || relname || '.' || g.tgname,
               pg_get_triggerdef(g.oid, true) || CASE g.tgenabled WHEN 'D' THEN ' (disabled)' ELSE '' END
        FROM ours JOIN pg_trigger g ON g.tgrelid = ours.oid AND NOT g.tgisinternal
        UNION ALL
        SELECT 'statistics ' || relname || '.' || x.stxname,
               array_to_string(x.stxkind, '') || ' on ' || (
                   SELECT string_agg(a.attname, ', ' ORDER BY a.attnum) FROM pg_attribute a
                   WHERE a.attrelid = ours.oid AND a.attnum = ANY (x.stxkeys))
        FROM ours JOIN pg_statistic_ext x ON x.stxrelid = ours.oid
        UNION ALL
        SELECT 'function ' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')',
               'returns ' || pg_get_function_result(p.oid) || ' as ' || to_json(p.prosrc)
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = {literal(schema)} AND p.proname LIKE 'todo\\_schema\\_%' AND p.prokind = 'f'
        UNION ALL
        SELECT 'policy ' || relname || '.' || p.polname, coalesce(pg_get_expr(p.polqual, p.polrelid), 'true')
        FROM ours JOIN pg_policy p ON p.polrelid = ours.oid""")
    return {str(name): str(value) for name, value in rows}


def read_alone(wire: Wire, schema: str) -> Catalog:
    """Read the catalogue in a transaction of its own, on a connection that is in none."""
    with transaction(wire):
        wire.run(f"SET LOCAL search_path = {identifier(schema)}")
        return read(wire, schema)


def table_of(name: str) -> str:
    """Return the table of a fact, `tasks` of `column tasks.title`."""
    return name.split(" ", 1)[1].split(".", 1)[0]
