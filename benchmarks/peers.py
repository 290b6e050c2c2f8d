"""Other packages that bring their own schema, each in an environment of its own below the user's cache."""

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import NamedTuple

from benchmarks.measuring import Program

INSTALL_SECONDS = 240
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "todo-schema-benchmarks"

_PROCRASTINATE_CHECK = """
import asyncio
from procrastinate import App, PsycopgConnector
async def check(url):
    app = App(connector=PsycopgConnector(conninfo=url))
    async with app.open_async():
        if not await app.check_connection_async():
            raise LookupError("no table")
def boot(url):
    asyncio.run(check(url))
"""
PROCRASTINATE_APPLY = """
import asyncio
from procrastinate import App, PsycopgConnector
async def apply(url):
    app = App(connector=PsycopgConnector(conninfo=url))
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
def boot(url):
    asyncio.run(apply(url))
"""
_OPTUNA = """
from optuna.storages import RDBStorage
def boot(url):
    RDBStorage(url).engine.dispose()
"""
_MLFLOW = """
from mlflow.cli import cli
def boot(url):
    cli(["db", "upgrade", url], standalone_mode=False)
"""
# It reads the url from the environment as it is imported.
_PREFECT = """
import os
import sys
def boot(url):
    os.environ["PREFECT_API_DATABASE_CONNECTION_URL"] = url
    sys.argv = ["prefect", "server", "database", "upgrade", "-y"]
    from prefect.cli import app
    try:
        app()
    except SystemExit as end:
        if end.code:
            raise
"""

# What could not be installed is not tried again in the same run.
_FAILED: dict[str, str] = {}


class Peer(NamedTuple):
    """A package, what `pip` is asked for, and what its users run at boot."""

    package: str
    requirements: tuple[str, ...]
    boot: str
    source: str
    scheme: str = "postgresql+psycopg"
    prepare: str | None = None


PROCRASTINATE = Peer(
    "procrastinate",
    ("procrastinate", "psycopg[binary]"),
    "`check_connection`",
    _PROCRASTINATE_CHECK,
    scheme="postgresql",
    prepare=PROCRASTINATE_APPLY,
)
OPTUNA = Peer("optuna", ("optuna", "psycopg[binary]"), "`RDBStorage(url)`", _OPTUNA)
MLFLOW = Peer("mlflow", ("mlflow", "psycopg[binary]"), "`mlflow db upgrade`", _MLFLOW)
PREFECT = Peer(
    "prefect", ("prefect",), "`prefect server database upgrade`", _PREFECT, scheme="postgresql+asyncpg"
)


class NotInstalledError(Exception):
    """A peer cannot be had here; the message says why."""


def program(peer: Peer) -> Program:
    """Return what a peer does at boot, after installing it where that was not done before.

    Raises:
        NotInstalledError: pip failed, or took too long.

    """
    if peer.package in _FAILED:
        raise NotInstalledError(_FAILED[peer.package])
    python = CACHE / peer.package / "bin" / "python"
    if not (CACHE / peer.package / "complete").exists():
        _install(peer, python)
    return Program(
        f"{peer.package} {_version(peer, python)}: {peer.boot}",
        peer.source,
        scheme=peer.scheme,
        tables=True,
        prepare=peer.prepare,
        python=python,
        environment=_quiet(),
    )


def _install(peer: Peer, python: Path) -> None:
    folder = CACHE / peer.package
    venv.create(folder, clear=True)
    print(f"installing {peer.package} into {folder}", file=sys.stderr, flush=True)
    pip = [sys.executable, "-m", "pip", "--quiet", "--python", str(python), "install", *peer.requirements]
    try:
        subprocess.run(pip, check=True, timeout=INSTALL_SECONDS, capture_output=True, text=True)
    except subprocess.TimeoutExpired:
        raise _not_installed(peer, f"pip was not done after {INSTALL_SECONDS} s") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip() or str(error)
        raise _not_installed(peer, f"pip said {said.splitlines()[-1]}") from None
    (folder / "complete").touch()


def _not_installed(peer: Peer, reason: str) -> NotInstalledError:
    shutil.rmtree(CACHE / peer.package, ignore_errors=True)
    _FAILED[peer.package] = f"{peer.package}: {reason}"
    return NotInstalledError(_FAILED[peer.package])


def _version(peer: Peer, python: Path) -> str:
    code = f"import importlib.metadata; print(importlib.metadata.version({peer.package!r}))"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def _quiet() -> dict[str, str]:
    """Keep the peers from asking anybody else, and from writing into the user's folders."""
    home = Path(tempfile.gettempdir()) / "todo-schema-benchmarks"
    return {
        "DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
