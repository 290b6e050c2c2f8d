"""Services of an old package against a contract step, at random moments and under load: one of them gives way."""

import random
import time
from collections.abc import Iterator
from datetime import datetime

import psycopg
import pytest

from tests.support import forker
from tests.support.contracting import ROW_BEFORE
from tests.support.forker import Forker
from tests.support.leases import NO_FLOOR, leases
from tests.support.packages import CONTRACT, DROPPED
from tests.support.peers import SERVICE, Stage, peer
from tests.support.revisions import LAST_FLOOR
from tests.support.states import rows
from tests.support.thorough import series
from tests.support.waiting import wait_for

# Each pair of drivers gets a share: 1,000 interleavings where all is asked for.
TRIALS = series(70, 250)
# Seconds: how far from the moment at which the outcome tips over the trials are strewn, and how it is followed.
SPREAD = 0.004
STEP = 0.0005
# What a downgrade does, in a fraction of its time.
UNDO = f"""
ALTER TABLE tasks ADD {DROPPED} text;
{ROW_BEFORE};
{NO_FLOOR}
"""
NEWEST_FLOOR = "SELECT floor FROM todo_schema_history ORDER BY id DESC LIMIT 1"

CLIENTS = series(10, 20)
# Seconds. Long enough for any machine.
PATIENCE = 60

# A replica of the old service under load: a new connection for each request, and less and less to do, so that a moment
# comes at which nobody is connected.
_REPLICA = f"""
import asyncio, random, time

from sqlalchemy import NullPool, func
from sqlmodel import select
from todo_schema import SchemaTooNewError, Task, session_factory

async def boot(url):
    sessions = session_factory(url, service="{SERVICE}", poolclass=NullPool)
    begun = time.monotonic()
    requests, newest = 0, None
    while time.monotonic() < begun + {PATIENCE}:
        try:
            async with sessions() as session:
                await session.exec(select(Task.description))
                newest = (await session.exec(select(func.clock_timestamp()))).one().isoformat()
                requests += 1
        except SchemaTooNewError:
            return {{"requests": requests, "newest": newest}}
        await asyncio.sleep(random.uniform(0, (time.monotonic() - begun) / 10))
    raise TimeoutError("nobody was refused")
"""


@pytest.fixture(scope="module")
def replicas() -> Iterator[Forker]:
    with forker.forker(_REPLICA) as running:
        yield running


def test_under_load_no_statement_of_an_old_session_runs_after_the_step(stage: Stage, replicas: Forker):
    replicas.start(stage.url, CLIENTS)
    wait_for(lambda: len(leases(stage.url)) > CLIENTS // 4)
    until = time.monotonic() + PATIENCE
    while (step := stage.new.ask("contract", url=stage.url)).error == "ContractBlockedError":
        assert time.monotonic() < until
    assert step.error is None, step
    outcomes = replicas.outcomes()
    # Above all nobody met the missing column.
    assert not [outcome for outcome in outcomes if not outcome["ok"]]
    assert len(outcomes) == CLIENTS
    revision, applied_at = rows(stage.url, "revision, applied_at")[-1]
    assert revision == CONTRACT
    served = [outcome["result"] for outcome in outcomes if outcome["result"]["requests"]]
    assert served
    assert max(datetime.fromisoformat(replica["newest"]) for replica in served) < applied_at


def test_the_step_goes_through_once_the_only_old_client_was_killed(stage: Stage):
    with peer() as old:
        old.do("connect_and_use", url=stage.url)
        assert stage.new.ask("contract", url=stage.url).error == "ContractBlockedError"
        old.kill()
        wait_for(lambda: stage.new.ask("contract", url=stage.url).error is None, 10)


@pytest.mark.parametrize("old_driver", ["asyncpg", "psycopg"])
@pytest.mark.parametrize("new_driver", ["psycopg", "asyncpg"])
def test_in_random_interleavings_the_step_is_applied_or_the_session_usable_never_both(
    stage: Stage, old_driver: str, new_driver: str
):
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    outcomes: list[str | None] = []
    # By how much the old side begins later. It follows the outcomes, so that either side is as often too late.
    delay, step = 0.0, STEP
    with psycopg.connect(stage.url, autocommit=True) as keeper:
        for _ in range(TRIALS):
            strewn = delay + chance.uniform(-SPREAD, SPREAD)
            start = time.monotonic() + 0.001
            stage.new.tell("contract", url=stage.url, driver=new_driver, at=start + max(-strewn, 0.0))
            old = {"url": stage.url, "driver": old_driver, "pooled": False}
            stage.old.tell("connect_and_use", **old, at=start + max(strewn, 0.0))
            contract, session = stage.new.answer(), stage.old.answer()
            found = (seed, len(outcomes), contract, session)
            if contract.error is None:
                assert session.error == "SchemaTooNewError", found
                keeper.execute(UNDO)
            else:
                assert (contract.error, session.error) == ("ContractBlockedError", None), found
                assert keeper.execute(NEWEST_FLOOR).fetchall() == [(LAST_FLOOR,)], found
            stage.old.do("hand_back")
            step = 2 * step if outcomes[-1:] == [contract.error] else STEP
            delay += step if contract.error else -step
            outcomes.append(contract.error)
    often_enough = TRIALS / 5
    assert often_enough <= outcomes.count(None) <= TRIALS - often_enough, (seed, outcomes)
