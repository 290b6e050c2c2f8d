"""What importing the package costs, beside importing sqlmodel."""

import json
import statistics
import sys

from tests.support.processes import clean_environment

from benchmarks import tables
from benchmarks.measuring import Cost, interleaved, timed

ROUNDS = 15
BARE = "nothing"
BASE = "import sqlmodel"
STATEMENTS = (
    "import todo_schema",
    "from todo_schema import upgrade",
    "from todo_schema import check",
    "from todo_schema import Task",
    "from todo_schema import session_factory",
    BASE,
    f"{BASE}; from todo_schema import upgrade",
    "import alembic.command",
)
_LIBRARIES = ("sqlalchemy", "sqlmodel", "alembic", "psycopg", "asyncpg")

_COUNTING = f"""
import sys
known = set(sys.modules)
exec(sys.argv[1])
new = set(sys.modules) - known
import json
print(json.dumps([len(new), [name for name in {_LIBRARIES!r} if name in new]]))
"""


def measure(rounds: int = ROUNDS) -> str:
    """Return the table, as Markdown."""
    counts = {statement: _count(statement) for statement in STATEMENTS}
    costs = interleaved([BARE, *STATEMENTS], rounds, _once)

    def above_bare(statement: str, part: str) -> list[float]:
        pairs = zip(costs[statement], costs[BARE], strict=True)
        return [getattr(cost, part) - getattr(bare, part) for cost, bare in pairs]

    def ratio(statement: str, part: str) -> str:
        mine, base = (statistics.median(above_bare(which, part)) for which in (statement, BASE))
        return tables.ratio(mine / base)

    rows = [
        (
            f"`{statement}`",
            counts[statement][0],
            ", ".join(counts[statement][1]) or "none",
            ratio(statement, "cpu"),
            ratio(statement, "wall"),
            tables.milliseconds(statistics.median(above_bare(statement, "cpu"))),
            tables.milliseconds(statistics.median(above_bare(statement, "wall"))),
        )
        for statement in STATEMENTS
    ]
    header = (
        "statement",
        "modules imported",
        "of " + ", ".join(_LIBRARIES),
        "CPU (sqlmodel = 1)",
        "wall (sqlmodel = 1)",
        "CPU, ms",
        "wall, ms",
    )
    note = f"Fresh interpreters, less the start of one that imports nothing; medians of {rounds} interleaved rounds."
    return "\n\n".join(["## Imports", tables.table(header, rows), note])


def _count(statement: str) -> tuple[int, list[str]]:
    _, output = timed([sys.executable, "-c", _COUNTING, statement], clean_environment())
    modules, libraries = json.loads(output)
    return modules, libraries


def _once(statement: str) -> Cost:
    code = "pass" if statement == BARE else statement
    (cpu, wall), _ = timed([sys.executable, "-c", code], clean_environment())
    return Cost(cpu, wall, cpu, wall)


if __name__ == "__main__":
    print(measure(tables.rounds(ROUNDS)))
