"""Revisions that a database may put off, what builds on them, and what tells that they are there."""

from tests.support.asking import Package
from tests.support.online import AFTER, revision_file
from tests.support.packages import NEXT_CONTRACT
from tests.support.revisions import NEXT, NEXT_VERSION, upgraded
from tests.support.servers import Server, execute
from tests.support.states import rows
from todo_schema.compatibility import HEAD

LAST = f"{NEXT_VERSION + 2:03d}"
PLAIN_INDEX = "ix_tasks_throwaway_title"
INDEX = "ix_tasks_throwaway"
COST = "to find a task by its title reads all tasks of its user"

_UNIQUE = f'operations.create_index(op, "{INDEX}", "tasks", ["user_id", "title"], unique=True)'
_UP = f'operations.create_index(op, "{PLAIN_INDEX}", "tasks", ["title"])\n{_UNIQUE}'
_DOWN = "\n".join(f'operations.drop_index(op, "{name}", "tasks")' for name in (INDEX, PLAIN_INDEX))
# Two indexes, that may be put off; the second fails where a user has the same task twice.
PUT_OFF = revision_file(NEXT, HEAD, _UP, _DOWN, deferred=COST)
# A column that a package needs, for which nobody may use the table.
NEEDED = revision_file(
    AFTER,
    NEXT,
    'op.add_column("tasks", sa.Column("throwaway_note", sa.Text()))',
    'op.drop_column("tasks", "throwaway_note")',
)
# A constraint that takes the index over.
BUILDS_ON = revision_file(
    LAST,
    AFTER,
    f'op.execute("ALTER TABLE tasks ADD CONSTRAINT uq_tasks_throwaway UNIQUE USING INDEX {INDEX}")',
    'op.drop_constraint("uq_tasks_throwaway", "tasks")\n' + _UNIQUE,
    builds_on=(NEXT,),
)
CONTRACT_BUILDS_ON = {
    name: text.replace("\nfloor = ", f'\nbuilds_on = ("{NEXT}",)\nfloor = ')
    for name, text in NEXT_CONTRACT.items()
}
TWICE = "INSERT INTO tasks (user_id, title) SELECT id, 'twice' FROM users, generate_series(1, 2)"
USER = "INSERT INTO users (email) VALUES ('ann@example.com')"
ONCE = "DELETE FROM tasks a USING tasks b WHERE a.title = 'twice' AND b.title = 'twice' AND a.id > b.id"
DONE = [(NEXT, "part 1 of 2"), (NEXT, "part 2 of 2"), (NEXT, "finish")]


def prepared(server: Server, template: str, package: Package) -> dict[str, str]:
    """Databases to be copied: `behind` a package, and `pending`, where it has put its revision off."""
    urls = {name: server.create_database(template=template) for name in ("behind", "pending")}
    for url in urls.values():
        execute(url, USER)
    package("upgrade", urls["pending"], deferred="skip")
    return urls


def indexed(url: str) -> list[bool]:
    """Of each of these indexes that is there, whether it is valid."""
    query = f"""SELECT indisvalid FROM pg_index
        WHERE indexrelid IN (to_regclass('{PLAIN_INDEX}'), to_regclass('{INDEX}')) ORDER BY indexrelid"""
    return [valid for (valid,) in execute(url, query)]


def actions(url: str) -> list[tuple[str, str]]:
    """Revision and action of each row of the history since the baseline."""
    return [row for row in rows(url, "revision, action") if row not in upgraded()]
