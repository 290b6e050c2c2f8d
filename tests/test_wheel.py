"""What is released: the contents of wheel and sdist, and an upgrade from an installed wheel in a hostile folder."""

import configparser
import json
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from importlib.metadata import Distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.catalog_dump import dump
from tests.support.processes import CHECKOUT, SOURCE, clean_environment
from tests.support.states import version
from todo_schema import SCHEMA_VERSION
from todo_schema.compatibility import HEAD, PACKAGE_VERSION

AUTHORS_ONLY = {"todo_schema/migrations/env.py", "todo_schema/migrations/script.py.mako"}

# What an application's folder may hold: none of it is ours, and none of it may be run or read by us.
HOSTILE = "raise SystemExit('a file of the working directory was run')\n"
HOSTILE_INI = """
[alembic]
script_location = %(here)s/migrations
sqlalchemy.url = sqlite:///hostile.db
prepend_sys_path = .
[loggers]
keys = nonsense
"""


# What stands at the top level of the repository; whatever else comes there has come by accident.
TOP_LEVEL = {
    *(
        ".ci",
        ".gitattributes",
        ".gitignore",
        "CHANGELOG.md",
        "LICENSE",
        "Makefile",
        "README.md",
        "pyproject.toml",
    ),
    *("benchmarks", "docs", "examples", "src", "tests"),
}


def test_nothing_has_come_to_the_top_level_by_accident():
    listed = subprocess.run(
        ["git", "ls-files"], cwd=CHECKOUT, check=False, capture_output=True, text=True, timeout=60
    )
    if listed.returncode:
        pytest.skip("no checkout of git")
    assert {line.split("/")[0] for line in listed.stdout.splitlines()} <= TOP_LEVEL


def sources() -> set[str]:
    """The files of the package, as the checkout has them."""
    return {
        path.relative_to(SOURCE).as_posix()
        for path in (SOURCE / "todo_schema").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def metadata(wheel: Path) -> Message:
    return Parser().parsestr(_dist_info(wheel, "METADATA"))


def _dist_info(wheel: Path, name: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(f"todo_schema-{PACKAGE_VERSION}.dist-info/{name}").decode()


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("sdist")
    from importlib.util import find_spec

    isolation = ["--no-isolation"] if find_spec("hatchling") else []
    subprocess.run(
        [sys.executable, "-m", "build", "--sdist", *isolation, "--outdir", folder, CHECKOUT],
        check=True,
        capture_output=True,
        timeout=300,
    )
    (made,) = folder.glob("*.tar.gz")
    with tarfile.open(made) as archive:
        return {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}


def test_the_wheel_holds_the_package_and_nothing_that_is_for_authors_alone(wheel: Path):
    packaged = {name for name in contents(wheel) if not name.startswith(f"todo_schema-{PACKAGE_VERSION}.")}
    assert packaged == sources() - AUTHORS_ONLY
    assert sources() >= AUTHORS_ONLY


def test_the_wheel_holds_the_revisions_their_catalogues_and_the_mark_of_a_typed_package(wheel: Path):
    packaged = contents(wheel)
    assert "todo_schema/py.typed" in packaged
    for revision in (SOURCE / "todo_schema" / "migrations" / "versions").glob("*.py"):
        assert f"todo_schema/migrations/versions/{revision.name}" in packaged
        ordinal = revision.name.split("_")[0]
        assert f"todo_schema/migrations/catalog/{ordinal}.txt" in packaged


def test_the_sdist_holds_the_whole_package_with_its_tests_and_licence(sdist: set[str]):
    assert sdist >= {f"src/{name}" for name in sources()}
    assert sdist >= {
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "pyproject.toml",
        "tests/conftest.py",
        "tests/test_wheel.py",
    }
    assert not [name for name in sdist if "__pycache__" in name or name.endswith(".pyc")]


def test_the_metadata_says_what_the_package_is_and_needs(wheel: Path):
    said = metadata(wheel)
    assert said["Name"] == "todo-schema"
    assert said["Version"] == PACKAGE_VERSION
    assert said["License-Expression"] == "MIT"
    assert said["License-File"] == "LICENSE"
    assert said["Requires-Python"] == ">=3.11"
    assert said["Description-Content-Type"] == "text/markdown"
    assert set(said.get_all("Provides-Extra")) == {"cli", "embedded", "testing"}
    required = {line for line in said.get_all("Requires-Dist") if "extra ==" not in line}
    names = {line.split(">=")[0] for line in required}
    assert names == {
        "alembic",
        "asyncpg",
        "psycopg[binary]",
        "sqlalchemy[asyncio]",
        "sqlmodel",
        "uuid-utils",
    }
    assert all(">=" in line for line in said.get_all("Requires-Dist"))


def test_the_licence_and_the_command_are_in_the_wheel(wheel: Path):
    assert "MIT License" in _dist_info(wheel, "licenses/LICENSE")
    scripts = configparser.ConfigParser()
    scripts.read_string(_dist_info(wheel, "entry_points.txt"))
    assert dict(scripts["console_scripts"]) == {"todo-schema": "todo_schema.__main__:main"}


def test_the_version_of_the_wheel_is_the_one_that_the_package_says(wheel: Path):
    assert wheel.name == f"todo_schema-{PACKAGE_VERSION}-py3-none-any.whl"
    declared = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    assert declared["dynamic"] == ["version"]


# From here on a real installation: an empty environment, the wheel, and what it says that it needs.


def run(*command: str | Path, cwd: Path, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        check=False,
        capture_output=True,
        text=True,
        cwd=cwd,
        env=clean_environment({"PYTHONPATH": ""}),
        timeout=timeout,
    )


def needed_by(requirements: list[Requirement]) -> list[Distribution]:
    """What pip would install for the requirements of our wheel with its extra `cli`, as it is installed here."""
    found: dict[str, Distribution] = {}
    todo = [(requirement, {"cli"}) for requirement in requirements]
    known: set[tuple[str, str]] = set()
    while todo:
        requirement, wanted = todo.pop()
        if requirement.marker and not any(
            requirement.marker.evaluate({"extra": one}) for one in wanted | {""}
        ):
            continue
        distribution = Distribution.from_name(requirement.name)
        assert requirement.specifier.contains(distribution.version, prereleases=True), str(requirement)
        name = canonicalize_name(requirement.name)
        found[name] = distribution
        for extra in requirement.extras | {""}:
            if (name, extra) not in known:
                known.add((name, extra))
                todo += [(Requirement(line), {extra}) for line in distribution.requires or ()]
    return list(found.values())


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of an environment with the wheel; a per cent sign is in its path."""
    folder = tmp_path_factory.mktemp("100%(here)s")
    environment = folder / "venv"
    assert run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=folder).returncode == 0
    programs = environment / ("Scripts" if os.name == "nt" else "bin")
    # The pip that is here serves; what `make` has installed for us stands in for the index.
    pip = [sys.executable, "-m", "pip", "--python", programs / "python", "--disable-pip-version-check"]
    done = run(*pip, "install", "--no-index", "--no-deps", "--no-compile", f"{wheel}[cli]", cwd=folder)
    assert done.returncode == 0, done.stderr
    (packages,) = environment.glob("**/site-packages")
    for distribution in needed_by(
        [Requirement(line) for line in metadata(wheel).get_all("Requires-Dist", [])]
    ):
        for file in distribution.files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                (packages / file).parent.mkdir(parents=True, exist_ok=True)
                (packages / file).symlink_to(file.locate())
    return programs


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A working directory whose Alembic project must not be taken for ours."""
    folder = tmp_path / "50% off %(here)s"
    (folder / "migrations" / "versions").mkdir(parents=True)
    (folder / "alembic.ini").write_text(HOSTILE_INI)
    (folder / "pyproject.toml").write_text('[tool.alembic]\nscript_location = "migrations"\n')
    for name in (
        "env.py",
        "migrations/env.py",
        "migrations/__init__.py",
        "migrations/versions/001_baseline.py",
    ):
        (folder / name).write_text(HOSTILE)
    return folder


UPGRADE = """
import json, logging, sys, todo_schema
report = todo_schema.upgrade(sys.argv[1])
report = [report.version_before, report.version_after, todo_schema.check(sys.argv[1], deep=True)]
print(json.dumps([report, todo_schema.__file__, logging.getLogger().handlers]))
"""


def files_of(folder: Path) -> dict[str, str]:
    return {str(path): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_an_installed_wheel_upgrades_a_database_from_a_hostile_folder(
    installed: Path, hostile: Path, database: str, upgraded_database: str
):
    before = files_of(hostile)
    done = run(installed / "python", "-c", UPGRADE, database, cwd=hostile)
    assert done.returncode == 0, done.stderr
    (versions, file, handlers) = json.loads(done.stdout)
    assert versions == [None, SCHEMA_VERSION, "current"]
    assert Path(file).is_relative_to(installed.parent)
    assert handlers == []
    assert dump(database) == dump(upgraded_database)
    assert files_of(hostile) == before


@pytest.mark.parametrize(
    "command", [["python", "-m", "todo_schema"], ["todo-schema"]], ids=["module", "script"]
)
def test_the_installed_command_upgrades_a_database_from_a_hostile_folder(
    installed: Path, hostile: Path, database: str, command: list[str]
):
    program, *module = command
    done = run(installed / program, *module, "upgrade", "--url", database, cwd=hostile)
    assert done.returncode == 0, done.stdout + done.stderr
    assert version(database) == [HEAD]


def test_an_installed_wheel_tells_what_an_extra_is_missing(installed: Path, hostile: Path):
    code = "from todo_schema import embedded\nwith embedded.postgres(): pass"
    done = run(installed / "python", "-c", code, cwd=hostile)
    assert 'cure: pip install "todo-schema[embedded]"' in done.stderr


def test_the_authors_environment_is_not_installed(installed: Path):
    (package,) = installed.parent.glob("**/site-packages/todo_schema")
    assert not (package / "migrations" / "env.py").exists()
    assert (package / "migrations" / "versions").is_dir()
