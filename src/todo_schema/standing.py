"""How a database stands to this package and who uses it: what `status` and `clients` return."""

from dataclasses import dataclass
from datetime import datetime

from todo_schema.compatibility import State
from todo_schema.quoting import option
from todo_schema.reports import DeferredRevision, Report


@dataclass(frozen=True)
class Client(Report):
    """Connections of one service, at one schema version, from one address.

    Attributes:
        service: The application_name of its connections; empty where they have none.
        schema_version: The schema version of its package.
        connections: How many there are.
        pids: Their process ids on the server.
        host: The address they come from; None for a local socket, or where this role may not see it.
        role: Their database role.
        since: When the oldest began, UTC; None where this role may not see it.
        leased: Whether they hold leases; False for what comes through a pooler, known by its name alone.

    """

    service: str
    schema_version: int
    connections: int
    pids: tuple[int, ...]
    host: str | None
    role: str | None
    since: datetime | None
    leased: bool

    def __str__(self) -> str:
        count = "1 connection" if self.connections == 1 else f"{self.connections} connections"
        role = f", role {self.role}" if self.role else ""
        since = f", since {self.since:%Y-%m-%d %H:%M:%S} UTC" if self.since else ""
        pooled = "" if self.leased else ", through a pooler, without a lease"
        return (
            f"{self.service or '(no application_name)'}: schema {self.schema_version}, {count} "
            f"from {self.host or 'a local or hidden address'}{role}{since}{pooled}"
        )


@dataclass(frozen=True)
class PendingContract(Report):
    """A contract revision that has not been applied, and what it waits for.

    Attributes:
        revision: The revision, `c001`.
        requires: The schema version that the database must have before it.
        floor: The oldest schema version whose package may use the database after it.
        ready: Whether `contract` could apply it now.
        waits_for: What has to happen before; empty where it is ready.
        blocked_by: The connected services that it would break.

    """

    revision: str
    requires: int
    floor: int
    ready: bool
    waits_for: str
    blocked_by: tuple[Client, ...]

    def __str__(self) -> str:
        return _told(self, "public")


@dataclass(frozen=True)
class Clients(Report):
    """Who is connected to an installation, and what the contract steps to come wait for.

    Attributes:
        schema: The PostgreSQL schema of the installation.
        floor: The oldest schema version whose package may use the database.
        clients: The connected services.
        contract: The contract revisions that have not been applied.
        leases: Whether a session factory with this URL would hold leases; False where it goes through a pooler,
            and then there may be clients that nobody sees.

    """

    schema: str
    floor: int
    clients: tuple[Client, ...]
    contract: tuple[PendingContract, ...]
    leases: bool

    def __str__(self) -> str:
        lines = [str(client) for client in self.clients] or ["nobody is connected"]
        lines += [_told(step, self.schema) for step in self.contract]
        if not self.leases:
            lines.append("this URL goes through a pooler: clients behind one hold no lease")
        return "\n".join(lines)


@dataclass(frozen=True)
class Status(Report):
    """How a database stands to this package.

    Attributes:
        state: How the database stands to this package.
        schema: The PostgreSQL schema of the installation.
        database_version: The schema version of the database, None for none.
        package_schema_version: The schema version that this package was written for.
        package_version: The version of this package.
        floor: The oldest schema version whose package may use the database.
        pending: The revisions that `upgrade` would apply.
        deferred: The revisions that the database has left for later, and what it costs to leave them.
        usable: Whether this package may use the database as it is now.
        contract: The newest contract revision applied, `c001`, None for none.
        contract_pending: The contract revisions that this package knows and the database has not had.
        clients: Who is connected, at which schema version.
        leases: Whether a session factory with this URL would hold leases; False where it goes through a pooler.
        differences: What the catalogue lacks, or has otherwise, than its version says: a line each.
        extras: What the catalogue has on our tables beyond its version: harmless to us, a line each.
        server: The server's version.

    """

    state: State
    schema: str
    database_version: int | None
    package_schema_version: int
    package_version: str
    floor: int
    pending: tuple[str, ...]
    usable: bool
    contract: str | None
    contract_pending: tuple[PendingContract, ...]
    clients: tuple[Client, ...]
    leases: bool
    differences: tuple[str, ...]
    extras: tuple[str, ...]
    server: str
    deferred: tuple[DeferredRevision, ...] = ()

    def __str__(self) -> str:
        lines = [
            f"state     {self.state}: this package may {'' if self.usable else 'not '}use it",
            f"database  schema {self.database_version or 'none'} (in {self.schema!r}, PostgreSQL {self.server})",
            f"package   schema {self.package_schema_version} (todo-schema {self.package_version})",
            f"floor     {self.floor}",
            f"pending   {', '.join(self.pending) or 'none'}",
            f"contract  {self.contract or 'none'}",
            f"leases    {'on' if self.leases else 'off: this URL goes through a pooler'}",
        ]
        lines += [f"deferred  {revision}" for revision in self.deferred]
        lines += [f"next      {_told(step, self.schema)}" for step in self.contract_pending]
        lines += [f"client    {client}" for client in self.clients]
        lines += [f"differs   {line}" for line in self.differences]
        lines += [f"extra     {line}" for line in self.extras]
        return "\n".join(lines)


def _told(step: PendingContract, schema: str) -> str:
    waits = f"ready: todo-schema contract{option(schema)}" if step.ready else f"waits for {step.waits_for}"
    return "\n".join(
        [f"{step.revision} (floor {step.floor}) {waits}", *(f"    {client}" for client in step.blocked_by)]
    )
