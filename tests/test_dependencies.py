"""What pyproject.toml says about dependencies is what is tested."""

import os
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.processes import run_python

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


def test_the_wheel_itself_depends_on_drivers_orm_and_keys_alone():
    assert {r.name for r in parsed(PROJECT["dependencies"])} == {
        "alembic",
        "asyncpg",
        "psycopg",
        "sqlalchemy",
        "sqlmodel",
        "uuid-utils",
    }
    assert set(PROJECT["optional-dependencies"]) == {"cli", "embedded", "testing"}


def test_no_dependency_has_an_upper_bound():
    everything = PROJECT["dependencies"] + [
        line for lines in PROJECT["optional-dependencies"].values() for line in lines
    ]
    assert {spec.operator for r in parsed(everything) for spec in r.specifier} == {">="}


FORK = """
import os
from todo_schema.model_base import uuid7

def made_in_a_child():
    listen, tell = os.pipe()
    if not os.fork():
        os.write(tell, uuid7().bytes[6:])  # but for the time
        os._exit(0)
    os.close(tell)
    with os.fdopen(listen, "rb") as pipe:
        return pipe.read()

uuid7()  # there is a state now
made = [made_in_a_child() for _ in range(2)]
print(all(made) and made[0] != made[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_two_forked_processes_never_make_the_same_key():
    """Before 0.14 they made the same within a millisecond: uuid-utils kept the state of its random numbers."""
    done = run_python(FORK)
    assert done.stdout.strip() == "True", done.stderr
