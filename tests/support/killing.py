"""Processes that are killed with SIGKILL at a moment of what they do to a database."""

import threading

from tests.support import forker
from tests.support.faults import Fault
from tests.support.forker import Forker
from tests.support.proxy import Moment, Proxy
from tests.support.servers import Server


def kill_at(at: tuple[int, Moment], server: Server, database: str, programs: Forker) -> None:
    """Start one of the programs on a database, and kill it with SIGKILL at a moment of a statement."""
    known = threading.Event()
    pids: list[int] = []

    def act(_connection: int) -> None:
        known.wait()
        forker.kill(pids[0])

    fault = Fault(*at, act)
    with Proxy(server, on_statement=fault) as proxy:
        pids += programs.start(proxy.url(database))
        known.set()
        (outcome,) = programs.outcomes()
    assert fault.happened, at
    assert outcome["error"] == "ended with -9 and said nothing", at


def statements_of(server: Server, database: str, programs: Forker) -> dict[int, str]:
    """What one of the programs says to a database, on all its connections, by the number of each statement."""
    told: dict[int, str] = {}
    with Proxy(server, on_statement=lambda *call: told.update({call[1]: call[2]})) as proxy:
        (outcome,) = programs.race(1, proxy.url(database))
    assert outcome["ok"], outcome
    return told
