"""The tests' own tools do what the tests believe of them."""

import os

import psycopg
import pytest

from tests.support import processes
from tests.support.catalog_dump import dump
from tests.support.clusters import Cluster
from tests.support.pooler import Pooler
from tests.support.ports import blackhole, refuse
from tests.support.proxy import Proxy
from tests.support.servers import Server, execute


@pytest.fixture
def counted(database: str) -> str:
    """A database with an empty table `counted`."""
    execute(database, "CREATE TABLE counted (id bigint GENERATED ALWAYS AS IDENTITY)")
    return database


def test_a_database_may_have_any_name_and_encoding(server: Server):
    for name, encoding in (("Größe % of/it", "UTF8"), ("latin", "LATIN1"), ("none", "SQL_ASCII")):
        url = server.create_database(name, encoding=encoding)
        assert execute(url, "SELECT current_database(), getdatabaseencoding()") == [(name, encoding)]
        server.drop_database(url)
    assert not server.execute("SELECT 1 FROM pg_database WHERE datname = 'latin'")


def test_a_private_server_can_be_set_closed_crashed_and_restarted(private_server: Cluster):
    private_server.set("max_connections", 15)
    assert private_server.execute("SHOW max_connections") == [("15",)]
    private_server.hba("host all all all reject")
    with pytest.raises(psycopg.OperationalError, match="rejects"):
        execute(private_server.url(), "SELECT 1")
    private_server.hba()
    with psycopg.connect(private_server.url()) as connection:
        private_server.restart("immediate")
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert execute(private_server.url(), "SELECT 1") == [(1,)]


def test_the_tls_server_is_known_by_its_own_authority_and_name_only(tls_server: Cluster):
    files = tls_server.certificates
    assert files
    url = tls_server.url().replace("127.0.0.1", "localhost") + "?sslmode=verify-full&sslrootcert="
    assert execute(f"{url}{files.authority}", "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == [
        (True,)
    ]
    for wrong in (f"{url}{files.stranger}", f"{url}{files.authority}".replace("localhost", "127.0.0.1")):
        with pytest.raises(psycopg.OperationalError, match="certificate"):
            execute(wrong, "SELECT 1")


def test_the_pooler_gives_a_client_another_backend_for_each_transaction(pooler: Pooler, database: str):
    with psycopg.connect(pooler.url(database), prepare_threshold=None) as one:
        first = one.execute("SELECT pg_backend_pid()").fetchone()
        one.commit()
        with psycopg.connect(pooler.url(database), prepare_threshold=None) as other:
            assert other.execute("SELECT pg_backend_pid()").fetchone() == first


def test_a_black_hole_accepts_and_a_closed_port_refuses():
    with blackhole() as url, pytest.raises(psycopg.errors.ConnectionTimeout):
        psycopg.connect(url, connect_timeout=2)
    with refuse() as url, pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(url)


def test_a_process_gets_no_database_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    for name in ("DATABASE_URL", "PGHOST", "TODO_SCHEMA_TEST_URL"):
        monkeypatch.setenv(name, "elsewhere")
    found = processes.run_python(
        "import os, sys; print('elsewhere' in os.environ.values(), os.environ['X'])", env={"X": "1"}
    )
    assert found.stdout == "False 1\n"


def test_racers_run_at_once_and_each_reports_what_became_of_it(server: Server, counted: str):
    snippet = """
import os, psycopg
def boot(url):
    print("not for the report", flush=True)
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO counted DEFAULT VALUES")
    with psycopg.connect(url) as connection:
        mine, = connection.execute("SELECT nextval('turn')").fetchone()
    if mine == 1:
        os.kill(os.getpid(), 9)
    if mine == 2:
        raise LookupError("second")
    return mine
"""
    execute(counted, "CREATE SEQUENCE turn")
    with Proxy(server, barrier=5) as proxy:
        told = processes.fork_race(5, snippet, proxy.url(counted))
    assert sorted(one["result"] for one in told if one["ok"]) == [3, 4, 5]
    assert sorted(one["error"] for one in told if not one["ok"]) == [
        "LookupError: second",
        "ended with -9 and said nothing",
    ]
    assert execute(counted, "SELECT count(*) FROM counted") == [(5,)]
    assert os.getpid() not in {one["pid"] for one in told}


def test_a_dump_is_equal_for_equal_catalogues_and_for_no_others(server: Server, counted: str):
    copy = server.create_database(template=counted)
    assert dump(copy) == dump(counted)
    execute(copy, "COMMENT ON COLUMN counted.id IS 'something'")
    assert dump(copy) != dump(counted)
    assert "something" in dump(copy, tables=["counted"])
    server.drop_database(copy)
