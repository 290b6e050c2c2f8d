"""What a person should know before tables of somebody else's become ours."""

from collections.abc import Iterator

from todo_schema.adoption_changes import Findings
from todo_schema.inspection import Found
from todo_schema.quoting import identifier
from todo_schema.surroundings import Surroundings

_UTC = ("UTC", "Etc/UTC", "GMT", "Etc/GMT", "Zulu", "Universal", "UCT")


def notes(found: Found, findings: Findings, around: Surroundings) -> Iterator[str]:
    """Yield what a person should know before anything is changed."""
    if findings.resorted and around.time_zone not in _UTC:
        yield (
            f"new sessions of database {found.database} are in time zone {around.time_zone}: an application that goes "
            "on writing times without a zone would have them taken for times of that zone. Before: "
            f"ALTER DATABASE {identifier(found.database)} SET TimeZone = 'UTC'; and let it connect anew"
        )
    for role, zone in around.time_zones.items():
        if findings.resorted and zone not in _UTC:
            yield (
                f"sessions of role {role} are in time zone {zone}: times without a zone that it goes on writing would "
                f"be taken for times of that zone. Before: ALTER ROLE {identifier(role)} SET TimeZone = 'UTC', with "
                f"IN DATABASE {identifier(found.database)} where it is set so; and let it connect anew"
            )
    if findings.retyped:
        yield (
            f"{', '.join(sorted(findings.retyped))}: who has prepared a statement that reads one of these, as asyncpg "
            'and psycopg do by themselves, gets one error, "cached plan must not change result type", which asyncpg '
            'calls "cached statement plan is invalid", and then goes on; psycopg in autocommit gets it again and again '
            "until it connects anew; behind a pooler in transaction mode, where nothing is prepared, nobody does"
        )
    if around.alembic:
        yield (
            f"{found.schema}.alembic_version holds {', '.join(around.alembic)}, of the application that made these "
            "tables: it is left as it is, and obsolete afterwards, unless another application keeps its history there"
        )
