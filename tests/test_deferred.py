"""Revisions that a package only gains from: the version moves past them, and they are finished later."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support import asking, packages
from tests.support.asking import Package
from tests.support.catalog_dump import dump
from tests.support.contracting import recorded
from tests.support.deferring import (
    AFTER,
    COST,
    DONE,
    NEEDED,
    ONCE,
    PUT_OFF,
    TWICE,
    actions,
    indexed,
    prepared,
)
from tests.support.obstacles import GRANT
from tests.support.proxy import Moment, Proxy
from tests.support.releases import install, releases
from tests.support.revisions import NEXT, NEXT_VERSION
from tests.support.servers import Server, database_name, execute
from tests.support.states import NO_ROW, rows, with_package
from tests.support.ways import Call, both_drivers, role, role_of
from todo_schema import SCHEMA_VERSION
from todo_schema.compatibility import HEAD
from todo_schema.locks import DEFERRED_CLASS, lock_key

NEEDS_NO_DUPLICATES = """

def preflight(connection):
    return operations.violation(
        connection, "the same task twice", "SELECT title FROM tasks GROUP BY user_id, title HAVING count(*) > 1"
    )
"""
PUT_OFF_AND_LOOKED_AT = {name: text + NEEDS_NO_DUPLICATES for name, text in PUT_OFF.items()}


@pytest.fixture(scope="module")
def package(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Package]:
    """The package that puts a revision off, and needs the one after it."""
    folder = packages.throwaway_package(tmp_path_factory.mktemp("deferring"), PUT_OFF | NEEDED)
    packages.write_catalogues(folder, server)
    with asking.package(folder) as asked:
        yield asked


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Package]:
    """An older package that knows no more than the revision that is put off."""
    folder = packages.throwaway_package(tmp_path_factory.mktemp("first"), PUT_OFF)
    with asking.package(folder) as asked:
        yield asked


@pytest.fixture(scope="module")
def looking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Package]:
    """The package, but that it looks for the rows that what it puts off would fail on."""
    folder = packages.throwaway_package(tmp_path_factory.mktemp("looking"), PUT_OFF_AND_LOOKED_AT | NEEDED)
    with asking.package(folder) as asked:
        yield asked


@pytest.fixture(scope="module")
def templates(server: Server, template: str, package: Package) -> dict[str, str]:
    return prepared(server, template, package)


@pytest.fixture
def behind(server: Server, templates: dict[str, str]) -> Iterator[str]:
    url = server.create_database(template=templates["behind"])
    yield url
    server.drop_database(url)


@pytest.fixture
def pending(server: Server, templates: dict[str, str]) -> Iterator[str]:
    url = server.create_database(template=templates["pending"])
    yield url
    server.drop_database(url)


@pytest.fixture(scope="module")
def clean(template: str, server: Server) -> str:
    """The catalogue at the head of this checkout."""
    url = server.create_database(template=template)
    return dump(url)


# The three ways


@both_drivers
def test_the_version_moves_past_a_deferred_revision_and_the_report_says_what_it_costs(
    package: Package, behind: str, call: Call
):
    said = package("upgrade", behind, call=call, deferred="skip")
    assert said.answer["version_after"] == NEXT_VERSION + 1
    assert said.applied == [AFTER]
    assert [(left["revision"], left["cost"], left["by"]) for left in said.answer["deferred"]] == [
        (NEXT, COST, None)
    ]
    assert f"left for later: {NEXT} Revision {NEXT} of a test. Left: {COST}" in said.answer["text"]
    assert said.told[0] == f"left {NEXT} deferred: {COST}"
    assert recorded(behind) == {AFTER}
    assert actions(behind) == [(NEXT, "defer"), (AFTER, "upgrade")]
    assert indexed(behind) == []


@both_drivers
def test_a_boot_applies_what_is_needed_first_and_then_finishes_what_it_has_put_off(
    package: Package, behind: str, call: Call
):
    said = package("upgrade", behind, call=call)
    assert (said.applied, said.left, said.warnings) == ([AFTER, NEXT], [], [])
    assert actions(behind) == [(NEXT, "defer"), (AFTER, "upgrade"), *DONE]
    assert indexed(behind) == [True, True]


@both_drivers
def test_a_boot_finishes_what_another_one_has_left(package: Package, pending: str, call: Call):
    said = package("upgrade", pending, call=call)
    assert (said.applied, said.left) == ([NEXT], [])
    assert (said.answer["before"], said.answer["after"]) == ("current", "current")
    assert said.answer["text"].startswith(f"schema {NEXT_VERSION + 1}\n  {NEXT} ")
    assert indexed(pending) == [True, True]


@both_drivers
def test_only_finishes_and_does_nothing_else(package: Package, pending: str, call: Call):
    assert package("upgrade", pending, call=call, deferred="only").applied == [NEXT]
    again = package("upgrade", pending, call=call, deferred="only")
    assert (again.applied, again.left) == ([], [])
    assert actions(pending) == [(NEXT, "defer"), (AFTER, "upgrade"), *DONE]


@both_drivers
@pytest.mark.parametrize(
    ("change", "error"),
    [("SELECT", "SchemaOutdatedError"), (NO_ROW, "UnversionedSchemaError")],
    ids=["older", "unversioned"],
)
def test_only_refuses_a_database_that_is_not_at_the_head(
    package: Package, behind: str, call: Call, change: str, error: str
):
    execute(behind, change)
    before = recorded(behind), actions(behind)
    said = package.ask("upgrade", behind, call=call, deferred="only")
    assert said.error == error
    assert "todo-schema upgrade" in said.facts["cure"]
    assert (recorded(behind), actions(behind)) == before


@both_drivers
def test_a_fresh_database_has_nothing_deferred(package: Package, database: str, call: Call):
    said = package("upgrade", database, call=call, deferred="skip")
    assert (said.applied[-2:], said.left) == ([NEXT, AFTER], [])
    assert "defer" not in dict(actions(database)).values()
    assert indexed(database) == [True, True]


@both_drivers
def test_another_value_of_deferred_is_an_error_before_anything_is_opened(package: Package, call: Call):
    said = package.ask("upgrade", "postgresql://ann@127.0.0.1:1/x", call=call, deferred="later")
    assert (said.error, said.text) == (
        "ValueError",
        'found: deferred=\'later\'\nneeded: "run", "skip" or "only"',
    )


# What a boot costs


@both_drivers
@pytest.mark.parametrize("deferred", ["run", "skip"])
def test_a_boot_with_nothing_deferred_is_one_statement(
    server: Server, package: Package, pending: str, call: Call, deferred: str
):
    package("upgrade", pending)
    with Proxy(server) as proxy:
        package("upgrade", proxy.url(pending), call=call, deferred=deferred)
    assert (proxy.connections, proxy.round_trips, len(proxy.statements)) == (1, 2, 1)


@both_drivers
def test_a_boot_that_skips_what_is_deferred_is_one_statement(
    server: Server, package: Package, pending: str, call: Call
):
    with Proxy(server) as proxy:
        said = package("upgrade", proxy.url(pending), call=call, deferred="skip")
    assert (proxy.connections, proxy.round_trips, len(proxy.statements)) == (1, 2, 1)
    assert said.answer["after"] == "current"
    assert indexed(pending) == []


# Who may not finish


@both_drivers
@pytest.mark.parametrize("tables", ["todo_schema_version", "todo_schema_version, todo_schema_history"])
def test_a_boot_of_a_role_that_may_only_read_leaves_deferred_revisions_alone(
    server: Server, package: Package, pending: str, call: Call, tables: str
):
    with role(server, pending) as url:
        execute(pending, f"GRANT SELECT ON {tables} TO {role_of(url)}")
        said = package("upgrade", url, call=call)
        assert (said.answer["after"], said.applied, said.told, said.warnings) == ("current", [], [], [])
        # Who may not read the history is told nothing of it.
        assert said.left == ([NEXT] if "history" in tables else [])
    assert actions(pending) == [(NEXT, "defer"), (AFTER, "upgrade")]


@both_drivers
def test_only_names_the_right_that_a_role_lacks(server: Server, package: Package, pending: str, call: Call):
    with role(server, pending) as url:
        execute(pending, f"GRANT SELECT ON todo_schema_version TO {role_of(url)}")
        said = package.ask("upgrade", url, call=call, deferred="only")
        assert said.error == "InsufficientPrivilegeError"
        assert "GRANT SELECT ON public.todo_schema_history" in said.facts["cure"]
        execute(pending, GRANT.format(role_of(url)))
        said = package.ask("upgrade", url, call=call, deferred="only")
        assert said.error == "InsufficientPrivilegeError"
    assert indexed(pending) == []


@both_drivers
def test_a_read_only_server_keeps_no_boot_from_running_and_is_no_place_to_finish(
    package: Package, pending: str, call: Call
):
    execute(pending, f"ALTER DATABASE {database_name(pending)} SET default_transaction_read_only = on")
    said = package("upgrade", pending, call=call)
    assert (said.applied, said.left, said.told, said.warnings) == ([], [NEXT], [], [])
    said = package.ask("upgrade", pending, call=call, deferred="only")
    assert said.error == "ReadOnlyDatabaseError"


# What goes wrong


@both_drivers
def test_a_deferred_revision_that_fails_does_not_fail_a_boot_and_the_next_one_tries_again(
    package: Package, behind: str, call: Call
):
    execute(behind, TWICE)
    said = package("upgrade", behind, call=call)
    assert (said.answer["after"], said.applied, said.left) == ("current", [AFTER], [NEXT])
    (warning,) = said.warnings
    assert warning.startswith(f"WARNING revision {NEXT} is left for later: found: revision {NEXT} failed")
    assert "could not create unique index" in warning
    assert f"left {NEXT} left for later" in said.told[-1]
    assert indexed(behind) == [True]  # what an invalid one would cost every writer is not left behind
    again = package("upgrade", behind, call=call)
    assert (again.applied, again.left, len(again.warnings)) == ([], [NEXT], 1)
    only = package.ask("upgrade", behind, call=call, deferred="only")
    assert only.error == "MigrationFailedError"
    execute(behind, ONCE)
    mended = package("upgrade", behind, call=call)
    assert (mended.applied, mended.left, mended.warnings) == ([NEXT], [], [])
    # It went on after the part that was done, once.
    assert actions(behind) == [(NEXT, "defer"), (AFTER, "upgrade"), *DONE]


@both_drivers
def test_a_deferred_revision_whose_preflight_finds_something_is_left_untouched(
    looking: Package, behind: str, call: Call
):
    execute(behind, TWICE)
    said = looking("upgrade", behind, call=call)
    assert (said.applied, said.left) == ([AFTER], [NEXT])
    (warning,) = said.warnings
    assert "the same task twice: 1 (twice)" in warning
    assert indexed(behind) == []
    refused = looking.ask("upgrade", behind, call=call, deferred="only")
    assert refused.error == "PreflightError"
    assert [found["revision"] for found in refused.facts["violations"]] == [NEXT]
    execute(behind, ONCE)
    assert looking("upgrade", behind, call=call).applied == [NEXT]


@both_drivers
@pytest.mark.parametrize("lost", ["the worker", "the worker as it opens", "the guard"])
def test_a_connection_that_is_lost_over_deferred_work_does_not_fail_a_boot(
    server: Server, package: Package, pending: str, call: Call, lost: str
):
    cut: list[int] = []

    def cut_it(connection: int, _number: int, sql: str, moment: Moment) -> None:
        opening = lost.endswith("opens") and connection > 1
        if not cut and moment == "before" and (opening or sql.startswith("CREATE UNIQUE INDEX")):
            cut.append(1 if lost == "the guard" else connection)
            proxy.cut(*cut)

    with Proxy(server, on_statement=cut_it) as proxy:
        said = package("upgrade", proxy.url(pending), call=call)
    assert cut
    assert said.answer["after"] == "current"
    # Whoever only guards is not missed: each part is written down against what the history says.
    done = lost == "the guard"
    assert (said.applied, said.left) == (([NEXT], []) if done else ([], [NEXT]))
    assert all("left for later" in line for line in said.warnings)
    assert bool(said.warnings) is not done
    assert package("upgrade", pending).left == []


# Going back, and what a person writes down


@both_drivers
@pytest.mark.parametrize("rows_twice", [False, True], ids=["not carried out", "half carried out"])
def test_going_back_below_a_deferred_revision_leaves_nothing_of_it(
    package: Package, pending: str, clean: str, call: Call, rows_twice: bool
):
    if rows_twice:
        execute(pending, TWICE)
        package("upgrade", pending)
        assert indexed(pending) == [True]
    report = package("downgrade", pending, to=HEAD, call=call).answer
    assert [step["revision"] for step in report["applied"]] == [AFTER, NEXT]
    assert dump(pending) == clean
    # Nothing is left to be done on the way up but to begin anew.
    execute(pending, ONCE)
    again = package("upgrade", pending, call=call)
    assert (again.applied, again.left) == ([AFTER, NEXT], [])
    assert actions(pending)[-5:] == [(NEXT, "defer"), (AFTER, "upgrade"), *DONE]
    assert package("check", pending, deep=True).answer == "current"


@both_drivers
def test_a_package_that_has_gone_back_and_forth_has_nothing_left_over(
    package: Package, pending: str, call: Call
):
    package("downgrade", pending, to=HEAD, call=call)
    said = package("upgrade", pending, call=call, deferred="skip")
    assert (said.applied, said.left) == ([AFTER], [NEXT])
    package("downgrade", pending, to=NEXT, call=call)
    # Above the deferred revision nothing about it has changed.
    assert package("upgrade", pending, call=call, deferred="skip").left == [NEXT]


@both_drivers
def test_to_stamp_at_or_above_a_deferred_revision_leaves_it_and_below_forgets_it(
    package: Package, pending: str, call: Call
):
    for revision in (NEXT, AFTER):
        package("stamp", pending, revision, call=call)
        assert rows(pending, "revision, action")[-1] == (revision, "stamp")
    assert package("upgrade", pending, call=call, deferred="skip").left == []  # current: nobody looked
    assert package("status", pending).answer["deferred"] != []
    package("stamp", pending, HEAD, call=call)
    assert package("status", pending).answer["deferred"] == []


@both_drivers
def test_what_was_never_applied_is_not_deferred_by_a_stamp(package: Package, behind: str, call: Call):
    execute(behind, "ALTER TABLE tasks ADD COLUMN throwaway_note text")
    package("stamp", behind, AFTER, call=call)
    assert package("upgrade", behind, call=call).applied == []
    assert indexed(behind) == []


@both_drivers
def test_tables_that_lost_their_version_row_are_adopted_and_what_is_deferred_stays_so(
    package: Package, pending: str, call: Call
):
    execute(pending, NO_ROW)
    said = package("upgrade", pending, call=call, deferred="skip")
    assert (said.answer["adopted"], said.applied, said.left) == (True, [], [NEXT])
    assert recorded(pending) == {AFTER}
    assert package("upgrade", pending, call=call).applied == [NEXT]
    assert actions(pending) == [(NEXT, "defer"), (AFTER, "upgrade"), (AFTER, "adopt"), *DONE]


@both_drivers
def test_status_says_what_is_left_what_it_costs_and_who_is_at_it(package: Package, pending: str, call: Call):
    with psycopg.connect(pending, application_name="boot of a replica") as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", [DEFERRED_CLASS, lock_key("public")])
        answer = package("status", pending, call=call).answer
        ((left),) = answer["deferred"]
        assert (left["revision"], left["cost"]) == (NEXT, COST)
        assert left["by"].startswith(f"pid {connection.info.backend_pid} (boot of a replica")
    ((left),) = package("status", pending, call=call).answer["deferred"]
    assert left["by"] is None


# Packages of several versions


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The PYTHONPATH of the oldest frozen release that may use the databases here."""
    return install(releases()[0].wheel, tmp_path_factory.mktemp("released"))


def test_a_released_package_works_on_a_database_with_a_deferred_revision(
    package: Package, pending: str, released: Path
):
    said = "t.upgrade(url); print(t.check(url, deep=True), t.status(url).usable, len(t.history(url)))"
    state, usable, count = with_package(released, said, pending).split()
    assert (state, usable) == ("ahead", "True")
    assert int(count) <= SCHEMA_VERSION
    assert indexed(pending) == []
    assert package("upgrade", pending).applied == [NEXT]


@both_drivers
def test_an_older_package_leaves_a_newer_database_alone_with_what_it_has_deferred(
    first: Package, pending: str, call: Call
):
    for deferred in ("run", "skip", "only"):
        said = first("upgrade", pending, call=call, deferred=deferred)
        assert (said.answer["after"], said.applied, said.warnings) == ("ahead", [], [])
    assert indexed(pending) == []


@both_drivers
def test_a_newer_package_finishes_what_an_older_one_has_deferred(
    package: Package, first: Package, behind: str, call: Call
):
    assert first("upgrade", behind, call=call, deferred="skip").left == [NEXT]
    said = package("upgrade", behind, call=call)
    assert (said.applied, said.left) == ([AFTER, NEXT], [])
    assert actions(behind) == [(NEXT, "defer"), (AFTER, "upgrade"), *DONE]


@both_drivers
def test_sessions_are_opened_while_a_revision_is_deferred(package: Package, pending: str, call: Call):
    execute(pending, TWICE)
    assert package("read_tasks", pending).answer == 2
    assert package("check", pending, call=call).answer == "current"


@both_drivers
def test_history_says_when_a_deferred_revision_was_finished(package: Package, pending: str, call: Call):
    def applied() -> dict[str, bool]:
        told = package("history", pending, call=call).answer
        return {row["revision"]: row["applied_at"] is not None for row in told[-2:]}

    assert applied() == {NEXT: False, AFTER: True}
    package("upgrade", pending, call=call)
    assert applied() == {NEXT: True, AFTER: True}


@both_drivers
def test_tables_without_what_is_deferred_are_no_drift(package: Package, pending: str, call: Call):
    assert package("check", pending, call=call, deep=True).answer == "current"
    assert package("status", pending, call=call).answer["differences"] == []
