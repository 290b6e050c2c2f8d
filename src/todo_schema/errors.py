"""The exceptions of todo_schema: one class for each thing that a caller can do about it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from todo_schema.standing import Client
    from todo_schema.violations import Violation


class TodoSchemaError(Exception):
    """Anything that todo_schema refuses or could not do.

    Every error says, in this order: what was *found*, what is *needed*, and the *cure*, which can be pasted
    where it is a command. None of the three ever contains a password.
    """

    def __init__(self, found: str, needed: str, cure: str) -> None:
        super().__init__(found, needed, cure)
        self.found = found
        self.needed = needed
        self.cure = cure

    def __str__(self) -> str:
        return f"found: {self.found}\nneeded: {self.needed}\ncure: {self.cure}"


class InvalidUrlError(TodoSchemaError, ValueError):
    """The database URL cannot be used: correct it."""


class InvalidNameError(TodoSchemaError, ValueError):
    """PostgreSQL cannot have a schema of that name: choose another."""


class DatabaseUnreachableError(TodoSchemaError):
    """The database did not answer, or the connection was lost: trying again later may help."""


class DatabaseRefusedError(TodoSchemaError):
    """The database answered and refused the connection: trying again will not help, other credentials will."""


class InsufficientPrivilegeError(TodoSchemaError):
    """The role lacks a right: grant it, or use a role that has it."""


class ReadOnlyDatabaseError(TodoSchemaError):
    """The server or the role is read-only and something has to be written: use the primary."""


class SchemaOutdatedError(TodoSchemaError):
    """The database is older than this package: upgrade it."""


class SchemaTooNewError(TodoSchemaError):
    """The database has dropped what this package needs: install a newer package."""


class UnversionedSchemaError(TodoSchemaError):
    """Tables with our names, but no version of ours, and they are not exactly a version that we know.

    `differences` lists each of them, a line each.
    """

    def __init__(self, found: str, needed: str, cure: str, differences: tuple[str, ...] = ()) -> None:
        super().__init__(found, needed, cure)
        self.differences = differences


class ForeignVersionError(TodoSchemaError):
    """The version table holds something that this package cannot have written: it is somebody else's."""


class SchemaDriftError(TodoSchemaError):
    """The database says one version and its tables say another: repair it by hand.

    `differences` lists each of them, a line each.
    """

    def __init__(self, found: str, needed: str, cure: str, differences: tuple[str, ...] = ()) -> None:
        super().__init__(found, needed, cure)
        self.differences = differences


class SchemaNotFoundError(TodoSchemaError):
    """There is no PostgreSQL schema to live in: create one, or name one."""


class UnknownRevisionError(TodoSchemaError, LookupError):
    """A revision was named that this package does not contain."""


class MigrationLockedError(TodoSchemaError):
    """Somebody else held a lock for longer than the caller was willing to wait: call again, or end that session.

    What could not have its lock changed nothing; what was done before it stays.
    """


class MigrationFailedError(TodoSchemaError):
    """A revision failed: the database is at the revision before it.

    What failed was rolled back; of a revision of several parts those before it stay, and are not done again.
    `revision` names it; the database's own error is the `__cause__`.
    """

    def __init__(self, found: str, needed: str, cure: str, revision: str) -> None:
        super().__init__(found, needed, cure)
        self.args = (found, needed, cure, revision)  # what pickle and copy call the class with
        self.revision = revision


class PreflightError(TodoSchemaError):
    """Rows are there that a revision would fail on: mend them.

    The revision changed nothing. `violations` lists them: revision, rule, count, sample keys, and the SQL that finds
    them all.
    """

    def __init__(self, found: str, needed: str, cure: str, violations: tuple["Violation", ...] = ()) -> None:
        super().__init__(found, needed, cure)
        self.violations = violations


class ClientsConnectedError(TodoSchemaError):
    """Services are connected that need what would be removed: stop or replace them.

    `clients` lists them.
    """

    def __init__(self, found: str, needed: str, cure: str, clients: tuple["Client", ...] = ()) -> None:
        super().__init__(found, needed, cure)
        self.clients = clients


class ContractBlockedError(ClientsConnectedError):
    """Services older than a contract step's floor are connected: stop or replace them."""


class UnseenClientsError(ClientsConnectedError):
    """Behind a pooler there may be clients that no lease shows: make sure of them."""


class TablesReferencedError(TodoSchemaError):
    """Tables or views of a service's refer to ours, which are to be dropped: undo the service's migrations first."""


class ConversationNotFoundError(TodoSchemaError, LookupError):
    """The user has no such conversation: create it, or answer that there is none."""


class WrongEventLoopError(TodoSchemaError, RuntimeError):
    """A session factory was used from an event loop that it does not belong to: make one factory per loop."""


class MissingExtraError(TodoSchemaError, ImportError):
    """An optional part of the package is not installed: install the extra."""
