"""What a service has built on our tables, and would keep them from being dropped."""

from todo_schema.compatibility import BOOKKEEPING_TABLES, ENTITY_TABLES
from todo_schema.errors import TablesReferencedError
from todo_schema.inspection import Found
from todo_schema.quoting import identifier, literal
from todo_schema.wire import Wire


def refuse(wire: Wire, found: Found) -> None:
    """Raise where something of a service's refers to our tables.

    Without it, all rows of the later revisions would be lost before the first revision cannot be undone.

    Args:
        wire: A connection.
        found: What the database holds.

    Raises:
        TablesReferencedError: A foreign key or a view is there; nothing was changed.

    """
    names = ", ".join(literal(name) for name in sorted(ENTITY_TABLES | BOOKKEEPING_TABLES))
    rows = wire.fetch(f"""
        WITH ours AS (SELECT c.oid FROM pg_class c WHERE c.relname IN ({names})
                      AND c.relnamespace = {literal(identifier(found.schema))}::regnamespace)
        SELECT format('foreign key %I of table %s', conname, conrelid::regclass),
               format('ALTER TABLE %s DROP CONSTRAINT %I;', conrelid::regclass, conname)
        FROM pg_constraint WHERE contype = 'f' AND confrelid IN (SELECT oid FROM ours)
              AND conrelid NOT IN (SELECT oid FROM ours)
        UNION
        SELECT format('view %s', ev_class::regclass),
               format('DROP %s %s;', CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END, c.oid::regclass)
        FROM pg_depend d JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
             JOIN pg_class c ON c.oid = ev_class
        WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid IN (SELECT oid FROM ours)
              AND ev_class NOT IN (SELECT oid FROM ours)
        ORDER BY 1""")
    if rows:
        raise TablesReferencedError(
            f"{', '.join(str(what) for what, _ in rows)} in database {found.database}, built on the tables of schema "
            f"{found.schema}",
            "nothing that refers to them, before they are dropped; nothing was changed",
            f"undo the service's own migrations first, or: {' '.join(str(drop) for _, drop in rows)}",
        )
