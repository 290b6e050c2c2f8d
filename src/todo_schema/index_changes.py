"""What has to become of the indexes of a table that is to be adopted."""

from __future__ import annotations

import re
from functools import partial

from todo_schema import operations
from todo_schema.adoption_changes import Phase
from todo_schema.collecting import collector_of
from todo_schema.names import LONGEST_NAME
from todo_schema.parts import IndexBuild
from todo_schema.quoting import identifier
from todo_schema.relations import OURS, Index, Relations, repeated

# An index of columns alone, which a type of the same order leaves as it is.
_PLAIN = re.compile(r"USING \w+ \([^()]*\)(?: INCLUDE \([^()]*\))?")
_ORDER = re.compile(r" (?:DESC|ASC|NULLS FIRST|NULLS LAST)\b")
_REBUILT = "its column becomes another type, and it is built again afterwards"


def compare(relations: Relations) -> None:
    """Compare indexes, and add what is found out."""
    left = dict(relations.their_indexes)
    for name, wanted in relations.indexes.items():
        found = left.get(name)
        if found is not None and found.is_like(wanted.build):
            del left[name]
            if _is_resorted(relations, name, found):
                _drop(relations, Phase.RELEASE, name, _REBUILT)
                _build(relations, wanted.build)
            continue
        twin = next(
            (other for other, index in left.items() if _is_twin(relations, other, index, wanted)), None
        )
        if twin is not None:
            del left[twin]
            if found is not None:
                _make_room(relations, name)
                del left[name]
            rename = f"ALTER INDEX {identifier(twin)} RENAME TO {identifier(name)}"
            relations.moment(f"index {twin} is called {name}", rename)
            continue
        if found is not None and not found.invalid:
            _make_room(relations, name)
        left.pop(name, None)  # an invalid one goes as it is built
        _build(relations, wanted.build)
    for name, index in left.items():
        _other(relations, name, index)


def _is_twin(relations: Relations, name: str, found: Index, wanted: Index) -> bool:
    is_same = found.is_like(wanted.build) and name not in relations.indexes
    return is_same and not _is_resorted(relations, name, found)


def _make_room(relations: Relations, name: str) -> None:
    """Give another index that has the name of ours a name of its own until ours is built."""
    old = f"{OURS[1]}{name}".encode()[:LONGEST_NAME].decode(errors="ignore")
    rename = f"ALTER INDEX {identifier(name)} RENAME TO {identifier(old)}"
    relations.moment(f"index {name}, which is another, is called {old}", rename)
    _drop(relations, Phase.LEFTOVERS, old, f"{name} replaces it")


def _other(relations: Relations, name: str, index: Index) -> None:
    """Say what becomes of an index that is none of ours."""
    definition = index.build.definition
    columns = definition.removeprefix("USING btree ")
    is_covered = any(ours.does(index.build) for ours in relations.indexes.values())
    is_covered = is_covered or (columns != definition and relations.keeps_unique(columns))
    is_resorted = _is_resorted(relations, name, index)
    if is_covered and is_resorted:
        _drop(relations, Phase.RELEASE, name, "ours does the same")
    elif is_covered or index.invalid or name.startswith(OURS):
        relations.leftover(
            "index", name, index.statement, partial(operations.drop_index, name=name, table=relations.table)
        )
    elif relations.around.computed.get(f"{relations.table}.{name}", frozenset()) & relations.resorted:
        # With a zone a time is another day elsewhere: PostgreSQL would refuse to build it again.
        what = "it computes with a column that has to become another type: drop it before, and make another afterwards"
        relations.obstacle("index", name, f"found {index.statement}, and {what}")
    elif is_resorted and index.build.unique:
        # An application may rest on it: ON CONFLICT fails where it is missing, and rows come twice.
        what = "a column of it has to become another type: drop it before, and make it again afterwards"
        relations.obstacle("index", name, f"found {index.statement}, and {what}")
    elif is_resorted:
        _drop(relations, Phase.RELEASE, name, _REBUILT, index.build)
        _build(relations, index.build)
    else:
        relations.keep("index", name, index.statement)


def _is_resorted(relations: Relations, name: str, index: Index) -> bool:
    """Tell whether another type of a column would build an index anew, while nobody could use the table.

    PostgreSQL does not look whether expressions and conditions mean the same afterwards: it builds such an index anew.
    """
    columns = relations.columns(name)
    is_plain = _PLAIN.fullmatch(index.build.definition) is not None
    return bool(columns & (relations.resorted if is_plain else relations.retyped))


def _build(relations: Relations, index: IndexBuild) -> None:
    columns = _ORDER.sub("", index.definition.removeprefix("USING btree "))
    rows = {"rule": index.name, "violating": repeated(relations.table, columns)} if index.unique else {}
    relations.change(
        Phase.INDEXES,
        f"index {index.name}: {index.definition}",
        lambda op: collector_of(op).add(index),
        **rows,
    )


def _drop(relations: Relations, phase: Phase, name: str, why: str, lost: IndexBuild | None = None) -> None:
    drop = partial(operations.drop_index, name=name, table=relations.table)
    relations.change(phase, f"index {name} is dropped: {why}", drop, lost=lost)
