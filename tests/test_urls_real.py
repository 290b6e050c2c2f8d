"""URLs that people paste, connected with: both drivers must reach the same place in the same way."""

import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import psycopg
import pytest
from psycopg import sql
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.support.clusters import Cluster, own_server
from tests.support.pooler import Pooler
from tests.support.servers import Server
from todo_schema.urls import DatabaseUrl

Asked = list[Any] | type[Exception]
PASSWORDS = ["p%40@/:#?% ", "100%", "%FF", "päßwörd", "x" * 900, "'\\ \"$", "a+b&c=d"]


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(scope="module")
def strict_server() -> Iterator[Cluster]:
    """A server that asks everybody over TCP for the password."""
    with own_server() as running:
        running.hba("host all all 127.0.0.1/32 scram-sha-256")
        yield running


async def through_psycopg(url: str, query: str) -> list[Any]:
    with psycopg.connect(**DatabaseUrl.parse(url).connect_arguments("psycopg")) as connection:
        return list(connection.execute(query).fetchone() or ())


async def through_asyncpg(url: str, query: str) -> list[Any]:
    connection = await asyncpg.connect(**DatabaseUrl.parse(url).connect_arguments("asyncpg"))
    try:
        return list(await connection.fetchrow(query))
    finally:
        await connection.close()


async def through_a_synchronous_engine(url: str, query: str) -> list[Any]:
    parsed = DatabaseUrl.parse(url)
    engine = create_engine(parsed.sqlalchemy_url("psycopg"), **parsed.engine_arguments("psycopg"))
    try:
        with engine.connect() as connection:
            return list(connection.execute(text(query)).one())
    finally:
        engine.dispose()


async def through_an_asynchronous_engine(url: str, query: str) -> list[Any]:
    parsed = DatabaseUrl.parse(url)
    engine = create_async_engine(parsed.sqlalchemy_url("asyncpg"), **parsed.engine_arguments("asyncpg"))
    try:
        async with engine.connect() as connection:
            return list((await connection.execute(text(query))).one())
    finally:
        await engine.dispose()


WAYS = [through_psycopg, through_asyncpg, through_a_synchronous_engine, through_an_asynchronous_engine]
Way = Callable[[str, str], Awaitable[list[Any]]]
in_every_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)


@in_every_way
@pytest.mark.parametrize("name", ["My Tasks", "100%", "a%20b", "a=b 'c'", "a/b?c#d", "me@work", "täsks"])
async def test_a_database_of_any_name_is_reached(server: Server, way: Way, name: str):
    url = server.create_database(name)
    try:
        assert await way(url, "SELECT current_database()") == [name]
    finally:
        server.drop_database(name)


@in_every_way
@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_a_database_of_another_encoding_is_spoken_to_in_utf8(server: Server, way: Way, encoding: str):
    url = server.create_database(encoding=encoding)
    assert await way(url, "SELECT 'é', getdatabaseencoding()::text") == ["é", encoding]
    server.drop_database(url)


@in_every_way
@pytest.mark.parametrize("password", PASSWORDS)
async def test_a_password_of_any_characters_is_accepted_by_the_server(
    strict_server: Cluster, way: Way, password: str
):
    strict_server.execute(
        sql.SQL("DROP ROLE IF EXISTS ann; CREATE ROLE ann LOGIN PASSWORD {}").format(password).as_string()
    )
    url = f"postgresql://ann:{quote(password, safe='')}@127.0.0.1:{strict_server.port}/postgres"
    assert await way(url, "SELECT current_user::text") == ["ann"]
    with pytest.raises(Exception, match="password authentication failed"):
        await way(url.replace("@127", "x@127"), "SELECT 1")


@in_every_way
async def test_a_raw_at_sign_in_a_password_is_accepted_by_the_server(strict_server: Cluster, way: Way):
    strict_server.execute("DROP ROLE IF EXISTS ann; CREATE ROLE ann LOGIN PASSWORD 'p@ss#:%'")
    url = f"postgresql://ann:p@ss#:%@127.0.0.1:{strict_server.port}/postgres"
    assert await way(url, "SELECT current_user::text") == ["ann"]


@in_every_way
async def test_a_password_of_9000_characters_reaches_the_server(strict_server: Cluster, way: Way):
    """As far as PostgreSQL: a client sends it hashed, and the server hashes whatever it was given."""
    long = "x" * 9000
    strict_server.execute(f"DROP ROLE IF EXISTS ann; CREATE ROLE ann LOGIN PASSWORD '{long}'")
    url = f"postgresql://ann:{long}@127.0.0.1:{strict_server.port}/postgres"
    assert await way(url, "SELECT current_user::text") == ["ann"]


@in_every_way
async def test_passwords_of_the_environment_and_of_pgpass_stay_the_drivers_business(
    strict_server: Cluster, way: Way, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    strict_server.execute("DROP ROLE IF EXISTS ann; CREATE ROLE ann LOGIN PASSWORD 'from outside'")
    url = f"postgresql://ann@127.0.0.1:{strict_server.port}/postgres"
    with monkeypatch.context() as patch:
        patch.setenv("PGPASSWORD", "from outside")
        assert await way(url, "SELECT current_user::text") == ["ann"]
    passfile = tmp_path / "passwords"
    passfile.write_text("*:*:*:ann:from outside\n")
    passfile.chmod(0o600)
    assert await way(f"{url}?passfile={passfile}", "SELECT current_user::text") == ["ann"]


@in_every_way
async def test_unix_sockets_are_reached_in_both_notations(strict_server: Cluster, way: Way):
    folder, port = str(strict_server.folder), strict_server.port
    for url in (
        f"postgresql://postgres@/postgres?host={folder}&port={port}",
        f"postgresql://postgres@{quote(folder, safe='')}:{port}/postgres",
        f"postgresql://postgres@/postgres?host={folder}&port={port}&sslmode=require",
    ):
        assert await way(url, "SELECT inet_client_addr() IS NULL") == [True]


@in_every_way
async def test_the_second_host_is_used_where_the_first_refuses(strict_server: Cluster, way: Way):
    url = f"postgresql://postgres@127.0.0.1:1,{quote(str(strict_server.folder), safe='')}:{strict_server.port}/postgres"
    assert await way(url, "SELECT 1") == [1]
    assert await way(f"{url}?target_session_attrs=primary", "SELECT 1") == [1]


@in_every_way
async def test_settings_of_the_url_are_in_force(server: Server, way: Way):
    query = "SELECT current_setting('application_name'), current_setting('statement_timeout')"
    url = server.url() + ("&" if "?" in server.url() else "?")
    asked = "application_name=my+app&options=-c%20statement_timeout%3D5s%20--geqo%3Doff&gssencmode=disable"
    assert await way(url + asked, query) == ["my app", "5s"]


@in_every_way
async def test_a_pooler_takes_the_start_up_of_every_way(pooler: Pooler, way: Way):
    url = pooler.url()
    url += ("&" if "?" in url else "?") + "pgbouncer=true&application_name=todo"
    for _ in range(8):
        assert await way(url, "SELECT count(*) FROM pg_prepared_statements") == [0]


@pytest.mark.parametrize(
    ("query", "host", "accepted"),
    [
        ("sslmode=disable", "127.0.0.1", False),
        ("sslmode=allow", "127.0.0.1", True),
        ("sslmode=prefer", "127.0.0.1", True),
        ("sslmode=prefer&sslcert=CERT&sslkey=KEY", "127.0.0.1", True),
        ("sslmode=require", "127.0.0.1", True),
        ("ssl=true", "127.0.0.1", True),
        ("sslmode=require&sslnegotiation=direct", "localhost", None),
        ("sslmode=require&sslrootcert=CA", "127.0.0.1", True),
        ("sslmode=require&sslrootcert=STRANGER", "127.0.0.1", False),
        ("sslmode=verify-ca&sslrootcert=CA", "127.0.0.1", True),
        ("sslmode=verify-ca&sslrootcert=STRANGER", "127.0.0.1", False),
        ("sslmode=verify-full&sslrootcert=CA", "localhost", True),
        ("sslmode=verify-full&sslrootcert=CA", "127.0.0.1", False),
        ("sslmode=verify-full&sslrootcert=CA&channel_binding=require", "localhost", True),
        ("sslrootcert=system", "localhost", False),
        ("sslmode=require&sslrootcert=CA&sslcert=CERT&sslkey=KEY", "127.0.0.1", True),
    ],
)
async def test_both_drivers_give_the_security_that_was_asked_for(tls_server: Cluster, query, host, accepted):
    made = tls_server.certificates
    assert made is not None
    tls_server.execute("DROP ROLE IF EXISTS ann; CREATE ROLE ann LOGIN PASSWORD 'p'")
    tls_server.hba("hostssl all all 127.0.0.1/32 scram-sha-256")
    key = tls_server.folder / "key.pem"
    key.write_bytes(made.client_key.read_bytes())
    key.chmod(0o600)
    places = {"CA": made.authority, "STRANGER": made.stranger, "CERT": made.client_certificate, "KEY": key}
    parameters = "&".join(
        f"{name}={places.get(value, value)}"
        for name, _, value in (part.partition("=") for part in query.split("&"))
    )
    # "localhost" may be ::1 first, where the server does not listen: both drivers go on to 127.0.0.1.
    url = f"postgresql://ann:p@{host}:{tls_server.port}/postgres?{parameters}"
    seen = []
    for way in (through_psycopg, through_asyncpg):
        try:
            seen.append(await way(url, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == [True])
        except (OSError, psycopg.Error, asyncpg.PostgresError):
            seen.append(False)
    assert seen[0] is seen[1]
    assert accepted is None or seen == [accepted] * 2
