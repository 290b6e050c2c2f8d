"""The names that a revision gives: as SQL names them, and refused where PostgreSQL would take them for others."""

from collections.abc import Sequence

from todo_schema.quoting import identifier

LONGEST_NAME = 63  # bytes


def several(names: Sequence[str]) -> Sequence[str]:
    """Return the names. Raises TypeError for one alone, whose letters would be taken for names, and for no text."""
    if isinstance(names, str):
        raise TypeError(f"found: {names!r}; needed: a list of columns; write: [{names!r}]")
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"found: {name!r}; needed: columns as text; write: {str(name)!r}")
    return names


def short(name: str) -> str:
    """Return a name that PostgreSQL would not cut off. Raises ValueError for a longer one."""
    length = len(name.encode())
    if length > LONGEST_NAME:
        raise ValueError(
            f"found: the name {name!r} of {length} bytes; needed: {LONGEST_NAME}; write a shorter one"
        )
    return name


def identifiers(names: Sequence[str]) -> str:
    """Return several names as SQL lists them; raises what `several` does."""
    return ", ".join(map(identifier, several(names)))
