"""Text that is safe inside SQL, for the statements that a bare driver sends without parameters."""


def identifier(name: str) -> str:
    """Quote a name: `we"ird` → `"we""ird"`. Raises ValueError on a zero byte, which no name can hold."""
    if "\0" in name:
        raise ValueError("a PostgreSQL name cannot contain a zero byte")
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a text constant, whatever `standard_conforming_strings` is set to."""
    if "\0" in text:
        raise ValueError("a PostgreSQL text cannot contain a zero byte")
    quoted = "'" + text.replace("'", "''").replace("\\", "\\\\") + "'"
    return f"E{quoted}" if "\\" in text else quoted
