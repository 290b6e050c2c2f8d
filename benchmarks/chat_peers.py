"""The schemas that a chat would use instead of ours, each by its own package, with the same rows."""

import statistics
from collections.abc import Mapping

from tests.support.servers import execute

from benchmarks import figures, peers, tables
from benchmarks.both_schemas import Both, rows_of
from benchmarks.operating import AtWork, Cost, Package, at_work, in_turns, round_trips, worker
from benchmarks.our_programs import our_packages
from benchmarks.peer_programs import CHAT_PEERS, ChatPeer

APPENDS = 50
ROUNDS = 4
# Seconds of reading in each round, for each package: whoever reads everything does it less often.
READING = 2.0
_FEWEST, _MOST = 3, 25

_LONG = "newest of long"
_SHORT = "newest of short"
_APPEND = "append a turn"

_ROLE = """
CREATE ROLE {role} SUPERUSER LOGIN; ALTER ROLE {role} SET search_path = {role}
"""


def measure(both: Both) -> str:
    """Return the tables, as Markdown."""
    skipped: list[str] = []
    with our_packages(both) as ours:
        packages = [*ours]
        newest = {ours[0].name: "`select(Message)`", ours[1].name: "`newest_messages()`"}
        # Beside our rows, from which theirs are made.
        database = both.server.create_database(template=both.new)
        for chat in CHAT_PEERS:
            try:
                package = _made(both, database, chat)
            except peers.NotInstalledError as error:
                skipped.append(str(error))
            except RuntimeError as error:
                skipped.append(f"{chat.peer.package}: {str(error).splitlines()[-1]}")
            else:
                packages.append(package)
                newest[package.name] = chat.newest
        execute(database, "VACUUM (ANALYZE)")
        execute(database, "CHECKPOINT")
        with at_work(packages) as working:
            costs = {name: _reads_in_turns(both, working, name) for name in (_LONG, _SHORT)}
            appended = in_turns(both.server, working, _APPEND, APPENDS, ROUNDS)
        trips = {package.name: round_trips(both.server, package, [_APPEND]) for package in packages}
    parts = ["## Chat schemas", _newest(costs, newest), _appends(appended, trips), _note(both)]
    return "\n\n".join([*parts, *(f"Skipped: {reason}" for reason in skipped)])


def _made(both: Both, database: str, chat: ChatPeer) -> Package:
    """Install a package, let it make its tables, and fill them with our rows."""
    program = peers.program(chat.peer)
    execute(database, f"{_ROLE.format(role=chat.role)}; CREATE SCHEMA {chat.role}")
    url = both.server.url(database, chat.role)
    # Its name is that of the package and its version.
    name = program.name.partition(":")[0]
    source = chat.source.replace("{long}", str(len(both.filled.heavy_conversations)))
    package = Package(name, source, url, scheme=program.scheme, python=program.python)
    with worker(package) as its:
        its.do("prepare", 1)
    execute(url, f"SET session_replication_role = replica; SET work_mem = '256MB'; {chat.fill}")
    count = f"SELECT count(*) FROM {chat.written}"
    ((before,),) = execute(url, count)
    with worker(package) as its:
        its.do(_APPEND, 1)
    ((after,),) = execute(url, count)
    if (before, after) != (both.filled.messages, both.filled.messages + 2):
        raise RuntimeError(f"of {both.filled.messages} messages and 2 there were {before} and {after}")
    return package


def _reads_in_turns(both: Both, working: AtWork, name: str) -> dict[str, Cost]:
    times = {}
    for package, its in working:
        (_, second), _ = its.do(name, 2)
        times[package.name] = min(max(round(READING / second), _FEWEST), _MOST)
    return in_turns(both.server, working, name, times, ROUNDS)


def _newest(costs: Mapping[str, Mapping[str, Cost]], newest: Mapping[str, str]) -> str:
    long, short = costs[_LONG], costs[_SHORT]
    header = (
        "newest 50 messages",
        "asked for by",
        *(
            f"{part}, {kind}"
            for kind in ("long", "short")
            for part in ("rows read", "buffers", "server", "caller")
        ),
    )
    rows = [
        (name, newest[name], *(cell for cost in (long[name], short[name]) for cell in _cells(cost)))
        for name in long
    ]
    return tables.table(header, rows)


def _cells(cost: Cost) -> tuple[str, ...]:
    return (
        f"{statistics.median(cost.results):,.0f}",
        f"{cost.buffers:,.0f}",
        figures.duration(cost.server_seconds),
        figures.duration(cost.median),
    )


def _appends(costs: Mapping[str, Cost], trips: Mapping[str, Mapping[str, float]]) -> str:
    header = ("a turn appended", "statements", "round trips", "buffers", "WAL, B", "server", "caller")
    rows = [
        (
            name,
            f"{cost.statements:.0f}",
            f"{trips[name][_APPEND]:.0f}",
            f"{cost.buffers:,.0f}",
            f"{cost.wal:,.0f}",
            figures.duration(cost.server_seconds),
            figures.duration(cost.median),
        )
        for name, cost in costs.items()
    ]
    return tables.table(header, rows)


def _note(both: Both) -> str:
    return (
        f"{rows_of(both.filled)}, the same for each, in tables that the package made itself (Chainlit's: its "
        "documentation). Long are conversations of 6,000 messages where there is room for it, short ones of 11. "
        "Each package runs in an environment and a process of its own, with one warm connection, by its own public "
        "interface, in turns with the others. A turn is two messages. Rows are what the caller was given; where "
        "there is no way to ask for the newest 50 they are all. Statements (without `BEGIN` and `COMMIT`), buffers "
        "and the server's time are those of pg_stat_statements, divided by the operations (the time: the median "
        "round), without planning; WAL is how far the server had got. The caller's time is a median by the clock, "
        "with what the package makes of the rows. Not compared: what else each keeps. `todo_schema` 0.2 checks "
        "whose conversation it is and keeps the order of concurrent writers; LangChain's has no table of "
        "conversations to keep."
    )
