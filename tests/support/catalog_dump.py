"""The catalogue of a database as text, to compare two databases by."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from tests.support.clusters import debian_binaries
from tests.support.servers import execute
from todo_schema import embedded

# A line for each thing in `public`: its name, its definition, its comment, whose it is, and who may do what with it.
_LINES = """
WITH ours AS (
    SELECT c.*, c.oid::regclass::text AS name FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace
)
SELECT concat_ws(' | ', 'relation', c.relkind, c.name, c.relowner::regrole, c.relacl, c.relpersistence,
                 c.relreplident, c.relrowsecurity, c.reloptions, obj_description(c.oid, 'pg_class'),
                 CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END)
FROM ours c
UNION ALL
SELECT concat_ws(' | ', 'column', c.name, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
                 pg_get_expr(d.adbin, d.adrelid), a.attidentity, a.attgenerated, a.attstorage, a.attstattarget,
                 a.attoptions, a.attacl, a.attcollation::regcollation, col_description(c.oid, a.attnum))
FROM ours c JOIN pg_attribute a ON a.attrelid = c.oid
     LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT concat_ws(' | ', 'constraint', conrelid::regclass, conname, pg_get_constraintdef(oid),
                 obj_description(oid, 'pg_constraint'))
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL
SELECT concat_ws(' | ', 'index', pg_get_indexdef(c.oid), i.indisvalid, i.indisready, i.indisclustered)
FROM ours c JOIN pg_index i ON i.indexrelid = c.oid
UNION ALL
SELECT concat_ws(' | ', 'sequence', c.name, s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmin, s.seqmax)
FROM ours c JOIN pg_sequence s ON s.seqrelid = c.oid
UNION ALL
SELECT concat_ws(' | ', 'trigger', pg_get_triggerdef(t.oid), t.tgenabled)
FROM ours c JOIN pg_trigger t ON t.tgrelid = c.oid WHERE NOT t.tgisinternal
UNION ALL
SELECT concat_ws(' | ', 'routine', pg_get_functiondef(oid), proowner::regrole, proacl)
FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prokind <> 'a'
UNION ALL
SELECT concat_ws(' | ', 'type', typname, typtype, typowner::regrole, typacl, typbasetype::regtype)
FROM pg_type WHERE typnamespace = 'public'::regnamespace
ORDER BY 1
"""

CATALOGUE = f"SELECT string_agg(line, chr(10)) FROM ({_LINES}) AS lines (line)"
"""The same as a `dump` of `public`, in a sixth of its time: for a comparison that is made hundreds of times."""

# What pg_dump says about itself and the session, not about the database.
_NOISE = re.compile(r"(--|SET |SELECT pg_catalog\.set_config|\\(un)?restrict )")


def dump(url: str, schema: str = "public", tables: Iterable[str] | None = None) -> str:
    """The definitions of everything in `schema`, or of `tables` in it, as pg_dump writes them.

    Two dumps are equal where the catalogues are: names, types, order of columns, defaults, comments,
    owners and rights.
    """
    chosen = [f"--table={schema}.{table}" for table in tables] if tables else [f"--schema={schema}"]
    done = subprocess.run(
        [_pg_dump(url), "--schema-only", *chosen, f"--dbname={url}"],
        check=False,
        capture_output=True,
        timeout=60,
    )
    if done.returncode:
        raise RuntimeError(f"pg_dump ended with {done.returncode}: {done.stderr.decode(errors='replace')}")
    lines = done.stdout.decode().splitlines()
    return "\n".join(line for line in lines if line and not _NOISE.match(line))


def unordered(dumped: str) -> str:
    """A dump without the order of the columns: a column that is added again comes last."""
    statements = []
    for statement in dumped.split(";\n"):
        first, *rest = statement.split("\n")
        statements.append("\n".join([first, *sorted(line.rstrip(",") for line in rest)]))
    return "\n".join(sorted(statements))


def _pg_dump(url: str) -> Path:
    """A pg_dump that is not older than the server: an older one refuses."""
    needed = int(execute(url, "SHOW server_version_num")[0][0]) // 10_000
    folders = [embedded.binaries(), debian_binaries()]
    found = [folder / "pg_dump" for folder in folders if folder]
    found += [Path(program) for program in [shutil.which("pg_dump", path=os.environ.get("PATH"))] if program]
    for program in found:
        if _major_version(program) >= needed:
            return program
    raise FileNotFoundError(f"no pg_dump of version {needed} or newer among {found}")


@cache
def _major_version(program: Path) -> int:
    said = subprocess.run(
        [program, "--version"], check=True, capture_output=True, text=True, timeout=10
    ).stdout
    version = re.search(r"\d+", said)
    return int(version[0]) if version else 0
