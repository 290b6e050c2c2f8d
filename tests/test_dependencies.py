"""What pyproject.toml says about dependencies is what is tested."""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]


def parsed(lines):
    return [Requirement(line) for line in lines]


def test_each_lower_bound_is_the_version_that_make_floors_installs():
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    bounds = {
        (r.name, *r.extras, str(r.specifier).removeprefix(">="))
        for r in parsed(PROJECT["dependencies"] + extras)
    }
    pins = {
        (r.name, *r.extras, str(r.specifier).removeprefix("=="))
        for r in parsed(PYPROJECT["dependency-groups"]["floors"])
    }
    assert pins == bounds


def test_the_wheel_itself_depends_on_the_five_drivers_and_orm_packages_alone():
    assert {r.name for r in parsed(PROJECT["dependencies"])} == {
        "alembic",
        "asyncpg",
        "psycopg",
        "sqlalchemy",
        "sqlmodel",
    }
    assert set(PROJECT["optional-dependencies"]) == {"cli", "embedded", "testing"}


def test_no_dependency_has_an_upper_bound():
    everything = PROJECT["dependencies"] + [
        line for lines in PROJECT["optional-dependencies"].values() for line in lines
    ]
    assert {spec.operator for r in parsed(everything) for spec in r.specifier} == {">="}
