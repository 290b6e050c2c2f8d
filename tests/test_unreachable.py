"""Databases that cannot be reached, or refuse: one clear error each, soon, and without the password."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import pytest
from psycopg import sql

from tests.support.clusters import Cluster, own_server
from tests.support.ports import blackhole, refuse
from tests.support.ways import Call, assert_secret, asyncpg, both_drivers, psycopg
from todo_schema import (
    DatabaseRefusedError,
    DatabaseUnreachableError,
    InvalidUrlError,
    State,
    TodoSchemaError,
)
from todo_schema.urls import DatabaseUrl

SECRET = "Pa55-w0rd-Pa55"
WITH_PASSWORD = "host all all 127.0.0.1/32 scram-sha-256"
FUNCTIONS = ("upgrade", "check", "status")
each_function = pytest.mark.parametrize("function", FUNCTIONS)


@pytest.fixture(scope="module")
def strict_server() -> Iterator[Cluster]:
    """A server without TLS that asks everybody over TCP for the password."""
    with own_server() as running:
        running.hba(WITH_PASSWORD)
        running.execute(f"CREATE ROLE ann LOGIN PASSWORD '{SECRET}'; CREATE ROLE bob PASSWORD '{SECRET}'")
        yield running


@contextmanager
def access(server: Cluster, rule: str) -> Iterator[None]:
    """Other access rules for the block."""
    server.hba(rule)
    try:
        yield
    finally:
        server.hba(WITH_PASSWORD)


def refusal(
    call: Call,
    function: str,
    url: str,
    kind: type[TodoSchemaError],
    caplog: pytest.LogCaptureFixture,
    **options: object,
) -> TodoSchemaError:
    """The error that a call ends with, after a look for the password in every place where one might leak."""
    caplog.set_level(logging.DEBUG)
    with pytest.raises(TodoSchemaError) as caught:
        call(function, url, **options)
    error = caught.value
    assert type(error) is kind
    assert error.found
    assert error.needed
    assert error.cure
    assert str(error) == f"found: {error.found}\nneeded: {error.needed}\ncure: {error.cure}"
    assert_secret(error, SECRET)
    assert SECRET not in caplog.text
    return error


@both_drivers
@each_function
def test_a_host_where_nobody_listens_is_unreachable(call: Call, function: str, caplog):
    with refuse() as url:
        address = url.replace("postgres@", f"ann:{SECRET}@")
        error = refusal(call, function, address, DatabaseUnreachableError, caplog)
    assert "ann:***@127.0.0.1" in error.found
    assert "connect_retry" in error.cure


@pytest.mark.parametrize(
    ("call", "function"),
    [(psycopg, "upgrade"), (asyncpg, "upgrade"), (psycopg, "check"), (asyncpg, "status")],
)
def test_a_host_that_never_answers_is_given_up_after_the_connect_timeout(call: Call, function: str, caplog):
    with blackhole() as url:
        address = url.replace("postgres@", f"ann:{SECRET}@") + "?connect_timeout=1"
        error = refusal(call, function, address, DatabaseUnreachableError, caplog)
    assert "timeout" in error.found


def test_the_connect_timeout_is_set_where_the_url_has_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("PGCONNECT_TIMEOUT", raising=False)
    url = DatabaseUrl.parse("postgresql://h/d")
    assert url.connect_arguments("psycopg")["connect_timeout"] == 10
    assert url.connect_arguments("asyncpg")["timeout"] == 10


@both_drivers
@each_function
def test_a_host_without_an_address_is_unreachable(call: Call, function: str, caplog):
    address = f"postgresql://ann:{SECRET}@host.invalid/d"
    assert "host.invalid" in refusal(call, function, address, DatabaseUnreachableError, caplog).found


@both_drivers
@each_function
def test_a_wrong_password_is_refused(strict_server: Cluster, call: Call, function: str, caplog):
    strict_server.execute("ALTER ROLE ann PASSWORD 'another'")
    try:
        url = strict_server.url("postgres", "ann", SECRET)
        error = refusal(call, function, url, DatabaseRefusedError, caplog)
    finally:
        strict_server.execute(f"ALTER ROLE ann PASSWORD '{SECRET}'")
    assert "password authentication failed" in error.found
    assert "connect_retry" not in error.cure


@both_drivers
@pytest.mark.parametrize(
    ("user", "database", "said"),
    [
        ("ann", "nowhere", 'database "nowhere" does not exist'),
        ("nobody", "postgres", 'password authentication failed for user "nobody"'),
        ("bob", "postgres", 'role "bob" is not permitted to log in'),
    ],
)
def test_an_unknown_database_or_role_is_refused(strict_server, call: Call, user, database, said, caplog):
    url = strict_server.url(database, user, SECRET)
    for function in FUNCTIONS:
        assert said in refusal(call, function, url, DatabaseRefusedError, caplog).found


@both_drivers
def test_a_role_that_a_trusting_server_does_not_know_is_refused(strict_server, call: Call, caplog):
    with access(strict_server, "host all all all trust"):
        for function in FUNCTIONS:
            url = strict_server.url("postgres", "nobody", SECRET)
            error = refusal(call, function, url, DatabaseRefusedError, caplog)
            assert 'role "nobody" does not exist' in error.found


@both_drivers
def test_an_address_that_the_access_rules_leave_out_is_refused(strict_server, call: Call, caplog):
    with access(strict_server, "local all all trust"):
        for function in FUNCTIONS:
            url = strict_server.url("postgres", "ann", SECRET)
            error = refusal(call, function, url, DatabaseRefusedError, caplog)
            assert "no pg_hba.conf entry" in error.found


@both_drivers
@each_function
def test_a_server_without_tls_is_refused_where_the_url_requires_tls(
    strict_server, call: Call, function: str, caplog
):
    url = f"{strict_server.url('postgres', 'ann', SECRET)}?sslmode=require"
    error = refusal(call, function, url, DatabaseRefusedError, caplog)
    assert "TLS" in error.found
    assert "sslmode" in error.cure


@both_drivers
@pytest.mark.parametrize(
    ("host", "authority"),
    [("localhost", "stranger"), ("127.0.0.1", "authority")],
    ids=["wrong CA", "wrong name"],
)
def test_a_certificate_that_does_not_prove_the_host_is_refused(
    tls_server: Cluster, call: Call, host: str, authority: str, caplog
):
    path = getattr(tls_server.certificates, authority)
    url = f"postgresql://ann:{SECRET}@{host}:{tls_server.port}/postgres"
    for function in FUNCTIONS:
        asked = f"{url}?sslmode=verify-full&sslrootcert={path}"
        error = refusal(call, function, asked, DatabaseRefusedError, caplog)
        assert "TLS" in error.found
        assert "certificate" in error.needed


@both_drivers
@pytest.mark.parametrize("binding", ["", "&channel_binding=require"])
def test_a_certificate_that_proves_the_host_lets_us_in(tls_server: Cluster, call: Call, binding: str):
    tls_server.hba("hostssl all all 127.0.0.1/32 scram-sha-256")
    tls_server.execute(f"ALTER ROLE postgres PASSWORD '{SECRET}'")
    database = tls_server.create_database()
    url = f"postgresql://postgres:{SECRET}@localhost:{tls_server.port}/{database.rsplit('/', 1)[1]}"
    url += f"?sslmode=verify-full&sslrootcert={tls_server.certificates.authority}{binding}"
    try:
        assert call("upgrade", url).after is State.CURRENT
        assert call("check", url) is State.CURRENT
        assert call("status", url).state is State.CURRENT
    finally:
        tls_server.drop_database(database)
        tls_server.hba()


@both_drivers
@each_function
@pytest.mark.parametrize("scheme", ["sqlite", "mysql", "mysql+pymysql", "http"])
def test_a_url_of_another_database_is_refused_by_its_name(call: Call, function: str, scheme: str, caplog):
    error = refusal(call, function, f"{scheme}://ann:{SECRET}@host/file.db", InvalidUrlError, caplog)
    assert scheme in error.found
    assert "postgresql://" in error.cure + error.needed


@both_drivers
@pytest.mark.parametrize("function", ["downgrade", "stamp", "history", "plan", "sql"])
def test_the_other_functions_refuse_and_keep_the_password_as_well(
    strict_server, call: Call, function: str, caplog
):
    options: dict[str, object] = {"downgrade": {"to": "base"}, "stamp": {"revision": 1}}.get(function, {})
    url = strict_server.url("nowhere", "ann", SECRET)
    refusal(call, function, url, DatabaseRefusedError, caplog, **options)
    refusal(call, function, f"mysql://ann:{SECRET}@host/d", InvalidUrlError, caplog, **options)


@both_drivers
@pytest.mark.parametrize(
    ("password", "raw"),
    [
        ("p%40@/:#?% &+=", "p%2540%40%2F%3A%23%3F%25%20%26%2B%3D"),
        ("a@b:c#d e", "a@b:c#d e"),
        ("50%", "50%"),
        ("päßwörd ✓", "päßwörd ✓"),
        ("x" * 9000, "x" * 9000),
    ],
    ids=["reserved", "raw", "per cent", "non-ASCII", "9000 characters"],
)
def test_a_password_of_any_characters_works_percent_encoded_and_raw(
    strict_server, call: Call, password: str, raw: str
):
    strict_server.execute(
        sql.SQL("DROP ROLE IF EXISTS eve; CREATE ROLE eve LOGIN PASSWORD {}").format(password).as_string()
    )
    database = strict_server.create_database()
    strict_server.execute("GRANT CREATE ON SCHEMA public TO eve", database)
    name = database.rsplit("/", 1)[1]
    try:
        for text in {quote(password, safe=""), raw}:
            url = f"postgresql://eve:{text}@127.0.0.1:{strict_server.port}/{name}"
            assert call("upgrade", url).after is State.CURRENT
            assert call("check", url) is State.CURRENT
            assert call("status", url).state is State.CURRENT
            with pytest.raises(DatabaseRefusedError) as caught:
                call("upgrade", url.replace("eve:", "eve:wrong"))
            assert_secret(caught.value, password)
    finally:
        strict_server.drop_database(database)


@both_drivers
def test_a_wrong_password_is_not_tried_again(strict_server, call: Call, caplog):
    refused = "SELECT count(*) FROM regexp_matches(pg_read_file({}), 'FATAL:  password auth', 'g')"
    query = sql.SQL(refused).format(str(strict_server.log)).as_string()
    ((before,),) = strict_server.execute(query)
    url = strict_server.url("postgres", "ann", f"{SECRET}x")
    refusal(call, "upgrade", url, DatabaseRefusedError, caplog, connect_retry=60)
    ((after,),) = strict_server.execute(query)
    assert after - before == 1


@both_drivers
def test_a_caller_s_own_engine_is_explained_like_a_url(strict_server, call: Call, caplog):
    from sqlalchemy import create_engine
    from sqlalchemy.ext.asyncio import create_async_engine

    driver = call.__name__  # type: ignore[attr-defined]
    make = create_engine if driver == "psycopg" else create_async_engine
    address = f"postgresql+{driver}://ann:{SECRET}x@127.0.0.1:{strict_server.port}/postgres"
    for function in FUNCTIONS:
        engine = make(address)
        refusal(call, function, engine, DatabaseRefusedError, caplog)
