"""Draws the tables as the README shows them, from the models."""

from pathlib import Path

from sqlalchemy import ForeignKeyConstraint, Table
from sqlalchemy.dialects import postgresql

from todo_schema.compatibility import ENTITY_TABLES
from todo_schema.models import TodoBase

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "```mermaid\n", "```\n"


def diagram() -> str:
    """Return the entities as a Mermaid diagram."""
    tables = [table for name, table in sorted(TodoBase.metadata.tables.items()) if name in ENTITY_TABLES]
    lines = ["erDiagram"]
    lines += [line for table in tables for line in _relations(table)]
    for table in tables:
        lines += [f"    {table.name} {{", *(f"        {line}" for line in _columns(table)), "    }"]
    return "\n".join(lines) + "\n"


def drawn() -> str:
    """Return the diagram that the README has."""
    return README.read_text(encoding="utf-8").split(BEGIN, 1)[1].split(END, 1)[0]


def _relations(table: Table) -> list[str]:
    keys = [item for item in table.constraints if isinstance(item, ForeignKeyConstraint)]
    return sorted(
        f"    {key.referred_table.name} ||--o{{ {table.name} : {key.column_keys[0]}" for key in keys
    )


def _columns(table: Table) -> list[str]:
    references = {column for key in table.foreign_keys for column in [key.parent.name]}
    return [
        f"{column.type.compile(postgresql.dialect()).split(' ')[0].lower()} {column.name}"
        + (" PK" if column.primary_key else " FK" if column.name in references else "")
        for column in table.columns
        if column.name not in {"created_at", "updated_at"}  # they would be a third of the picture
    ]


if __name__ == "__main__":
    before, rest = README.read_text(encoding="utf-8").split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    README.write_text(before + BEGIN + diagram() + END + after, encoding="utf-8")
