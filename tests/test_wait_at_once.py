"""wait where there is nothing to wait for: the database can be used, or no waiting would help."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.clusters import Cluster, own_server
from tests.support.obstacles import GRANT
from tests.support.proxy import Proxy
from tests.support.servers import Server, execute
from tests.support.states import STATES
from tests.support.ways import Call, both_drivers, role, role_of
from todo_schema import (
    DatabaseRefusedError,
    ForeignVersionError,
    InvalidNameError,
    InvalidUrlError,
    Progress,
    SchemaDriftError,
    SchemaTooNewError,
    State,
    TodoSchemaError,
)


@pytest.fixture(scope="module")
def own() -> Iterator[Cluster]:
    """A server that asks ann for her password, and lets everybody else in."""
    with own_server() as running:
        running.execute("CREATE ROLE ann LOGIN PASSWORD 'right'")
        running.hba("host all ann all scram-sha-256", "host all all all trust")
        yield running


# What is there already


@both_drivers
@pytest.mark.parametrize("state", [State.CURRENT, State.AHEAD])
def test_a_database_that_can_be_used_is_not_waited_for(
    server: Server, upgraded_database: str, call: Call, state: State, caplog: pytest.LogCaptureFixture
):
    execute(upgraded_database, STATES[state])
    caplog.set_level(logging.INFO, "todo_schema")
    reported: list[Progress] = []
    with Proxy(server) as proxy:
        found = call("wait", proxy.url(upgraded_database), timeout=0, progress=reported.append)
    assert (found, proxy.connections, reported) == (state, 1, [])
    assert len([record for record in caplog.records if "compatible with it" in record.message]) == (
        state is State.AHEAD
    )
    if state is State.CURRENT:
        assert len(proxy.statements) == 1


@both_drivers
@pytest.mark.parametrize("state", [State.CURRENT, State.AHEAD])
def test_a_role_with_the_right_to_select_alone_can_wait(
    server: Server, upgraded_database: str, call: Call, state: State
):
    execute(upgraded_database, STATES[state])
    with role(server, upgraded_database) as url:
        execute(upgraded_database, GRANT.format(role_of(url)))
        assert call("wait", url, timeout=0) is state


# What no waiting helps against


def assert_raised_at_once(
    call: Call, proxy: Proxy, url: str, error: type[TodoSchemaError], **options: Any
) -> None:
    """Assert that a call raises at its first look: one connection, and nothing to report."""
    reported: list[Progress] = []
    with pytest.raises(error) as caught:
        call("wait", url, timeout=600, progress=reported.append, **options)
    assert type(caught.value) is error
    assert (proxy.connections, reported) == (1, [])


@both_drivers
@pytest.mark.parametrize(
    ("change", "error"),
    [
        (STATES[State.TOO_NEW], SchemaTooNewError),
        ("UPDATE todo_schema_version SET version_num = 'a1b2c3'", ForeignVersionError),
        ("INSERT INTO todo_schema_version VALUES ('999')", ForeignVersionError),
        ("ALTER TABLE todo_schema_version RENAME version_num TO number", ForeignVersionError),
        ("DROP TABLE tasks", SchemaDriftError),
    ],
    ids=["too new", "somebody else's version", "two versions", "somebody else's table", "drift"],
)
def test_a_database_that_waiting_cannot_mend_is_told_at_once(
    server: Server, upgraded_database: str, call: Call, change: str, error: type[TodoSchemaError]
):
    execute(upgraded_database, change)
    with Proxy(server) as proxy:
        assert_raised_at_once(call, proxy, proxy.url(upgraded_database), error)


@both_drivers
@pytest.mark.parametrize(
    ("database", "user", "password"),
    [("postgres", "ann", "wrong"), ("postgres", "nobody", "x"), ("missing", "ann", "right")],
    ids=["wrong password", "no such role", "no such database"],
)
def test_a_server_that_refuses_is_told_at_once(
    own: Cluster, call: Call, database: str, user: str, password: str
):
    with Proxy(own) as proxy:
        url = proxy.url(database, user, password)
        assert_raised_at_once(call, proxy, url, DatabaseRefusedError)


@both_drivers
def test_what_cannot_be_a_url_or_a_schema_is_told_at_once(call: Call, database: str):
    with pytest.raises(InvalidUrlError):
        call("wait", "mysql://u@h/d", timeout=600)
    with pytest.raises(InvalidNameError):
        call("wait", database, schema="x" * 64, timeout=600)
