"""Who is connected, at which schema version, and whether what they need may be removed."""

from collections.abc import Sequence
from datetime import UTC, datetime

from todo_schema import leases
from todo_schema.catalog import Contract
from todo_schema.compatibility import SCHEMA_VERSION, Line, State
from todo_schema.errors import ClientsConnectedError, ContractBlockedError, UnseenClientsError
from todo_schema.inspection import Found
from todo_schema.standing import Client, PendingContract
from todo_schema.wire import Wire, transaction

_SHOWN = 20
# Stands for "and every newer one": no schema version is above it.
NEWEST = 999_999_999


def read(wire: Wire, schema: str) -> tuple[Client, ...]:
    """Read who is connected: the holders of leases, and clients of a pooler as far as their names show them."""
    return tuple(_client(row) for row in wire.fetch(leases.clients_query(schema)))


def _client(row: Sequence[object]) -> Client:
    service, version, leased, role, host, pids, since = row
    numbers = tuple(int(pid) for pid in str(pids).split(","))  # asyncpg would ask the server what an array is
    return Client(
        service=str(service),
        schema_version=int(str(version)),
        connections=len(numbers),
        pids=numbers,
        host=None if host is None else str(host),
        role=None if role is None else str(role),
        since=None if since is None else datetime.fromtimestamp(float(str(since)), UTC),
        leased=bool(leased),
    )


def below(clients: tuple[Client, ...], floor: int) -> tuple[Client, ...]:
    """Return the clients that a floor would leave behind."""
    return tuple(client for client in clients if client.schema_version < floor)


def pending(
    found: Found, due: Sequence[Contract], clients: tuple[Client, ...], *, pooled: bool
) -> tuple[PendingContract, ...]:
    """Say of each contract step that has not been applied what it waits for, and who is in its way."""
    steps: list[PendingContract] = []
    for step in due:
        blocked_by = below(clients, step.floor)
        if found.state not in (State.CURRENT, State.AHEAD):
            command = "adopt" if found.state is State.UNVERSIONED else "upgrade"
            waits_for = f"todo-schema {command} --url URL{found.option}"
        elif blocked_by:
            waits_for = f"services below schema {step.floor} to leave"
        elif steps and steps[-1].waits_for:
            waits_for = steps[-1].revision
        elif pooled:
            waits_for = "--allow-unseen, since this URL goes through a pooler"
        else:
            waits_for = ""
        steps.append(
            PendingContract(step.revision, step.requires, step.floor, not waits_for, waits_for, blocked_by)
        )
    return tuple(steps)


def claim(wire: Wire, found: Found, revision: str, line: Line, first: int, last: int) -> None:
    """Take some schema versions for this transaction alone, or say who is connected with them.

    Args:
        wire: The connection of the step, in its transaction.
        found: What the database holds.
        revision: The step, for the message.
        line: The line of the step: a contract step is applied, an expand step is undone.
        first: The oldest schema version that the step would break.
        last: The newest.

    Raises:
        ContractBlockedError: A service is connected that a contract step would break.
        ClientsConnectedError: A service is connected that needs what a downgrade would remove.

    """
    held = wire.fetch(leases.try_exclusive_query(found.schema, first, last))
    if not held and last < SCHEMA_VERSION:
        return
    clients = tuple(
        client
        for client in read(wire, found.schema)
        if client.leased and first <= client.schema_version <= last
    )
    if not held and not clients:
        return
    who = f"connected to database {found.database}, schema {found.schema}:{_listed(clients) or ' one that just left'}"
    if line is Line.CONTRACT:
        raise ContractBlockedError(
            f"contract revision {revision} would break services that are {who}",
            f"no connection of a package below schema {last + 1}",
            f"deploy these services with a package of schema {last + 1} or newer, or stop them, and call again: "
            f"todo-schema contract --url URL --to {revision}{found.option}",
            clients,
        )
    replace = f"deploy these services with a package below schema {first}, or " if first > 1 else ""
    raise ClientsConnectedError(
        f"undoing revision {revision} would break services that are {who}",
        f"no connection of a package of schema {first} or newer",
        f"{replace}stop these services, and call again",
        clients,
    )


def refuse_unseen(wire: Wire, found: Found, action: str, first: int, last: int, *, pooled: bool) -> None:
    """Raise where services may be connected that no lease shows.

    Args:
        wire: A connection to the database, in no transaction.
        found: What the database holds.
        action: What is asked for, for the message.
        first: The oldest schema version that matters.
        last: The newest.
        pooled: Whether this very connection goes through a pooler.

    Raises:
        UnseenClientsError: They may be.

    """
    with transaction(wire):
        clients = read(wire, found.schema)
    seen = tuple(client for client in clients if not client.leased and first <= client.schema_version <= last)
    if not pooled and not seen:
        return
    through = "this connection goes through a pooler" if pooled else "clients come through a pooler"
    known = "" if last >= NEWEST else f" to {last}" if last > first else ""
    raise UnseenClientsError(
        f"{through}, in front of database {found.database}, and behind one no client holds a lease{_listed(seen)}",
        f"to know that no package of schema {first}{known or ' or newer' if last != first else ''} is in use: "
        f"{action} breaks it, and cannot see it",
        "stop or replace such services (a pooler keeps the name of one that has left until its connection is "
        "closed); then allow_unseen=True, or --allow-unseen",
        seen,
    )


def _listed(clients: tuple[Client, ...]) -> str:
    lines = "".join(f"\n  {client}" for client in clients[:_SHOWN])
    more = len(clients) - _SHOWN
    return f"{lines}\n  and {more} more, which todo-schema clients lists" if more > 0 else lines
