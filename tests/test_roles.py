"""Roles with few rights, and servers that only read or are full."""

import re
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from psycopg import OperationalError, connect

from tests.support import clusters
from tests.support.catalog_dump import dump
from tests.support.clusters import Cluster, cluster
from tests.support.contracting import Asked
from tests.support.servers import Server, database_name, execute
from tests.support.ways import Call, both_drivers, role, role_of
from todo_schema import (
    DatabaseUnreachableError,
    InsufficientPrivilegeError,
    ReadOnlyDatabaseError,
    SchemaOutdatedError,
    State,
    embedded,
)

# What a role needs that only reads; the tests take one away.
READING = (
    "GRANT USAGE ON SCHEMA public TO {0}",
    "GRANT SELECT ON todo_schema_version TO {0}",
    "GRANT SELECT ON todo_schema_history TO {0}",
)

READ_ONLY = "default_transaction_read_only = on"


@pytest.fixture
def closed_database(server: Server, upgraded_database: str) -> str:
    """A database at the head in which nobody but its owner has a right."""
    execute(upgraded_database, "REVOKE ALL ON SCHEMA public FROM PUBLIC")
    return upgraded_database


def apply_cure(url: str, cure: str) -> None:
    """Execute, as a superuser, the SQL that an error recommends."""
    statements = re.findall(r"(?:GRANT|ALTER|CREATE) [^;]*;", cure)
    assert statements, cure
    execute(url, " ".join(statements))


@both_drivers
def test_a_role_that_can_only_read_boots_on_a_database_that_is_up_to_date(
    server: Server, closed_database: str, call: Call
):
    with role(server, closed_database) as url:
        for grant in READING:
            execute(closed_database, grant.format(role_of(url)))
        assert call("upgrade", url).after is State.CURRENT
        assert call("check", url) is State.CURRENT
        assert call("check", url, deep=True) is State.CURRENT
        assert call("status", url).differences == ()
        assert call("history", url)[0].applied_at is not None


@both_drivers
@pytest.mark.parametrize("lacking", range(3), ids=["USAGE", "version", "history"])
@pytest.mark.parametrize("schema", [None, "public"])
def test_a_role_that_may_not_read_the_version_is_told_the_right_and_the_sql_that_grants_it(
    server: Server, closed_database: str, call: Call, lacking: int, schema: str | None
):
    right, table = re.match(r"GRANT (\w+) ON (?:SCHEMA )?(\w+)", READING[lacking]).groups()
    with role(server, closed_database) as url:
        for grant in READING[:lacking] + READING[lacking + 1 :]:
            execute(closed_database, grant.format(role_of(url)))
        with pytest.raises(InsufficientPrivilegeError) as caught:
            call("status", url, schema=schema)
        assert role_of(url) in caught.value.found
        assert right in caught.value.needed
        assert table in caught.value.needed
        apply_cure(closed_database, caught.value.cure)
        assert call("status", url, schema=schema).state is State.CURRENT
        assert call("upgrade", url, schema=schema).after is State.CURRENT


@both_drivers
def test_the_sql_that_an_error_recommends_grants_no_more_than_reading(
    server: Server, closed_database: str, call: Call
):
    with role(server, closed_database) as url:
        with pytest.raises(InsufficientPrivilegeError) as caught:
            call("upgrade", url)
        apply_cure(closed_database, caught.value.cure)
        granted = (
            "SELECT DISTINCT privilege_type FROM information_schema.role_table_grants WHERE grantee = '{}'"
        )
        assert execute(closed_database, granted.format(role_of(url))) == [("SELECT",)]
        assert call("upgrade", url).after is State.CURRENT


@both_drivers
def test_a_role_that_may_not_create_tables_is_told_the_sql_that_lets_it(
    server: Server, database: str, call: Call
):
    execute(database, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    before = dump(database)
    with role(server, database) as url:
        with pytest.raises(SchemaOutdatedError):
            call("check", url)
        with pytest.raises(InsufficientPrivilegeError) as caught:
            call("upgrade", url)
        assert "CREATE on schema public" in caught.value.needed
        assert dump(database) == before
        apply_cure(database, caught.value.cure)
        assert call("upgrade", url).after is State.CURRENT


@both_drivers
def test_a_role_without_a_usable_schema_is_told_the_sql_that_lets_it(
    server: Server, database: str, call: Call
):
    execute(database, "REVOKE ALL ON SCHEMA public FROM PUBLIC")
    with role(server, database) as url:
        with pytest.raises(InsufficientPrivilegeError) as caught:
            call("upgrade", url)
        assert "USAGE and CREATE on schema public" in caught.value.needed
        apply_cure(database, caught.value.cure)
        assert call("upgrade", url).after is State.CURRENT


@both_drivers
def test_a_role_that_may_not_create_the_schema_is_told_the_sql_that_does(
    server: Server, database: str, call: Call
):
    schema = 'we"ird'
    with role(server, database) as url:
        with pytest.raises(InsufficientPrivilegeError) as caught:
            call("upgrade", url, schema=schema)
        assert "CREATE on database" in caught.value.needed
        assert execute(database, "SELECT FROM pg_namespace WHERE nspname LIKE 'we%'") == []
        apply_cure(database, caught.value.cure)
        assert call("upgrade", url, schema=schema).after is State.CURRENT


@both_drivers
@pytest.mark.parametrize("owner", ["a superuser", "another role"])
def test_a_role_that_does_not_own_outdated_tables_is_told_the_sql_that_lets_it_migrate(
    server: Server, database: str, next_asked: Asked, call: Call, owner: str
):
    with role(server, database) as url, role(server, database) as owning_url:
        if owner == "another role":
            execute(database, f"GRANT CREATE ON SCHEMA public TO {role_of(owning_url)}")
        call("upgrade", database if owner == "a superuser" else owning_url)
        for grant in READING[1:]:
            execute(database, grant.format(role_of(url)))
        before = dump(database)
        outdated, refused = next_asked(call, url, "check", "upgrade")
        assert outdated["error"] == "SchemaOutdatedError"
        assert refused["error"] == "InsufficientPrivilegeError"
        assert "ownership of the tables" in refused["needed"]
        assert dump(database) == before
        apply_cure(database, refused["cure"])
        done, checked = next_asked(call, url, "upgrade", "check")
        assert (done["after"], checked) == ("current", "current")
        # A member of a superuser's role could do anything at all.
        assert execute(database, f"SELECT pg_has_role('{role_of(url)}', 'postgres', 'MEMBER')") == [(False,)]


@both_drivers
@pytest.mark.parametrize("where", ["ROLE {role}", "DATABASE {database}"])
def test_a_role_or_database_set_to_read_only_boots_when_current_and_is_refused_when_not(
    server: Server, database: str, call: Call, where: str
):
    with role(server, database) as url:
        execute(database, f"GRANT CREATE ON SCHEMA public TO {role_of(url)}")
        place = where.format(role=role_of(url), database=database_name(database))
        execute(database, f"ALTER {place} SET {READ_ONLY}")
        with pytest.raises(ReadOnlyDatabaseError) as caught:
            call("upgrade", url)
        assert "read-only" in caught.value.found
        assert call("status", url).state is State.EMPTY
        set_writable(database, caught.value.cure)
        assert call("upgrade", url).after is State.CURRENT
        set_writable(database, f"ALTER ROLE {role_of(url)} RESET ALL; ALTER {place} SET {READ_ONLY}")
        assert call("upgrade", url).after is State.CURRENT
        assert call("check", url, deep=True) is State.CURRENT
        with pytest.raises(ReadOnlyDatabaseError):
            call("downgrade", url, to="base")
        set_writable(database, f"ALTER {place} RESET ALL")


def set_writable(url: str, text: str) -> None:
    """Execute the ALTER statements of a text in a session that may write whatever the database says."""
    statements = re.findall(r"ALTER [^;]*", text)
    execute(
        f"{url}{'&' if '?' in url else '?'}options=-cdefault_transaction_read_only%3Doff",
        "; ".join(statements),
    )


@pytest.fixture(scope="module")
def standby() -> Iterator[tuple[Cluster, Cluster]]:
    """A primary and a hot standby of it."""
    binaries = clusters.debian_binaries() or embedded.binaries()
    if not (binaries / "pg_basebackup").exists():
        pytest.skip(f"a standby needs pg_basebackup, which is not in {binaries}")
    with cluster(binaries) as primary, cluster(binaries) as copy:
        primary.hba("host all all all trust", "local replication all trust")
        copy.stop()
        for path in sorted(copy.data.rglob("*"), reverse=True):
            path.unlink() if path.is_symlink() or not path.is_dir() else path.rmdir()
        copy._run(
            "pg_basebackup",
            "-R",
            "-c",
            "fast",
            "-h",
            str(primary.folder),
            "-p",
            str(primary.port),
            "-U",
            "postgres",
        )
        with (copy.data / "postgresql.conf").open("a") as file:
            file.write(f"port = {copy.port}\nunix_socket_directories = '{copy.folder}'\n")
        copy.start()
        yield primary, copy


def _caught_up(primary: Cluster, copy: Cluster) -> None:
    ((place,),) = primary.execute("SELECT pg_current_wal_insert_lsn()::text")
    primary.execute("CHECKPOINT")  # what was committed asynchronously is sent, and something after it
    while copy.execute(f"SELECT pg_last_wal_replay_lsn() < '{place}'") == [(True,)]:
        pass


@both_drivers
def test_a_standby_boots_when_current_and_is_refused_by_name_when_not(standby, call: Call):
    primary, copy = standby
    name = database_name(primary.create_database())
    _caught_up(primary, copy)
    with pytest.raises(ReadOnlyDatabaseError) as caught:
        call("upgrade", copy.url(name))
    assert "primary" in caught.value.cure
    assert call("status", copy.url(name)).state is State.EMPTY
    call("upgrade", primary.url(name))
    _caught_up(primary, copy)
    assert call("upgrade", copy.url(name)).after is State.CURRENT
    assert call("check", copy.url(name), deep=True) is State.CURRENT


@both_drivers
def test_a_full_server_is_unreachable_and_the_next_call_goes_on(standby, call: Call):
    primary, _ = standby
    database = primary.create_database()
    primary.set("max_connections", 8)
    with role(primary, database) as url:
        primary.execute(f"GRANT CREATE ON SCHEMA public TO {role_of(url)}", database)
        with ExitStack() as others:
            with pytest.raises(OperationalError, match="remaining connection slots"):
                while True:
                    others.enter_context(connect(url))
            with pytest.raises(DatabaseUnreachableError, match="remaining connection slots") as caught:
                call("upgrade", url)
            assert "connect_retry" in caught.value.cure
        assert call("upgrade", url, connect_retry=5).after is State.CURRENT
