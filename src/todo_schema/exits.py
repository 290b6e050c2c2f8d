"""The exit codes of the command line, and which error has which."""

from collections.abc import Iterable
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
    TablesReferencedError,
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
    TablesReferencedError: Exit.CLIENTS,
    PreflightError: Exit.PREFLIGHT,
}

# Of several: the worst first, which is what least goes away by itself. A package that fails comes before a database
# that it cannot be used with, then what somebody has to put right there, and last what another try may find mended.
_WORST_FIRST = (
    Exit.FAILED,
    Exit.NOT_OURS,
    Exit.TOO_NEW,
    Exit.PREFLIGHT,
    Exit.CLIENTS,
    Exit.REFUSED,
    Exit.USAGE,
    Exit.OUTDATED,
    Exit.LOCKED,
    Exit.UNREACHABLE,
    Exit.OK,
)

EXPLANATION = (
    "[bold]Exit codes[/bold]  0 fine; 1 a revision failed; 2 usage or URL; 3 database older than the package; "
    "4 database too new for it; 5 tables or version that are not ours; 6 locked by somebody else; "
    "7 unreachable; 8 refused: credentials, TLS, a missing right, read-only; 9 it would break a service; "
    "10 rows that a revision would fail on. Of several databases the worst counts, in this order: "
    f"{', '.join(str(code.value) for code in _WORST_FIRST)}"
)


def code_of(error: TodoSchemaError) -> Exit:
    """Return the exit code that an error has."""
    return _CODES.get(type(error), Exit.FAILED)


def worst(errors: Iterable[TodoSchemaError | None]) -> Exit:
    """Return the exit code for several databases, from the error of each; None is none."""
    codes = {Exit.OK if error is None else code_of(error) for error in errors}
    return next((code for code in _WORST_FIRST if code in codes), Exit.OK)
