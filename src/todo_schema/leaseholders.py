"""Who is connected, at which schema version, and whether what they need may be removed."""

from collections.abc import Sequence
from datetime import UTC, datetime

from todo_schema import leases
from todo_schema.catalog import Contract
from todo_schema.compatibility import Line
from todo_schema.errors import ClientsConnectedError, ContractBlockedError, UnseenClientsError
from todo_schema.inspection import Found
from todo_schema.standing import Client, PendingContract
from todo_schema.wire import Wire

_SHOWN = 20


def read(wire: Wire, schema: str) -> tuple[Client, ...]:
    """Read who is connected: the holders of leases, and clients of a pooler as far as their names show them."""
    return tuple(_client(row) for row in wire.fetch(leases.clients_query(schema)))


def _client(row: Sequence[object]) -> Client:
    service, version, leased, role, host, pids, since = row
    assert isinstance(pids, list)  # noqa: S101  # an array of PostgreSQL is a list on every driver
    return Client(
        service=str(service),
        schema_version=int(str(version)),
        connections=len(pids),
        pids=tuple(pids),
        host=None if host is None else str(host),
        role=None if role is None else str(role),
        since=None if since is None else datetime.fromtimestamp(float(str(since)), UTC),
        leased=bool(leased),
    )


def below(clients: tuple[Client, ...], floor: int) -> tuple[Client, ...]:
    """Return the clients that a floor would leave behind."""
    return tuple(client for client in clients if client.schema_version < floor)


def pending(
    found: Found, due: Sequence[Contract], clients: tuple[Client, ...]
) -> tuple[PendingContract, ...]:
    """Say of each contract step that has not been applied whether it could be, and who is in its way."""
    return tuple(
        PendingContract(
            revision=step.revision,
            requires=step.requires,
            floor=step.floor,
            ready=step.requires <= (found.version or 0) and not below(clients, step.floor),
            blocked_by=below(clients, step.floor),
        )
        for step in due
    )


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
    if not wire.fetch(leases.try_exclusive_query(found.schema, first, last)):
        return
    clients = tuple(
        client
        for client in read(wire, found.schema)
        if client.leased and first <= client.schema_version <= last
    )
    listed = "".join(f"\n  {client}" for client in clients[:_SHOWN])
    if len(clients) > _SHOWN:
        listed += f"\n  and {len(clients) - _SHOWN} more, which todo-schema clients lists"
    who = f"connected to database {found.database}:{listed or ' one that has just left'}"
    if line is Line.CONTRACT:
        raise ContractBlockedError(
            f"contract revision {revision} would break services that are {who}",
            f"no connection of a package below schema {last + 1}",
            f"deploy these services with a package of schema {last + 1} or newer, or stop them, and call again: "
            "todo-schema contract --url URL",
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
        wire: A connection to the database.
        found: What the database holds.
        action: What is asked for, for the message.
        first: The oldest schema version that matters.
        last: The newest.
        pooled: Whether this very connection goes through a pooler.

    Raises:
        UnseenClientsError: They may be.

    """
    seen = tuple(
        client
        for client in read(wire, found.schema)
        if not client.leased and first <= client.schema_version <= last
    )
    if not pooled and not seen:
        return
    through = "this connection goes through a pooler" if pooled else "clients come through a pooler"
    listed = "".join(f"\n  {client}" for client in seen[:_SHOWN])
    raise UnseenClientsError(
        f"{through}, in front of database {found.database}, and behind one no client holds a lease{listed}",
        f"to know that no package of schema {first}{'' if first == last else f' to {last}'} is in use: {action} "
        "breaks it, and cannot see it",
        "stop or replace such services (a pooler keeps the name of one that has left until its connection is "
        "closed); then allow_unseen=True, or --allow-unseen",
    )
