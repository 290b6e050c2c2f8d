"""Servers that are not up yet when a service boots: waited for where, and only where, the caller says so."""

import inspect
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

import todo_schema
from tests.support.clusters import Cluster
from tests.support.ways import Call, both_drivers
from todo_schema import (
    DatabaseUnreachableError,
    State,
    TodoSchemaError,
)

SECRET = "Pa55-w0rd-Pa55"


@pytest.fixture
def late_server(private_server: Cluster) -> Iterator[Cluster]:
    """A server that is stopped, and starts a second after the test began."""
    private_server.stop()

    def start() -> None:
        time.sleep(1)
        private_server.start()

    starter = threading.Thread(target=start)
    starter.start()
    yield private_server
    starter.join()


@both_drivers
def test_connect_retry_waits_for_a_server_that_is_not_up_yet(late_server: Cluster, call: Call):
    assert call("upgrade", late_server.url(), connect_retry=30).after is State.CURRENT
    assert call("check", late_server.url(), connect_retry=30) is State.CURRENT


def connections_taken(call: Call, function: str, **options: object) -> tuple[TodoSchemaError, int]:
    """The error of a call at a server that hangs up on everybody, and how many connections it made."""
    taken = 0
    stopped = threading.Event()
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.settimeout(0.05)

        def hang_up() -> None:
            nonlocal taken
            while not stopped.is_set():
                try:
                    listener.accept()[0].close()
                except TimeoutError:
                    continue
                taken += 1

        door = threading.Thread(target=hang_up)
        door.start()
        url = f"postgresql://ann:{SECRET}@127.0.0.1:{listener.getsockname()[1]}/d?sslmode=disable"
        try:
            with pytest.raises(TodoSchemaError) as caught:
                call(function, url, **options)
        finally:
            stopped.set()
            door.join()
    return caught.value, taken


@both_drivers
@pytest.mark.parametrize("function", ["upgrade", "check"])
def test_nothing_is_tried_again_unless_connect_retry_asks_for_it(call: Call, function: str):
    error, taken = connections_taken(call, function)
    assert (type(error), taken) == (DatabaseUnreachableError, 1)
    error, taken = connections_taken(call, function, connect_retry=0.5)
    assert type(error) is DatabaseUnreachableError
    assert taken > 2


@pytest.mark.parametrize("function", ["upgrade", "upgrade_async", "check", "check_async"])
def test_connect_retry_is_off_by_default(function: str):
    assert inspect.signature(getattr(todo_schema, function)).parameters["connect_retry"].default == 0
