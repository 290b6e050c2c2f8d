"""Draws the tables as the README and docs/schema.md show them, from the models."""

from pathlib import Path

from sqlalchemy import ForeignKeyConstraint, Table
from sqlalchemy.dialects import postgresql

from todo_schema.compatibility import ENTITY_TABLES
from todo_schema.models import TodoBase

_ROOT = Path(__file__).parent.parent
PAGES = (_ROOT / "README.md", _ROOT / "docs" / "schema.md")
BEGIN, END = "```mermaid\n", "```\n"


def diagram() -> str:
    """Return the entities as a Mermaid diagram."""
    tables = [table for name, table in sorted(TodoBase.metadata.tables.items()) if name in ENTITY_TABLES]
    lines = ["erDiagram"]
    lines += [line for table in tables for line in _relations(table)]
    for table in tables:
        lines += [f"    {table.name} {{", *(f"        {line}" for line in _columns(table)), "    }"]
    return "\n".join(lines) + "\n"


def drawn(page: Path) -> str:
    """Return the diagram that a page has."""
    return page.read_text(encoding="utf-8").split(BEGIN, 1)[1].split(END, 1)[0]


def _relations(table: Table) -> list[str]:
    keys = [item for item in table.constraints if isinstance(item, ForeignKeyConstraint)]
    return sorted(
        f'    {key.referred_table.name} ||--o{{ {table.name} : "{", ".join(key.column_keys)}"' for key in keys
    )


def _columns(table: Table) -> list[str]:
    references = {key.parent.name for key in table.foreign_keys}
    return [
        f"{_type(column.type.compile(postgresql.dialect()))} {column.name}"
        + (" PK" if column.primary_key else " FK" if column.name in references else "")
        for column in table.columns
        if column.name not in {"created_at", "updated_at"}  # they would be a quarter of the picture
    ]


def _type(compiled: str) -> str:
    # Mermaid takes one word.
    return compiled.lower().replace("timestamp with time zone", "timestamptz")


if __name__ == "__main__":
    for page in PAGES:
        before, rest = page.read_text(encoding="utf-8").split(BEGIN, 1)
        after = rest.split(END, 1)[1]
        page.write_text(before + BEGIN + diagram() + END + after, encoding="utf-8")
