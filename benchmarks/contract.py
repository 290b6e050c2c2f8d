"""What a contract step asks of the server, and the boot of a replica after one."""

import tempfile
from pathlib import Path

from tests.support import packages
from tests.support.clusters import cluster
from tests.support.contracting import leased
from tests.support.servers import Server

from benchmarks import tables
from benchmarks.measuring import Program, count
from todo_schema import SCHEMA_VERSION, embedded, upgrade

_UPGRADE = "from todo_schema import upgrade as boot"
_CONTRACT = "from todo_schema import contract as boot"
_ASYNC = """
import asyncio
from todo_schema import {0}
def boot(url):
    asyncio.run({0}(url))
"""
_UPGRADE_ASYNC = _ASYNC.format("upgrade_async")
_CONTRACT_ASYNC = _ASYNC.format("contract_async")
_REFUSED = """
from todo_schema import ContractBlockedError, contract
def boot(url):
    try:
        contract(url)
    except ContractBlockedError:
        return
    raise RuntimeError("it was not refused")
"""


def measure() -> str:
    """Return the table, as Markdown."""
    with cluster(embedded.binaries()) as server, tempfile.TemporaryDirectory() as temporary:
        environment = {"PYTHONPATH": str(_package(Path(temporary), server))}
        first, second = (server.create_database() for _ in range(2))
        for url in (first, second):
            upgrade(url)

        def counted(name: str, source: str, url: str) -> tuple[object, ...]:
            counts = count(server, Program(name, source, environment=environment), url)
            return (name, *counts[:3], "yes" if counts.alembic else "no")

        rows = [
            counted("`upgrade`, one expand revision", _UPGRADE, first),
            counted("`upgrade_async`, one expand revision", _UPGRADE_ASYNC, second),
        ]
        with leased(first, SCHEMA_VERSION):
            rows.append(counted("`contract`, refused: a service is connected", _REFUSED, first))
        rows += [
            counted("`contract`, one contract revision", _CONTRACT, first),
            counted("`contract_async`, one contract revision", _CONTRACT_ASYNC, second),
            counted("`contract`, nothing due", _CONTRACT, first),
            counted("`upgrade`, up to date, with a contract row", _UPGRADE, first),
            counted("`upgrade_async`, up to date, with a contract row", _UPGRADE_ASYNC, second),
        ]
    header = (
        "a contract step, and a boot after it",
        "connections",
        "statements",
        "round trips",
        "Alembic imported",
    )
    note = (
        "Counts of a whole call, on a package with one more expand revision and a contract revision after it."
    )
    return "\n\n".join(["## A contract step", tables.table(header, rows), note])


def _package(folder: Path, server: Server) -> Path:
    made = packages.throwaway_package(
        folder, packages.NEXT_REVISION | packages.NEXT_CONTRACT, edits=[packages.WITHOUT_DESCRIPTION]
    )
    packages.write_catalogues(made, server)
    return made


if __name__ == "__main__":
    print(measure())
