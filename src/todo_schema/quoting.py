"""Text that is safe inside SQL, for the statements that a bare driver sends without parameters, or inside a command."""

import shlex

from todo_schema.errors import InvalidNameError

_LONGEST_NAME = 63  # bytes


def identifier(name: str) -> str:
    """Quote a name: `we"ird` → `"we""ird"`. Raises InvalidNameError where PostgreSQL cannot have such a name."""
    # A longer name would be cut off in silence, and the schema made would not be the one asked for.
    # And `"$user"` stands for another name even in quotes, where it is a search_path.
    if "\0" in name or name == "$user" or not 1 <= len(name.encode()) <= _LONGEST_NAME:
        raise InvalidNameError(
            f"the name {name!r}",
            f"a PostgreSQL name: 1 to {_LONGEST_NAME} bytes, none of them zero, and not $user",
            'choose another, such as schema="todo"',
        )
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a text constant, whatever `standard_conforming_strings` is set to."""
    quoted = "'" + text.replace("'", "''").replace("\\", "\\\\") + "'"
    return f"E{quoted}" if "\\" in text else quoted


def option(schema: str) -> str:
    """Return what a command line has to say to mean the installation in a schema: ` --schema todo`."""
    return "" if schema == "public" else f" --schema {shlex.quote(schema)}"
