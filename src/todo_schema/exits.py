"""The exit codes of the command line, and which error has which."""

from enum import IntEnum

from todo_schema import (
    ClientsConnectedError,
    ContractBlockedError,
    DatabaseRefusedError,
    DatabaseUnreachableError,
    ForeignVersionError,
    InsufficientPrivilegeError,
    InvalidNameError,
    InvalidUrlError,
    MigrationLockedError,
    MissingExtraError,
    PreflightError,
    ReadOnlyDatabaseError,
    SchemaDriftError,
    SchemaNotFoundError,
    SchemaOutdatedError,
    SchemaTooNewError,
    TodoSchemaError,
    UnknownRevisionError,
    UnseenClientsError,
    UnversionedSchemaError,
)


class Exit(IntEnum):
    """The exit codes. They are part of the interface: none ever changes its meaning."""

    OK = 0
    FAILED = 1
    USAGE = 2
    OUTDATED = 3
    TOO_NEW = 4
    NOT_OURS = 5
    LOCKED = 6
    UNREACHABLE = 7
    REFUSED = 8
    CLIENTS = 9
    PREFLIGHT = 10


_CODES: dict[type[TodoSchemaError], Exit] = {
    InvalidUrlError: Exit.USAGE,
    InvalidNameError: Exit.USAGE,
    UnknownRevisionError: Exit.USAGE,
    MissingExtraError: Exit.USAGE,
    SchemaOutdatedError: Exit.OUTDATED,
    SchemaTooNewError: Exit.TOO_NEW,
    UnversionedSchemaError: Exit.NOT_OURS,
    ForeignVersionError: Exit.NOT_OURS,
    SchemaDriftError: Exit.NOT_OURS,
    MigrationLockedError: Exit.LOCKED,
    DatabaseUnreachableError: Exit.UNREACHABLE,
    DatabaseRefusedError: Exit.REFUSED,
    InsufficientPrivilegeError: Exit.REFUSED,
    ReadOnlyDatabaseError: Exit.REFUSED,
    SchemaNotFoundError: Exit.REFUSED,
    ClientsConnectedError: Exit.CLIENTS,
    ContractBlockedError: Exit.CLIENTS,
    UnseenClientsError: Exit.CLIENTS,
    PreflightError: Exit.PREFLIGHT,
}

EXPLANATION = (
    "[bold]Exit codes[/bold]  0 fine; 1 a revision failed; 2 usage or URL; 3 database older than the package; "
    "4 database too new for it; 5 tables or version that are not ours; 6 locked by somebody else; "
    "7 unreachable; 8 refused: credentials, TLS, a missing right, read-only; 9 it would break a connected service; "
    "10 rows that a revision would fail on"
)


def code_of(error: TodoSchemaError) -> Exit:
    """Return the exit code that an error has."""
    return _CODES.get(type(error), Exit.FAILED)
