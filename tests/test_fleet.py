"""Many installations in one call: each has its own outcome, and one bad one stops no other."""

import asyncio
import json
import pickle
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest
from sqlalchemy import make_url

import todo_schema
from tests.support.catalog_dump import dump
from tests.support.fleets import BAD, BEFORE, Make, databases_behind, fleet, locked, names, waits
from tests.support.migrated import clients
from tests.support.ports import blackhole, refuse
from tests.support.servers import Server
from tests.support.states import version
from tests.support.waiting import wait_for
from tests.support.ways import assert_secret
from todo_schema import (
    SCHEMA_VERSION,
    FleetReport,
    Installation,
    Progress,
    TodoSchemaError,
    upgrade_many,
    upgrade_many_async,
)
from todo_schema.compatibility import HEAD

both_forms = pytest.mark.parametrize("name", ["upgrade_many", "upgrade_many_async"])


@pytest.fixture(scope="module")
def made(server: Server) -> Iterator[Make]:
    with databases_behind(server) as make:
        yield make


def outcomes(name: str, *args: Any, **options: Any) -> FleetReport:
    """What the function, or its twin, returns."""
    made = getattr(todo_schema, name)(*args, **options)
    report: FleetReport = asyncio.run(made) if asyncio.iscoroutine(made) else made
    return report


@pytest.mark.parametrize(("name", "good"), [("upgrade_many", 194), ("upgrade_many_async", 12)])
def test_of_a_fleet_with_six_bad_databases_all_others_are_upgraded_and_the_six_are_named(
    server: Server, made: Make, name: str, good: int
):
    told: list[Progress] = []
    with fleet(server, made, good) as (urls, bad):
        before = [dump(url) for url in (bad[0], bad[-1])]
        report = outcomes(name, urls, progress=told.append)
        assert [dump(url) for url in (bad[0], bad[-1])] == before
        assert {*map(tuple, map(version, set(urls) - set(bad)))} == {(HEAD,)}
    assert [outcome.address for outcome in report.outcomes] == names(urls)
    assert [type(outcome.error).__name__ for outcome in report.failed] == BAD
    assert [outcome.address for outcome in report.failed] == names(bad)
    done = [outcome.report for outcome in report.outcomes if outcome.ok]
    assert {(one.version_before, one.version_after) for one in done if one} == {
        (SCHEMA_VERSION - 1, SCHEMA_VERSION)
    }
    assert len(done) == good
    assert [progress.done for progress in told] == [*range(1, len(urls) + 1)]
    assert {progress.total for progress in told} == {len(urls)}
    assert Counter(progress.event for progress in told) == {"upgraded": good, "failed": 6}
    text = str(report)
    assert text.splitlines()[-1].split(": ", 1)[1].startswith(f"{good} done, 6 failed (3 DatabaseUnreachable")
    assert all(text.count(f"{address}: {kind}") == 1 for address, kind in zip(names(bad), BAD, strict=True))
    assert "secret" not in f"{text}{report!r}{report.as_dict()}{told}"
    assert_secrets(report, "secret")


def assert_secrets(report: FleetReport, password: str) -> None:
    for outcome in report.failed:
        assert outcome.error
        assert_secret(outcome.error, password)


@both_forms
def test_neither_a_slow_database_nor_one_that_hangs_holds_up_the_others(made: Make, name: str):
    slow, *others = made(6)
    ended: list[str] = []
    with ExitStack() as hangs, locked(slow) as release:
        hung = hangs.enter_context(blackhole())

        def told(progress: Progress) -> None:
            ended.append(progress.text)
            if progress.done == len(others):
                release()
                hangs.close()  # whoever is connected is cut off

        urls = [slow, f"{hung}?connect_timeout=60", *others]
        report = outcomes(name, urls, concurrency=3, progress=told)
    assert [outcome.ok for outcome in report.outcomes] == [True, False, *[True] * len(others)]
    assert not [text for text in ended[: len(others)] for name in names([slow, hung]) if name in text]
    assert type(report.failed[0].error).__name__ == "DatabaseUnreachableError"


@both_forms
def test_no_more_are_under_way_at_once_than_was_said(made: Make, name: str):
    slow, slower, *others = made(4)
    ended: list[str] = []
    with locked(slow) as release, locked(slower) as release_too, ThreadPoolExecutor(1) as threads:

        def let_them_go() -> None:
            wait_for(lambda: waits(slow) and waits(slower))
            release()
            release_too()

        letting = threads.submit(let_them_go)
        urls = [slow, slower, *others]
        report = outcomes(name, urls, concurrency=2, progress=lambda progress: ended.append(progress.text))
        letting.result()
    assert report.ok
    assert any(name in ended[0] for name in names([slow, slower]))


class StoppedError(BaseException):
    """What a signal handler may raise."""


def test_an_interrupt_begins_nothing_more_and_lets_what_is_under_way_end(made: Make):
    slow, slower, *others = made(4)
    told: list[Progress] = []
    with refuse() as nowhere, locked(slow) as release, locked(slower) as release_too:

        def tell(progress: Progress) -> None:
            told.append(progress)
            if progress.event == "failed":
                wait_for(lambda: waits(slow) and waits(slower))
                raise StoppedError
            if progress.event == "waiting":
                release()
                release_too()

        with pytest.raises(StoppedError):
            upgrade_many([nowhere, slow, slower, *others], concurrency=2, progress=tell)
    assert [progress.event for progress in told] == ["failed", "waiting", "upgraded", "upgraded"]
    assert all(name in told[1].text for name in names([slow, slower]))
    assert [version(url) for url in (slow, slower, *others)] == [[HEAD], [HEAD], [BEFORE], [BEFORE]]


async def test_cancelling_it_begins_nothing_more_and_rolls_back_what_is_under_way(
    made: Make,
):
    slow, other = made(2)
    with locked(slow):
        task = asyncio.create_task(upgrade_many_async([slow, other], concurrency=1))
        await asyncio.to_thread(wait_for, lambda: waits(slow))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(wait_for, lambda: len(clients(slow)) == 1)  # who holds the lock
    assert [version(slow), version(other)] == [[BEFORE], [BEFORE]]


@both_forms
def test_a_url_that_cannot_be_used_is_an_outcome_by_its_place(made: Make, name: str):
    (good,) = made(1)
    wrong: list[Any] = ["mysql://u:secret@h/d", None, ["secret"], "postgresql://u:secret@h:x/d", 'x"']
    report = outcomes(name, [good, *wrong, Installation("postgresql://u:secret@h/d?colour=1", "todo")])
    assert [outcome.address for outcome in report.outcomes] == [
        *names([good]),
        *[f"URL {place}" for place in range(2, 8)],
    ]
    assert {type(outcome.error).__name__ for outcome in report.failed} == {"InvalidUrlError"}
    assert report.outcomes[-1].name == "URL 7, schema todo"
    assert "secret" not in f"{report}{report!r}{report.as_dict()}"
    assert_secrets(report, "secret")


class Odd(str):  # noqa: SLOT000  # a test's
    """A schema's name that nobody would expect."""

    def encode(self, *_: Any) -> bytes:
        raise ZeroDivisionError("at postgresql://u:se%2Fcret@h, with se/cret")


@both_forms
def test_an_error_that_nobody_expected_is_an_outcome_without_a_password(made: Make, name: str):
    (good,) = made(1)
    url = good.replace("postgres@", "postgres:se%2Fcret@", 1)
    report = outcomes(name, [Installation(url, Odd("x")), Installation(url, 7), good])  # type: ignore[arg-type]
    odd, number, fine = report.outcomes
    assert fine.ok
    assert (type(odd.error), type(number.error)) == (TodoSchemaError, TodoSchemaError)
    assert odd.error
    assert number.error
    assert "ZeroDivisionError: at postgresql://u:***@h, with ***" in odd.error.found
    assert odd.error.__cause__ is None, "it shows the password"
    assert isinstance(number.error.__cause__, Exception)
    assert "cret" not in f"{report}{report!r}{report.as_dict()}"


@both_forms
def test_one_that_is_given_twice_is_upgraded_once_and_none_is_no_mistake(made: Make, name: str):
    (url,) = made(1)
    told: list[Progress] = []
    twice = [url, Installation(url, "todo"), make_url(url), Installation(url)]
    report = outcomes(name, (one for one in [url, *twice]), progress=told.append)
    first, again, todo, same, last = report.outcomes
    assert first is again is last
    assert (first.schema, todo.schema, same.schema) == (None, "todo", None)
    assert [progress.total for progress in told] == [3, 3, 3]
    assert str(outcomes(name, [])).startswith("no installations in 0.0 s: 0 done")


@both_forms
@pytest.mark.parametrize(
    ("given", "options", "said"),
    [
        ("postgresql://u:secret@h/d", {}, "found: installations of type str"),
        (make_url("postgresql://u:secret@h/d"), {}, "found: installations of type URL"),
        (Installation("postgresql://u:secret@h/d"), {}, "found: installations of type Installation"),
        (["postgresql://u:secret@h/d"], {"concurrency": 0}, "found: concurrency=0"),
        (["postgresql://u:secret@h/d"], {"concurrency": True}, "found: concurrency=True"),
        (["postgresql://u:secret@h/d"], {"deferred": "no"}, "found: deferred='no'"),
    ],
)
def test_a_mistake_in_the_call_is_raised_without_a_password(
    name: str, given: Any, options: dict[str, Any], said: str
):
    with pytest.raises((TypeError, ValueError), match=said) as caught:
        outcomes(name, given, **options)
    assert_secret(caught.value, "secret")


def test_what_it_takes_and_returns_is_frozen_and_comes_whole_through_pickle(made: Make):
    (url,) = made(1)
    installation = Installation("postgresql://u:secret@h/d", "todo")
    assert repr(installation) == "Installation('postgresql://u:***@h/d', schema='todo')"
    assert repr(Installation("secret")) == "Installation('a URL that cannot be used', schema=None)"
    report = upgrade_many([url, "mysql://h"])
    for item in (report, *report.outcomes, installation):
        for field in fields(item):
            assert f"    {field.name}: " in str(type(item).__doc__)
            with pytest.raises(FrozenInstanceError):
                setattr(item, field.name, None)
        assert item == replace(item)
        assert hash(item) == hash(replace(item))
        assert str(pickle.loads(pickle.dumps(item))) == str(item)
    for printed in (report, *report.outcomes):
        assert list(printed.as_dict()) == [field.name for field in fields(printed)]
        assert json.loads(json.dumps(printed.as_dict())) == printed.as_dict()
