"""The proxy of the tests counts, holds back, and breaks as the tests believe."""

import asyncio
import signal
import subprocess
import threading

import asyncpg
import psycopg
import pytest

from tests.support import processes
from tests.support.proxy import Proxy, Statement
from tests.support.servers import Server, execute
from tests.support.waiting import wait_for

INSERT = "INSERT INTO counted DEFAULT VALUES"


@pytest.fixture
def counted(database: str) -> str:
    """A database with an empty table `counted`."""
    execute(database, "CREATE TABLE counted (id bigint GENERATED ALWAYS AS IDENTITY)")
    return database


def rows(database: str) -> int:
    return int(execute(database, "SELECT count(*) FROM counted")[0][0])


def cannot_connect(url: str) -> None:
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)


def test_psycopg_is_counted_statement_by_statement(server: Server, database: str):
    with Proxy(server) as proxy:
        with psycopg.connect(proxy.url(database), autocommit=True, application_name="counted") as connection:
            assert (proxy.connections, proxy.round_trips, proxy.statements) == (1, 1, [])
            assert proxy.startup(1)["application_name"] == "counted"
            assert proxy.backend_pid(1) == connection.info.backend_pid
            connection.execute("SELECT 1")
            connection.execute("SELECT %s", [2])
            assert proxy.round_trips == 3
            with psycopg.connect(proxy.url(database)) as other:
                other.execute("SELECT 3")
        assert proxy.connections == 2
        assert proxy.statements == [
            Statement(1, "SELECT 1"),
            Statement(1, "SELECT $1"),
            Statement(2, "BEGIN"),
            Statement(2, "SELECT 3"),
            Statement(2, "COMMIT"),
        ]
        proxy.reset()
        assert (proxy.connections, proxy.round_trips, proxy.statements) == (0, 0, [])


async def test_asyncpg_is_counted_statement_by_statement(server: Server, database: str):
    with Proxy(server) as proxy:
        connection = await asyncpg.connect(proxy.url(database))
        await connection.execute("SELECT 1")
        assert proxy.round_trips == 2
        assert await connection.fetchval("SELECT $1::int", 2) == 2
        assert proxy.round_trips == 4
        with pytest.raises(asyncpg.UndefinedTableError):
            await connection.fetch("SELECT * FROM nowhere")
        assert await connection.fetchval("SELECT 3") == 3
        await connection.close()
    assert [sql for _, sql in proxy.statements] == [
        "SELECT 1",
        "SELECT $1::int",
        "SELECT * FROM nowhere",
        "SELECT 3",
    ]


def test_a_pipeline_and_a_copy_pass_through(server: Server, counted: str):
    with Proxy(server) as proxy, psycopg.connect(proxy.url(counted), autocommit=True) as connection:
        with connection.pipeline(), connection.cursor() as cursor:
            for number in range(3):
                cursor.execute("SELECT %s::int", [number])
        with connection.cursor() as cursor:
            with cursor.copy("COPY counted (id) FROM STDIN") as copy:
                copy.write_row([1])
            with cursor.copy("COPY counted TO STDOUT") as copy:
                assert [row[0] for row in copy.rows()] == ["1"]
            with cursor.copy("COPY (SELECT %s::int) TO STDOUT", [7]) as copy:
                assert [row[0] for row in copy.rows()] == ["7"]
        assert connection.execute("SELECT 4").fetchone() == (4,)


async def test_a_request_to_cancel_reaches_the_server(server: Server, database: str):
    with Proxy(server) as proxy:
        connection = await asyncpg.connect(proxy.url(database))
        with pytest.raises(TimeoutError):
            await connection.execute("SELECT pg_sleep(60)", timeout=0.2)
        assert await connection.fetchval("SELECT 1") == 1
        assert proxy.connections == 1
        await connection.close()


def test_nobody_passes_the_barrier_alone_and_everybody_passes_together(server: Server, database: str):
    code = "import psycopg, sys; psycopg.connect(sys.argv[1]).close()"
    with Proxy(server, barrier=3) as proxy:
        early = [processes.start_python(code, proxy.url(database)) for _ in range(2)]
        wait_for(lambda: proxy.connections == 2)
        for process in early:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.3)
        assert processes.run_python(code, proxy.url(database)).returncode == 0
        assert [processes.run_python(code, proxy.url(database)).returncode for _ in range(2)] == [0, 0]
        for process in early:
            with process:
                assert process.wait(20) == 0


# What a table holds when the client dies before, inside and after its only statement.
@pytest.mark.parametrize(("moment", "rows_left"), [("before", 0), ("inside", 1), ("after", 1)])
@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_a_process_can_be_killed_at_each_moment_of_a_statement(
    server: Server, counted: str, driver: str, moment: str, rows_left: int
):
    code = {
        "psycopg": "import sys, psycopg\npsycopg.connect(sys.argv[1], autocommit=True).execute(sys.argv[2])",
        "asyncpg": "import sys, asyncio, asyncpg\n"
        "async def main(): await (await asyncpg.connect(sys.argv[1])).execute(sys.argv[2])\n"
        "asyncio.run(main())",
    }[driver]
    started = threading.Event()

    def kill(connection: int, number: int, sql: str, now: str) -> None:
        assert (connection, number, sql) == (1, 1, INSERT)
        if now == moment:
            started.wait()
            processes.kill(process)

    with Proxy(server, on_statement=kill) as proxy:
        process = processes.start_python(code, proxy.url(counted), INSERT)
        started.set()
        with process:
            assert process.wait(20) == -signal.SIGKILL
        wait_for(lambda: rows(counted) == rows_left)


@pytest.mark.parametrize(("moment", "rows_left"), [("before", 0), ("after", 1)])
async def test_a_connection_can_be_cut_and_the_others_live(
    server: Server, counted: str, moment: str, rows_left: int
):
    def cut(connection: int, number: int, sql: str, now: str) -> None:
        if (connection, now) == (1, moment):
            proxy.cut(connection)

    with Proxy(server, on_statement=cut) as proxy:
        first = await asyncpg.connect(proxy.url(counted))
        other = await asyncpg.connect(proxy.url(counted))
        with pytest.raises((asyncpg.ConnectionDoesNotExistError, ConnectionError)):
            await first.execute(INSERT)
        assert await other.fetchval("SELECT count(*) FROM counted") == rows_left
        await other.close()


def test_one_statement_can_be_held_while_another_connection_works(server: Server, counted: str):
    held, go_on = threading.Event(), threading.Event()

    def hold(connection: int, number: int, sql: str, moment: str) -> None:
        if (connection, sql, moment) == (1, INSERT, "before"):
            held.set()
            go_on.wait()

    with Proxy(server, on_statement=hold) as proxy:
        worker = threading.Thread(target=execute, args=(proxy.url(counted), INSERT))
        worker.start()
        held.wait()
        assert execute(proxy.url(counted), "SELECT count(*) FROM counted") == [(0,)]
        go_on.set()
        worker.join()
    assert rows(counted) == 1


def test_a_statement_is_running_inside_and_done_after_before_its_client_knows(server: Server, counted: str):
    state = "SELECT state FROM pg_stat_activity WHERE application_name = 'slow'"
    slow = "INSERT INTO counted OVERRIDING SYSTEM VALUE SELECT 1 FROM pg_sleep(0.5)"
    seen = []

    def look(connection: int, number: int, sql: str, moment: str) -> None:
        if moment == "inside":
            wait_for(lambda: server.execute(state) == [("active",)])
        else:
            assert server.execute(state) == [("idle",)]
        seen.append((moment, rows(counted)))

    with Proxy(server, on_statement=look) as proxy:
        execute(proxy.url(counted) + "&application_name=slow", slow)
        assert seen == [("before", 0), ("inside", 0), ("after", 1)]


async def test_a_prepared_statement_is_known_by_its_text_each_time(server: Server, database: str):
    told = []
    with Proxy(server, on_statement=lambda *what: told.append(what)) as proxy:
        connection = await asyncpg.connect(proxy.url(database))
        one, two = await connection.prepare("SELECT 1"), await connection.prepare("SELECT 2")
        proxy.reset()
        for statement in (one, two, one):
            await statement.fetch()
        assert proxy.statements == []
        await connection.close()
    assert [(number, sql) for _, number, sql, moment in told if moment == "after"][-3:] == [
        (1, "SELECT 1"),
        (2, "SELECT 2"),
        (3, "SELECT 1"),
    ]


def test_a_backend_that_is_killed_says_so_to_its_client(server: Server, database: str):
    def kill(connection: int, number: int, sql: str, moment: str) -> None:
        if (sql, moment) == ("SELECT pg_sleep(60)", "inside"):
            server.execute(f"SELECT pg_terminate_backend({proxy.backend_pid(connection)}, 5000)")

    with Proxy(server, on_statement=kill) as proxy:
        with psycopg.connect(proxy.url(database), autocommit=True) as idle:
            server.execute(f"SELECT pg_terminate_backend({proxy.backend_pid(1)}, 5000)")
            with pytest.raises(psycopg.errors.AdminShutdown):
                idle.execute("SELECT 1")
        with pytest.raises(psycopg.errors.AdminShutdown):
            execute(proxy.url(database), "SELECT pg_sleep(60)")


def test_a_proxy_that_closes_cuts_every_connection_and_leaves_no_thread(server: Server, database: str):
    before = set(threading.enumerate())
    with Proxy(server) as proxy:
        connection = psycopg.connect(proxy.url(database))
    assert set(threading.enumerate()) == before
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")
    connection.close()


def test_a_proxy_that_closes_lets_nobody_through_its_barrier(server: Server, database: str):
    with Proxy(server, barrier=2) as proxy:
        client = threading.Thread(target=cannot_connect, args=(proxy.url(database),))
        client.start()
        wait_for(lambda: proxy.connections == 1)
    client.join()


async def test_concurrent_clients_do_not_mix(server: Server, database: str):
    with Proxy(server) as proxy:

        async def ask(number: int) -> int:
            connection = await asyncpg.connect(proxy.url(database))
            try:
                return await connection.fetchval("SELECT $1::int", number)
            finally:
                await connection.close()

        assert await asyncio.gather(*(ask(number) for number in range(20))) == list(range(20))
        assert proxy.connections == 20
