"""A backfill that is kept from its rows, ended, or overtaken: what is done stays, and nothing is done twice."""

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support import clusters
from tests.support.backfilling import counted, counting, filled, locked, parts, told
from tests.support.clusters import Cluster, give_to
from tests.support.faults import Fault
from tests.support.online import Scripted, scripted
from tests.support.proxy import Moment, Proxy
from tests.support.revisions import NEXT
from tests.support.servers import Server, database_name, execute
from tests.support.standbys import standby
from tests.support.states import rows as history
from tests.support.waiting import wait_for
from tests.support.ways import Call, both_drivers
from todo_schema.compatibility import HEAD


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scripted]:
    with scripted(tmp_path_factory.mktemp("backfills")) as running:
        yield running


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scripted]:
    """The same package once more, for what it does at the same time."""
    with scripted(tmp_path_factory.mktemp("second")) as running:
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


@both_drivers
@pytest.mark.parametrize("lock", ["SELECT FROM tasks WHERE id = 300 FOR UPDATE", "LOCK TABLE tasks"])
def test_rows_that_stay_locked_are_given_up_with_the_name_of_who_holds_them(
    package: Scripted, tasks: str, call: Call, lock: str
):
    with locked(tasks, lock) as service:
        answer = package.upgrade(tasks, counting(), call=call, timeout=0.3)
        assert answer["error"] == "MigrationLockedError"
        assert f"pid {service.info.backend_pid} (billing-api, role postgres, " in answer["found"]
        assert f"SELECT pg_terminate_backend({service.info.backend_pid});" in answer["cure"]
        service.rollback()
        before = counted(tasks)
        assert (before.get(1, 0) >= 100) == ("FOR UPDATE" in lock)
    package.upgrade(tasks, counting(), call=call)
    assert counted(tasks) == {1: 1000}
    assert len(parts(tasks)) == 1


@both_drivers
def test_a_batch_that_is_cancelled_leaves_those_before_it(package: Scripted, tasks: str, call: Call):
    execute(
        tasks,
        "CREATE TABLE open (); CREATE FUNCTION nap() RETURNS int LANGUAGE sql AS 'SELECT 1 FROM pg_sleep(60)'",
    )
    slow = counting("CASE WHEN id = 300 AND NOT EXISTS (SELECT FROM open) THEN nap() ELSE 1 END")
    package.start("upgrade", tasks, body=(slow, "pass"), call=call)
    cancel = (
        "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = %s"
    )
    wait_for(lambda: execute(tasks, cancel, (database_name(tasks),)))
    answer = package.outcome()
    assert answer["error"] == "MigrationFailedError"
    assert "canceling statement due to user request" in answer["found"]
    before = counted(tasks)
    assert 100 < before[1] < 300
    assert parts(tasks) == [f"part 1 of 1 at {before[1]}, {before[1]} rows"]
    execute(tasks, "INSERT INTO open DEFAULT VALUES")
    package.upgrade(tasks, slow, call=call)
    assert counted(tasks) == {1: 1000}
    assert parts(tasks) == ["part 1 of 1, 1000 rows"]


@pytest.fixture
def small_disk(older: Cluster) -> Iterator[Path]:
    """A small file system that the tablespace `small` of that server is on."""
    folder = older.folder / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder]
    mounted = subprocess.run(mount, check=False, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a full disk needs the right to mount one: {mounted.stderr.strip()}")
    try:
        (folder / "space").mkdir()
        give_to(folder, older.system_user)
        older.execute(f"CREATE TABLESPACE small LOCATION '{folder}/space'")
        yield folder
        older.execute("DROP TABLESPACE small")
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
        folder.rmdir()


@both_drivers
def test_a_disk_that_fills_up_leaves_the_batches_before(
    older: Cluster, small_disk: Path, package: Scripted, call: Call
):
    with filled(older, 4000) as url:
        execute(
            url,
            "ALTER TABLE tasks SET TABLESPACE small; ALTER TABLE tasks ALTER description SET STORAGE plain",
        )
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(12 << 20))
        wide = "(SELECT string_agg(md5(g::text), '') FROM generate_series(1, 50) g)"
        up = counting().replace("{'n'", f"{{'description': {wide!r}, 'n'")
        answer = package.upgrade(url, up, call=call)
        assert answer["error"] == "MigrationFailedError"
        assert "No space left on device" in answer["found"]
        before = counted(url)
        assert 0 < before[1] < 4000
        assert parts(url) == [f"part 1 of 1 at {before[1]}, {before[1]} rows"]
        ballast.unlink()
        package.upgrade(url, up, call=call)
        assert counted(url) == {1: 4000}


LOWERED = """
from todo_schema import backfills
backfills._LAG_BYTES, backfills._LONGEST_YIELD = 1 << 18, {}
"""


def test_it_lets_a_standby_come_but_does_not_wait_for_one_that_has_stopped(package: Scripted, tmp_path: Path):
    with clusters.own_server() as primary, standby(primary) as copy, filled(primary, 2000) as url:
        progress = tmp_path / "told"
        wide = counting().replace("{'n'", "{'description': \"repeat('x', 900)\", 'n'")
        copy.execute("SELECT pg_wal_replay_pause()")
        package.start("upgrade", url, body=(LOWERED.format(60) + wide, "pass"), progress=str(progress))
        wait_for(lambda: len(told(progress, "waiting")) > 1)
        assert "lets standbys come" in told(progress, "waiting")[0]["text"]
        done = counted(url)
        assert done.get(0, 0) > 0
        assert counted(url) == done
        copy.execute("SELECT pg_wal_replay_resume()")
        assert package.outcome()["after"] == "current"
        assert counted(url) == {1: 2000}
        progress.unlink()
        copy.execute("SELECT pg_wal_replay_pause()")
        package("downgrade", url, to=HEAD)
        package.upgrade(url, LOWERED.format(0.2) + wide, progress=str(progress))
        assert counted(url) == {2: 2000}
        assert len(told(progress, "waiting")) == 1


@both_drivers
@pytest.mark.parametrize(
    ("at", "to_the_end"),
    [
        (("todo_rows", "before", 1), False),
        (("todo_rows", "before", 3), True),
        (("todo_rows", "after", 2), False),
        (("LOCK TABLE", "before", 2), True),
        (('SELECT id, action FROM "public".todo_schema_history WHERE id = ', "before", 3), True),
    ],
)
def test_a_second_process_that_goes_on_with_it_does_nothing_twice(
    server: Server,
    package: Scripted,
    second: Scripted,
    tasks: str,
    call: Call,
    at: tuple[str, Moment, int],
    to_the_end: bool,
):
    """The first one has lost its guard; it is held back until the second has committed some batches, or has ended."""
    gate = Nth(*at, lambda _: overtake())

    def overtake() -> None:
        server.execute(f"SELECT pg_terminate_backend({proxy.backend_pid(1)}, 5000)")
        before = counted(tasks).get(1, 0)
        others.append(threads.submit(second.upgrade, tasks, up))
        enough = 1000 if to_the_end else before + 100
        wait_for(lambda: counted(tasks).get(1, 0) > enough or others[0].done())

    others: list[Future[Any]] = []
    up = counting()
    with ThreadPoolExecutor() as threads, Proxy(server, on_statement=gate) as proxy:
        answer = package.upgrade(proxy.url(tasks), up, call=call)
        assert gate.happened
        assert others[0].result()["after"] == answer["after"] == "current"
    assert counted(tasks) == {1: 1000}
    assert parts(tasks) == ["part 1 of 1, 1000 rows"]
    assert history(tasks, "revision, action").count((NEXT, "upgrade")) == 1


class Nth(Fault):
    """A fault at a statement that has been seen so many times."""

    def __init__(self, statement: str, moment: Moment, nth: int, act: Callable[[int], None]) -> None:
        super().__init__(statement, moment, act)
        self._left = nth

    def __call__(self, connection: int, number: int, sql: str, moment: Moment) -> None:
        assert isinstance(self.statement, str)
        if self.statement in sql and moment == self.moment:
            self._left -= 1
            if self._left == 0:
                super().__call__(connection, number, sql, moment)
