"""What is said about a database that this package may not use as it is."""

import shlex
from collections.abc import Callable

from todo_schema import catalog
from todo_schema.catalog import Catalog, Comparison
from todo_schema.compatibility import PACKAGE_VERSION, SCHEMA_VERSION, State
from todo_schema.errors import (
    ForeignVersionError,
    SchemaDriftError,
    SchemaOutdatedError,
    SchemaTooNewError,
    UnversionedSchemaError,
)
from todo_schema.inspection import Found

_SHOWN = 10


def refuse(found: Found) -> None:
    """Raise where nobody may go on: the database has moved past us, or its tables are gone."""
    if found.state is State.TOO_NEW:
        raise too_new(found)
    missing = _tables_of(found) - found.tables
    if missing:
        lines = tuple(f"table {table}: missing" for table in sorted(missing))
        raise drifted(found, Comparison(lines, ()))


def _tables_of(found: Found) -> frozenset[str]:
    """Return the entities' tables that a database at a version has, as far as this package needs them."""
    known = max((known for known in catalog.known_versions() if known <= (found.version or 0)), default=None)
    if known is None:
        return frozenset()
    facts = catalog.entities(catalog.expected(known, found.contract))
    return frozenset(name.removeprefix("table ") for name in facts if name.startswith("table "))


def require_usable(found: Found) -> None:
    """Raise unless this package can work with the database as it is now.

    Raises:
        SchemaOutdatedError: It is empty or older than this package.
        SchemaTooNewError: It has dropped what this package needs.
        SchemaDriftError: A table of ours is missing.

    """
    refuse(found)
    if found.state in (State.EMPTY, State.BEHIND):
        raise outdated(found)


def is_usable(found: Found) -> bool:
    """Tell whether this package may use the database as it is now."""
    return found.state in (State.CURRENT, State.AHEAD) and not _tables_of(found) - found.tables


def outdated(found: Found) -> SchemaOutdatedError:
    """Say that the database is older than the package."""
    has = "none of our tables" if found.state is State.EMPTY else f"schema {found.version}"
    return SchemaOutdatedError(
        f"{has} in database {found.database}, schema {found.schema}",
        f"schema {SCHEMA_VERSION} (todo-schema {PACKAGE_VERSION})",
        f"todo-schema upgrade --url URL{found.option}",
    )


def too_new(found: Found) -> SchemaTooNewError:
    """Say that the database has moved past the package."""
    return SchemaTooNewError(
        f"schema {found.version or 'none'} in database {found.database}, "
        f"which asks for packages of schema {found.floor} or newer",
        f"a package of schema {found.floor} or newer; this is todo-schema {PACKAGE_VERSION} of schema {SCHEMA_VERSION}",
        'pip install --upgrade "todo-schema"',
    )


def refuse_to_undo(found: Found) -> None:
    """Raise where only a newer package can undo what a newer package applied.

    Raises:
        SchemaTooNewError: The database has revisions that this package does not contain.

    """
    if found.state is State.AHEAD:
        beyond = f"revision {found.version:03d}"
    elif found.contract > len(catalog.contracts()):
        beyond = f"contract revision c{found.contract:03d}"
    else:
        return
    raise SchemaTooNewError(
        f"{beyond} in database {found.database}",
        f"the package that contains it, to undo it; this is todo-schema {PACKAGE_VERSION} of schema {SCHEMA_VERSION}",
        'pip install --upgrade "todo-schema", then downgrade with that one',
    )


def unversioned(found: Found, nearest: int, comparison: Comparison) -> UnversionedSchemaError:
    """Say how tables that have our names differ from ours."""
    lines = comparison.differences + comparison.extras
    return UnversionedSchemaError(
        f"tables {', '.join(sorted(found.entities))} without a version of ours in database {found.database}, "
        f"schema {found.schema}; they are not those of schema {nearest}: {_listed(lines)}",
        "an empty schema, or tables that are exactly those of a known schema version",
        "if they are somebody else's, install beside them: todo-schema upgrade --url URL --schema todo; "
        f"if they are ours: todo-schema adopt --url URL{found.option} says what would make them so",
        lines,
    )


def not_adoptable(found: Found, nearest: int, lines: tuple[str, ...]) -> UnversionedSchemaError:
    """Say all that keeps tables from being made ours."""
    made = any(line.startswith(("function ", "trigger ", "statistics ")) for line in lines)
    how = f"; todo-schema sql --schema {shlex.quote(found.schema)} prints how functions and triggers are made"
    return UnversionedSchemaError(
        f"tables {', '.join(sorted(found.entities))} in database {found.database}, schema {found.schema}, "
        f"that can not be made those of schema {nearest}:" + "".join(f"\n  {line}" for line in lines),
        "tables that differ from ours in what can be changed while others use them; nothing was changed",
        "if they are somebody else's, install beside them: todo-schema upgrade --url URL --schema todo; "
        f"if they are ours, mend these differences and call again: todo-schema adopt --url URL{found.option}"
        f"{how if made else ''}",
        lines,
    )


def moved_on(found: Found, lines: tuple[str, ...]) -> UnversionedSchemaError:
    """Say that tables differ again from what an adoption has just made of them."""
    return UnversionedSchemaError(
        f"tables in database {found.database}, schema {found.schema}, that differ after all changes were made:"
        + "".join(f"\n  {line}" for line in lines),
        "tables that nobody else alters meanwhile; what was done stays",
        f"see who alters them, and call again: todo-schema adopt --url URL{found.option}",
        lines,
    )


def drifted(found: Found, comparison: Comparison) -> SchemaDriftError:
    """Say how the tables differ from what the recorded version says."""
    return SchemaDriftError(
        f"database {found.database}, schema {found.schema} records schema {found.version}, "
        f"but its tables differ: {_listed(comparison.differences)}",
        f"the tables of schema {found.version}",
        "restore them from a backup, or mend the differences by hand; "
        f"todo-schema sql --schema {shlex.quote(found.schema)} prints how they are made",
        comparison.differences,
    )


def recognise(found: Found, existing: Catalog) -> tuple[int, int]:
    """Return the schema version, and the place in the contract line, that unversioned tables are exactly those of.

    Raises:
        UnversionedSchemaError: They are those of none; it lists the differences from the nearest one.

    """
    compared = _compared(found, existing)
    for place, comparison in compared:
        if comparison.is_equal:
            return place
    nearest, comparison = min(compared, key=lambda pair: len(pair[1].differences) + len(pair[1].extras))
    raise unversioned(found, nearest[0], comparison)


def nearest_place(found: Found, existing: Catalog) -> tuple[int, int]:
    """Return the schema version, and the place in the contract line, that unversioned tables are most like."""

    def unlike(pair: tuple[tuple[int, int], Comparison]) -> tuple[int, int]:
        (version, _), comparison = pair
        # What a comment says makes no table another. Of two that are as near the older one: its revisions are then run.
        lines = (*comparison.differences, *comparison.extras)
        return sum(not line.startswith("comment ") for line in lines), version

    return min(_compared(found, existing), key=unlike)[0]


def _compared(found: Found, existing: Catalog) -> list[tuple[tuple[int, int], Comparison]]:
    """Compare tables with each place that a database may be at."""
    # What is deferred, or half undone, may be there or not; and a version that is half undone is one no longer.
    open_ = catalog.unsettled((*found.deferred, *found.undoing))
    ours = catalog.without(catalog.entities(existing), open_)
    below = min(found.undoing, default=SCHEMA_VERSION + 1)
    places = [
        (version, contract)
        for version in catalog.known_versions()
        if version < below
        for contract in (0, *(step.number for step in catalog.contracts() if step.requires <= version))
    ]
    # A step that changes nothing in the catalogue is known by its row alone.
    places.sort(key=lambda place: place[1] != found.contract)
    return [
        (place, catalog.compare(ours, catalog.without(catalog.entities(catalog.expected(*place)), open_)))
        for place in places
    ]


def half_adopted(found: Found, missing: list[str]) -> UnversionedSchemaError:
    """Say that an adoption has dropped indexes which it has not made again."""
    lines = tuple(
        f"index {name}: missing, dropped by an adoption that has not come to its end" for name in missing
    )
    return UnversionedSchemaError(
        f"tables in database {found.database}, schema {found.schema}, that are half adopted: {_listed(lines)}",
        "an adoption that has come to its end",
        f"todo-schema adopt --url URL{found.option} --apply goes on with it",
        lines,
    )


def not_kept(found: Found) -> ForeignVersionError:
    """Say that a version row was written and is not there."""
    return ForeignVersionError(
        f"a version row that was written to {found.schema}.todo_schema_version and is not there afterwards",
        "a table that keeps what is written to it",
        "remove the rule or trigger from the table",
    )


def unrecorded(found: Found, existing: Catalog) -> UnversionedSchemaError:
    """Say that tables have no version, whether or not `upgrade` would recognise them."""
    try:
        version, _ = recognise(found, existing)
    except UnversionedSchemaError as error:
        return error
    return UnversionedSchemaError(
        f"the tables of schema {version} without a version row in database {found.database}, schema {found.schema}",
        "the version row",
        f"todo-schema upgrade --url URL{found.option} recognises the tables and records it",
    )


def compare_with_version(found: Found, existing: Catalog, needed: Callable[[], frozenset[str]]) -> Comparison:
    """Compare the tables with what the recorded version asks for.

    Of a database that has moved on without this package only what the package needs is asked for: what else
    later revisions brought, or took away, cannot be known here.

    Args:
        found: What the database holds.
        existing: Its tables.
        needed: Gives the tables and columns of this package's models, as names of facts.

    """
    if found.version is None:
        return Comparison((), ())
    if found.version > SCHEMA_VERSION or found.contract > len(catalog.contracts()):
        missing = tuple(f"{name}: missing" for name in sorted(needed() - existing.keys()))
        return Comparison(missing, ())
    # What is deferred, or half undone, may be there or not.
    open_ = catalog.unsettled((*found.deferred, *found.undoing))
    wanted = catalog.without(catalog.expected(found.version, found.contract), open_)
    return catalog.compare(catalog.without(existing, open_), wanted)


def _listed(lines: tuple[str, ...]) -> str:
    weighty = sorted(lines, key=lambda line: (line.startswith("comment "), not line.startswith("table ")))
    more = len(lines) - _SHOWN
    rest = [f"and {more} more, which todo-schema status lists"] if more > 0 else []
    return "".join(f"\n  {line}" for line in [*weighty[:_SHOWN], *rest])
