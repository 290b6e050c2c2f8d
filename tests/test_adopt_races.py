"""Adoptions at once, and beside upgrades: the tables are adopted once, and nobody fails for any other reason."""

from collections.abc import Iterator

import pytest

from tests.support import chatbots, forker
from tests.support.big_table import fill
from tests.support.catalog_dump import dump
from tests.support.chatbots import copied, in_utc, rows_there
from tests.support.forker import Forker
from tests.support.servers import Server, execute
from tests.support.thorough import series
from tests.support.ways import Call, both_drivers
from todo_schema import SCHEMA_VERSION, adopt, check, upgrade

RACERS = 8
ROUNDS = series(2, 10)

ADOPTIONS = "SELECT count(*) FROM todo_schema_history WHERE line = 'expand' AND action = 'adopt'"


@pytest.fixture(scope="module")
def filled(server: Server, chatbot_template: str) -> str:
    """A database of the chatbot with rows, to be copied; nobody may connect to it."""
    url = in_utc(server.create_database(template=chatbot_template))
    fill(url, 1000)
    return url


@pytest.fixture(scope="module")
def clean(server: Server, filled: str) -> str:
    """The catalogue that one undisturbed adoption leaves."""
    with copied(server, filled) as url:
        adopt(url, apply=True)
        return dump(url)


@pytest.fixture(scope="module", params=[forker.ADOPT, forker.ADOPT_ASYNC], ids=["psycopg", "asyncpg"])
def adopters(request: pytest.FixtureRequest) -> Iterator[Forker]:
    with forker.forker(request.param) as running:
        yield running


@pytest.fixture(scope="module")
def replicas() -> Iterator[Forker]:
    with forker.forker() as running:
        yield running


def test_of_eight_processes_that_adopt_at_once_one_does_and_none_fails(
    server: Server, filled: str, adopters: Forker, clean: str
):
    for _ in range(ROUNDS):
        with copied(server, filled) as url:
            there = rows_there(url)
            outcomes = adopters.race(RACERS, url)
            assert [outcome["error"] for outcome in outcomes if not outcome["ok"]] == []
            answers = sorted(outcome["result"]["answer"] for outcome in outcomes)
            assert answers == ["adopted", *["recorded"] * (RACERS - 1)]
            assert execute(url, ADOPTIONS) == [(1,)]
            assert dump(url) == clean
            assert rows_there(url) == there


def test_an_upgrade_beside_an_adoption_is_refused_as_before_it_or_goes_on_after_it(
    server: Server, filled: str, adopters: Forker, replicas: Forker
):
    for _ in range(ROUNDS):
        with copied(server, filled) as url:
            adopters.start(url)
            replicas.start(url, RACERS)
            (adopted,), upgraded = adopters.outcomes(), replicas.outcomes()
            assert adopted["ok"], adopted
            refused = {outcome["kind"] for outcome in upgraded if not outcome["ok"]}
            assert refused <= {"UnversionedSchemaError"}, upgraded
            assert execute(url, ADOPTIONS) == [(1,)]
            assert upgrade(url).version_after == SCHEMA_VERSION
            check(url, deep=True)


@both_drivers
def test_a_database_of_the_chatbot_on_debians_server_is_adopted_and_upgraded(debian: Server, call: Call):
    url = in_utc(debian.create_database())
    chatbots.made_by_its_chain(url)
    fill(url, 1000)
    there, before = rows_there(url), chatbots.files(url)
    assert call("adopt", url).answer == "convergeable"
    assert call("adopt", url, apply=True).answer == "adopted"
    assert chatbots.files(url) == before
    call("upgrade", url)
    call("check", url, deep=True)
    assert rows_there(url) == there


def test_the_planner_knows_of_columns_with_another_type_what_it_knew_before(chatbot_database: str):
    fill(chatbot_database, 1000)
    query = "SELECT tablename::text, attname::text FROM pg_stats WHERE schemaname = 'public' AND tablename = ANY (%s)"
    known = set(execute(chatbot_database, query, (list(chatbots.TABLES),)))
    assert ("messages", "created_at") in known
    adopt(chatbot_database, apply=True)
    assert set(execute(chatbot_database, query, (list(chatbots.TABLES),))) == known
