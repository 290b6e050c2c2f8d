"""Real processes of different versions on one database: deploys, rollbacks, and what a contract step does to them."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import packages
from tests.support.commands import call_of
from tests.support.contracting import EXPANDED, recorded
from tests.support.packages import COLUMN, CONTRACT
from tests.support.processes import SOURCE
from tests.support.replicas import (
    Replica,
    assert_goes_on,
    assert_left_in_peace,
    assert_together,
    replica,
)
from tests.support.revisions import CONTRACTS, LAST_FLOOR, NEXT, NEXT_VERSION
from tests.support.servers import Server, database_name, execute
from tests.support.states import with_package
from tests.support.waiting import wait_for
from tests.support.ways import Call, both_drivers
from todo_schema import SCHEMA_VERSION, SchemaTooNewError, clients, session_factory
from todo_schema.compatibility import HEAD
from todo_schema.exits import Exit

# The schema version after the next, whose revision adds another column.
THIRD_VERSION = NEXT_VERSION + 1
THIRD = f"{THIRD_VERSION:03d}"
OTHER_COLUMN = "throwaway_due"
(_NEXT,) = packages.NEXT_REVISION.values()
THIRD_REVISION = {
    f"{THIRD}_add_task_{OTHER_COLUMN}.py": _NEXT.replace(f'"{NEXT}"', f'"{THIRD}"')
    .replace(f'"{HEAD}"', f'"{NEXT}"')
    .replace(COLUMN, OTHER_COLUMN)
}
# The same contract step, which the package before the newest does not survive either.
BREAKING = {
    name: text.replace(f" = {NEXT_VERSION}\n", f" = {THIRD_VERSION}\n")
    for name, text in packages.NEXT_CONTRACT.items()
}


Start = Callable[..., Replica]


@pytest.fixture
def start(finished_database: str) -> Iterator[Start]:
    """Starts replicas on the database: `start(package, service, column)`."""
    with ExitStack() as running:
        yield lambda package, *names: running.enter_context(replica(package, finished_database, *names))


@pytest.fixture(scope="module")
def middle_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package one expand revision ahead, which uses no description any more and knows of no contract step."""
    return packages.throwaway_package(
        tmp_path_factory.mktemp("middle"), packages.NEXT_REVISION, edits=packages.WITHOUT_DESCRIPTION
    )


def newest(server: Server, folder: Path, contract: dict[str, str]) -> Path:
    """A package two expand revisions ahead, with a contract step that drops the description."""
    revisions = packages.NEXT_REVISION | THIRD_REVISION | contract
    made = packages.throwaway_package(folder, revisions, edits=packages.WITHOUT_DESCRIPTION)
    packages.write_catalogues(made, server)
    return made


@pytest.fixture(scope="module")
def newest_package(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whose contract step leaves the middle package usable."""
    return newest(server, tmp_path_factory.mktemp("newest"), packages.NEXT_CONTRACT)


@pytest.fixture(scope="module")
def breaking_package(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whose contract step leaves no older package usable."""
    return newest(server, tmp_path_factory.mktemp("breaking"), BREAKING)


def gone(url: str, service: str) -> None:
    """Wait until the server has noticed that a service has left."""
    wait_for(lambda: service not in {client.service for client in clients(url).clients})


# Deploys and rollbacks


def test_replicas_of_the_next_version_replace_the_old_ones_one_by_one_without_a_failed_request(
    start: Start, next_package: Path, finished_database: str
):
    old = [start(SOURCE, f"old-{number}") for number in range(2)]
    new: list[Replica] = []
    for number, leaving in enumerate(old):
        new.append(start(next_package, f"new-{number}", COLUMN))
        assert recorded(finished_database) == EXPANDED
        assert_together(*new, *old[number:])
        assert_left_in_peace(leaving)
        assert leaving.log == []
    assert new[0].booted.startswith(f"schema {SCHEMA_VERSION} -> {NEXT_VERSION}\n")
    assert new[1].booted == f"schema {NEXT_VERSION} already: nothing to do"
    *_, line = [line for line in new[0].log if " todo_schema " in line]
    assert line.startswith(f"INFO todo_schema applying {NEXT} took ")
    assert new[1].log == []
    for staying in new:
        assert_goes_on(staying)
        assert_left_in_peace(staying)
    # From the old ones' inserts, too, nothing but what they could not know is missing.
    written = f"SELECT DISTINCT split_part(title, '/', 1), {COLUMN} IS NULL FROM tasks ORDER BY 1"
    assert execute(finished_database, written) == [
        *(("new-0", False), ("new-1", False)),
        *(("old-0", True), ("old-1", True)),
    ]


def test_an_old_version_boots_again_on_the_finished_database_says_so_in_one_line_and_works(
    start: Start, next_package: Path, finished_database: str
):
    new = start(next_package, "new", COLUMN)
    old = start(SOURCE, "old-again")
    assert old.booted == f"schema {NEXT_VERSION}, newer than this package and still compatible: nothing to do"
    assert_together(new, old)
    assert_left_in_peace(new)
    assert_goes_on(old)
    assert_left_in_peace(old)
    (line,) = old.log
    assert line == (
        f"INFO todo_schema database {database_name(finished_database)} is at schema {NEXT_VERSION}, "
        f"newer than schema {SCHEMA_VERSION} of this package and compatible with it"
    )
    assert recorded(finished_database) == EXPANDED


# Services at different versions, and a contract step


def test_three_versions_work_together_and_a_contract_step_waits_for_the_oldest_alone(
    start: Start, middle_package: Path, newest_package: Path, finished_database: str
):
    billing = start(SOURCE, "billing-api")
    web = start(middle_package, "web", COLUMN)
    reports = start(newest_package, "reports", OTHER_COLUMN)
    assert_together(billing, web, reports)

    refused, as_json, status = call_of(
        newest_package, finished_database, "contract", "contract --json", "status --json"
    )
    assert refused.exit_code == as_json.exit_code == Exit.CLIENTS
    assert f"\n  billing-api: schema {SCHEMA_VERSION}, " in refused.stderr
    assert not [service for service in ("web:", "reports:") if service in refused.stderr]
    assert {client["service"] for client in json.loads(as_json.stdout)["clients"]} == {"billing-api"}
    # What is asked before a deploy: may this package use the database, what blocks the next step, who is connected.
    facts = json.loads(status.stdout)
    assert (facts["usable"], facts["database_version"], facts["floor"]) == (True, THIRD_VERSION, LAST_FLOOR)
    (pending,) = facts["contract_pending"]
    assert (pending["revision"], pending["ready"]) == (CONTRACT, False)
    assert {client["service"] for client in pending["blocked_by"]} == {"billing-api"}
    assert {(client["service"], client["schema_version"]) for client in facts["clients"]} == {
        ("billing-api", SCHEMA_VERSION),
        ("web", NEXT_VERSION),
        ("reports", THIRD_VERSION),
    }
    assert recorded(finished_database) == {THIRD, *CONTRACTS[-1:]}

    # Killed, it blocks nothing any more; the next test has one that is told to leave.
    billing.kill()
    gone(finished_database, "billing-api")
    (contracted,) = call_of(newest_package, finished_database, "contract")
    assert (contracted.exit_code, contracted.stderr.splitlines()[0].split()[:2]) == (
        Exit.OK,
        ["applying", CONTRACT],
    )
    for service in (web, reports):
        assert_goes_on(service)
        assert_left_in_peace(service)
        assert not [line for line in service.log if not line.startswith("INFO ")]


def test_a_step_that_breaks_all_older_versions_is_refused_for_the_one_that_lives(
    start: Start, middle_package: Path, breaking_package: Path, finished_database: str
):
    web = start(middle_package, "web", COLUMN)
    reports = start(breaking_package, "reports", OTHER_COLUMN)
    assert_together(web, reports)
    (refused,) = call_of(breaking_package, finished_database, "contract --json")
    facts = json.loads(refused.stdout)
    assert (refused.exit_code, facts["error"]) == (Exit.CLIENTS, "ContractBlockedError")
    assert {(client["service"], client["schema_version"]) for client in facts["clients"]} == {
        ("web", NEXT_VERSION)
    }
    assert "reports" not in facts["found"]
    assert_goes_on(web)
    assert_left_in_peace(web)
    gone(finished_database, "web")
    (contracted,) = call_of(breaking_package, finished_database, "contract")
    assert contracted.exit_code == Exit.OK
    assert_goes_on(reports)
    assert_left_in_peace(reports)
    with pytest.raises(AssertionError, match=f"SchemaTooNewError: found: schema {THIRD_VERSION}"):
        start(middle_package, "web", COLUMN)


# What is below the floor


@pytest.fixture(scope="module")
def contracted(server: Server, newest_package: Path) -> str:
    """A database that asks for packages newer than this one, to be copied; nobody may connect to it."""
    url = server.create_database()
    with_package(newest_package, "t.upgrade(url); t.contract(url)", url)
    return url


@pytest.fixture
def contracted_database(server: Server, contracted: str) -> Iterator[str]:
    """The url of a fresh one."""
    url = server.create_database(template=contracted)
    yield url
    server.drop_database(url)


async def connect(url: str) -> None:
    async with session_factory(url) as sessions, sessions() as session:
        await session.connection()


def open_session(_call: Call, url: str) -> None:
    asyncio.run(connect(url))


BOOTS: dict[str, Callable[[Call, str], object]] = {
    "upgrade": lambda call, url: call("upgrade", url),
    "check": lambda call, url: call("check", url),
    "wait": lambda call, url: call("wait", url, timeout=600),
    "sessions": open_session,
}


@both_drivers
@pytest.mark.parametrize("boot", BOOTS)
def test_a_package_below_the_floor_is_refused_in_whatever_way_it_boots(
    contracted_database: str, call: Call, boot: str
):
    with pytest.raises(SchemaTooNewError) as caught:
        BOOTS[boot](call, contracted_database)
    error = caught.value
    assert error.found.startswith(f"schema {THIRD_VERSION} in database {database_name(contracted_database)}")
    assert error.needed.startswith(f"a package of schema {NEXT_VERSION} or newer")
    assert error.cure.startswith("pip install --upgrade")


def test_the_command_line_of_a_package_below_the_floor_exits_4(contracted_database: str):
    for said in call_of(SOURCE, contracted_database, "upgrade", "check", "wait"):
        assert (said.exit_code, said.stdout) == (Exit.TOO_NEW, "")
        assert said.stderr.startswith("found: schema ")


def test_a_replica_below_the_floor_does_not_come_up_and_touches_nothing(contracted_database: str):
    before = execute(contracted_database, "SELECT xmin, * FROM todo_schema_history ORDER BY id")
    with (
        pytest.raises(AssertionError, match="SchemaTooNewError: found: schema"),
        replica(SOURCE, contracted_database, "billing-api"),
    ):
        pytest.fail("it serves")
    assert execute(contracted_database, "SELECT xmin, * FROM todo_schema_history ORDER BY id") == before
    assert execute(contracted_database, "SELECT FROM users") == []
