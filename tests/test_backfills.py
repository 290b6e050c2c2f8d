"""A backfill does every row that was there exactly once, in transactions of its own, whatever comes between."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest

from tests.support import clusters, ways
from tests.support.backfilling import commits, counted, counting, filled, locked, parts, told
from tests.support.clusters import Cluster
from tests.support.online import Scripted, scripted
from tests.support.servers import Server, execute
from tests.support.waiting import wait_for
from tests.support.ways import Call, both_drivers, role, role_of
from todo_schema.backfills import resized

# Keys that are hard to write down: each may be the last of a batch.
AWKWARD = (
    "",
    "'",
    '"',
    "\\",
    "{0}",
    "{key}",
    "100 %s",
    "a\nb",
    ", 7 rows",
    "at x, 9 rows",
    "$todo_schema$",
    "é🦄",
)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scripted]:
    with scripted(tmp_path_factory.mktemp("backfills")) as running:
        yield running


@pytest.fixture(scope="module")
def older() -> Iterator[Cluster]:
    """Debian's server where it is installed: an older one than the wheel's."""
    with clusters.own_server() as running:
        yield running


@pytest.fixture
def tasks(server: Server, template: str) -> Iterator[str]:
    """The url of a database at the head with a thousand tasks: numbers 1 to 1000."""
    with filled(server, 1000, template) as url:
        yield url


@pytest.mark.parametrize(
    ("batch", "took", "following"),
    [
        (1000, 0.1, 1000),
        (1000, 0.08, 1250),
        (1000, 0.2, 500),
        (1000, 0.0, 2000),
        (1000, 0.01, 2000),
        (1000, 9.9, 500),
        (12, 9.9, 10),
        (10, 9.9, 10),
        (1, 0.1, 10),
        (100_000, 0.001, 100_000),
    ],
)
def test_a_batch_is_sized_for_100_ms_and_at_most_doubles_or_halves(batch: int, took: float, following: int):
    assert resized(batch, took) == following


@pytest.mark.parametrize("start", [1, 1000, 1_000_000])
@pytest.mark.parametrize("rate", [500, 50_000])
def test_batches_come_to_last_100_ms_wherever_they_began(start: int, rate: int):
    batch = start
    for _ in range(20):
        batch = resized(batch, batch / rate)
    assert batch == pytest.approx(rate / 10, rel=0.02)


@both_drivers
def test_others_see_each_batch_when_it_is_done_and_are_not_kept_waiting(
    package: Scripted, tasks: str, tmp_path: Path, call: Call
):
    """A service holds one row: the batches before it are committed, and what they hold it may change at once."""
    progress = tmp_path / "told"
    with locked(tasks, "SELECT FROM tasks WHERE id = 700 FOR UPDATE"):
        body = (counting(), "pass")
        package.start("upgrade", tasks, body=body, call=call, progress=str(progress))
        wait_for(lambda: len(told(progress, "retrying")) > 2)
        seen = counted(tasks)
        assert 0 < seen[1] < 700
        (row,) = parts(tasks)
        assert row == f"part 1 of 1 at {seen[1]}, {seen[1]} rows"
        service = "SET lock_timeout = '2s'; UPDATE tasks SET title = 'y' WHERE id = {}; "
        execute(tasks, "".join(service.format(task) for task in (1, 699, 701, 1000)))
        execute(
            tasks, "SET lock_timeout = '2s'; INSERT INTO tasks (user_id, title) SELECT id, 'new' FROM users"
        )
        assert "pid " in told(progress, "retrying")[-1]["text"]
        assert "billing-api" in told(progress, "retrying")[-1]["text"]
    assert package.outcome()["after"] == "current"
    assert counted(tasks) in ({1: 1000, 0: 1}, {1: 1001})
    assert commits(tasks) > 4
    assert parts(tasks)[0].startswith("part 1 of 1, 100")


@pytest.mark.parametrize(("version", "call"), [("newest", ways.asyncpg), ("older", ways.psycopg)])
def test_every_row_is_done_once_whatever_its_key_is(
    server: Server, older: Cluster, package: Scripted, version: str, call: Call
):
    """The statement fails again and again, each time at another row, and is called again each time."""
    with filled(server if version == "newest" else older, 100) as url:
        literals = ", ".join(f"({psycopg.sql.Literal(key).as_string()})" for key in AWKWARD)
        execute(
            url,
            f"""CREATE TABLE words (word text PRIMARY KEY, n int NOT NULL DEFAULT 0);
            CREATE TABLE codes (code char(9) PRIMARY KEY, n int NOT NULL DEFAULT 0);
            CREATE TABLE names (name uuid PRIMARY KEY, n int NOT NULL DEFAULT 0);
            INSERT INTO words VALUES {literals};
            INSERT INTO words SELECT word || g FROM words, generate_series(1, 9) g;
            INSERT INTO codes SELECT 'c' || g FROM generate_series(1, 60) g;
            INSERT INTO names SELECT gen_random_uuid() FROM generate_series(1, 100);
            CREATE SEQUENCE calls;
            CREATE FUNCTION fail_now_and_then(x int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
                RETURN x / (nextval('calls') % 71)::int - x / (currval('calls') % 71)::int + x;
            END $$""",
        )
        up = "\n".join(
            counting("fail_now_and_then(1)", table, batch=1, key=key)
            for table, key in {"tasks": "id", "words": "word", "codes": "code", "names": "name"}.items()
        )
        failures = 0
        while (answer := package.upgrade(url, up, call=call)).get("error"):
            failures += 1
            assert "division by zero" in answer["found"]
        assert failures > 3
        tables = ("tasks", "words", "codes", "names")
        assert [counted(url, table) for table in tables] == [{1: 100}, {1: 120}, {1: 60}, {1: 100}]
        assert parts(url) == [
            f"part {number} of 4, {rows} rows" for number, rows in enumerate((100, 120, 60, 100), start=1)
        ]


@pytest.mark.parametrize("table", ["tasks", "users"])
def test_it_ends_although_rows_are_inserted_faster_than_it_goes(package: Scripted, tasks: str, table: str):
    """Each row that is done inserts two: with numbers for keys behind its end, with uuids anywhere."""
    values = (
        "(user_id, title) SELECT id, 'new' FROM users"
        if table == "tasks"
        else "(email) SELECT gen_random_uuid()"
    )
    execute(
        tasks,
        f"""ALTER TABLE users ADD n int NOT NULL DEFAULT 0, ADD old bool NOT NULL DEFAULT false;
        ALTER TABLE tasks ADD old bool NOT NULL DEFAULT false;
        UPDATE tasks SET old = id <= 100;
        INSERT INTO users (email) SELECT gen_random_uuid() FROM generate_series(1, 99 * ('{table}' = 'users')::int);
        UPDATE users SET old = true;
        CREATE FUNCTION insert_two() RETURNS int LANGUAGE sql AS $$
            INSERT INTO {table} {values} FROM generate_series(1, 2); SELECT 1
        $$""".replace("FROM users FROM", "FROM users,"),
    )
    if table == "tasks":
        execute(tasks, "DELETE FROM tasks WHERE NOT old")
    assert package.upgrade(tasks, counting("insert_two()", table))["after"] == "current"
    assert execute(tasks, f"SELECT DISTINCT n FROM {table} WHERE old") == [(1,)]
    done = execute(tasks, f"SELECT count(*) FROM {table} WHERE n = 1")[0][0]
    assert execute(tasks, f"SELECT count(*) FROM {table}") == [(100 + 2 * done,)]


def test_an_empty_table_is_done_at_once(package: Scripted, server: Server):
    with filled(server, 0) as url:
        assert package.upgrade(url, counting())["after"] == "current"
        assert parts(url) == ["part 1 of 1, 0 rows"]


def test_a_row_that_a_service_changes_meanwhile_is_done_under_any_isolation(
    package: Scripted, server: Server, tasks: str
):
    with role(server, tasks) as url:
        execute(tasks, f"ALTER ROLE {role_of(url)} SUPERUSER")
        execute(tasks, f"ALTER ROLE {role_of(url)} SET default_transaction_isolation = 'serializable'")
        with locked(tasks, "UPDATE tasks SET title = 'y' WHERE id = 300") as service:
            package.start("upgrade", url, body=(counting(), "pass"))
            wait_for(lambda: counted(tasks).get(1, 0) >= 100)
            wait_for(
                lambda: execute(tasks, "SELECT FROM pg_stat_activity WHERE wait_event = 'transactionid'"), 5
            )
            service.commit()
        assert package.outcome()["after"] == "current"
        assert counted(tasks) == {1: 1000}


TIMEOUTS = ("statement", "lock", "idle_in_transaction_session", "transaction", "idle_session")
# Each of them takes longer than any of the timeouts, and so does what the session waits for in between.
SLOW_PARTS = f"""
import time
op.execute("SELECT nap(1)")
time.sleep(0.25)
operations.create_index(op, "ix_slow", "tasks", ["nap(id)"])
operations.add_check(op, "ck_slow", "tasks", "nap(id) = 1")
{counting("nap(id)")}
"""


@pytest.mark.parametrize(("version", "call"), [("newest", ways.asyncpg), ("older", ways.psycopg)])
def test_no_timeout_of_the_host_reaches_any_part(
    server: Server, older: Cluster, package: Scripted, version: str, call: Call, tmp_path: Path
):
    running = server if version == "newest" else older
    with filled(running, 100) as url, role(running, url, "SUPERUSER") as login:
        execute(
            url,
            "CREATE FUNCTION nap(id bigint) RETURNS int LANGUAGE plpgsql IMMUTABLE AS"
            " $$ BEGIN IF id = 1 THEN PERFORM pg_sleep(0.25); END IF; RETURN 1; END $$",
        )
        for name in TIMEOUTS:
            if running.execute(f"SELECT FROM pg_settings WHERE name = '{name}_timeout'"):
                execute(url, f"ALTER ROLE {role_of(login)} SET {name}_timeout = '150ms'")
        progress = tmp_path / "told"
        with ThreadPoolExecutor() as threads:
            with locked(url, "SELECT FROM tasks WHERE id = 50 FOR UPDATE"):
                run = threads.submit(package.upgrade, login, SLOW_PARTS, call=call, progress=str(progress))
                wait_for(lambda: len(told(progress, "retrying")) > 3 or run.done())
            answer = run.result()
        assert answer.get("after") == "current", answer
        assert counted(url) == {1: 100}


def test_it_tells_rows_their_rate_and_what_is_left(package: Scripted, tasks: str, tmp_path: Path):
    execute(tasks, "ANALYZE tasks")
    progress = tmp_path / "told"
    slow = counting("length(pg_sleep(0.001)::text) + 1")
    package.upgrade(tasks, slow, progress=str(progress))
    steps = [facts for facts in told(progress, "backfilling") if facts["done"] is not None]
    assert len(steps) > 1
    for facts in steps:
        assert (facts["total"], facts["unit"]) == (1000, "rows")
        assert 0 < facts["rate"] < 1000
        assert facts["seconds_left"] == pytest.approx(max(1000 - facts["done"], 0) / facts["rate"])
    assert all(earlier["done"] < later["done"] for earlier, later in pairwise(steps))
    assert "rows changed" in steps[-1]["text"]
