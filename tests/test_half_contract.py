"""A contract revision of several parts that died half way can be completed, and can be gone back from."""

from collections.abc import Iterator

import pytest

from tests.support import contracting, packages
from tests.support.contracting import CONTRACTED, EXPANDED, Asked, floors, recorded, revisions_of
from tests.support.in_parts import NARROWED, SEED, UP, WIDENED, dies
from tests.support.online import facts, revision_file
from tests.support.packages import BELOW_CONTRACT, CONTRACT
from tests.support.revisions import LAST_FLOOR, NEXT, NEXT_VERSION
from tests.support.servers import Server, execute
from tests.support.ways import Call, both_drivers
from todo_schema import SchemaTooNewError, check, contract, upgrade
from todo_schema.compatibility import HEAD

NARROW = """
operations.create_index(op, "ix_narrow", "tasks", ["title"])
operations.add_check(op, "ck_narrow", "tasks", "title <> 'forbidden'")
operations.drop_column(op, "tasks", "description")
"""
WIDEN = """
operations.add_column(op, "tasks", sa.Column("description", sa.Text(), comment="More about it, or null."))
operations.drop_constraint(op, "ck_narrow", "tasks")
operations.drop_index(op, "ix_narrow", "tasks")
"""
FILES = revision_file(NEXT, HEAD) | {
    name: text.replace(f'down_revision = "{NEXT}"', BELOW_CONTRACT)
    for name, text in revision_file(
        CONTRACT, NEXT, NARROW, WIDEN, requires=NEXT_VERSION, floor=NEXT_VERSION
    ).items()
}


@pytest.fixture(scope="module")
def package(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    folder = packages.throwaway_package(tmp_path_factory.mktemp("half"), FILES)
    packages.write_catalogues(folder, server)
    with contracting.asked(folder) as running:
        yield running


@pytest.fixture
def filled(server: Server, template: str, package: Asked) -> Iterator[str]:
    url = server.create_database(template=template)
    execute(url, SEED)
    contract(url)  # of this package, so that the throw-away step alone is left
    yield url
    server.drop_database(url)


@both_drivers
def test_one_that_is_half_undone_is_completed_again_by_contract(
    server: Server, filled: str, package: Asked, call: Call
):
    package(call, filled, UP, NARROWED)
    whole = facts(filled)
    dies(server, package, call, filled, "widen", ("DROP INDEX CONCURRENTLY", "before"), "killed")
    assert facts(filled) != whole
    (report,) = package(call, filled, NARROWED)
    assert revisions_of(report) == [CONTRACT]
    assert facts(filled) == whole
    assert (recorded(filled), floors(filled)[-1]) == (CONTRACTED, NEXT_VERSION)
    assert package(call, filled, NARROWED)[0]["applied"] == []


@both_drivers
@pytest.mark.parametrize("how", ["it died", "rows break its rule"])
def test_one_that_is_half_applied_can_be_gone_back_from(
    server: Server, filled: str, package: Asked, call: Call, how: str
):
    package(call, filled, UP)
    before = facts(filled)
    if how == "it died":
        dies(server, package, call, filled, "contract", ("VALIDATE", "before"), "killed")
    else:
        execute(filled, "UPDATE tasks SET title = 'forbidden' WHERE id = 7")
        (refused,) = package(call, filled, NARROWED)
        assert refused["error"] == "MigrationFailedError"
    with pytest.raises(SchemaTooNewError):
        upgrade(filled)
    (report,) = package(call, filled, WIDENED)
    assert revisions_of(report) == [CONTRACT]
    assert facts(filled) == before
    assert (recorded(filled), floors(filled)[-1]) == (EXPANDED, LAST_FLOOR)
    assert check(filled) == "ahead"
    execute(filled, "DELETE FROM tasks")
    assert revisions_of(package(call, filled, NARROWED)[0]) == [CONTRACT]
