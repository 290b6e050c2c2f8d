"""From a driver's exception to one of ours: what was found, what is needed, what to type."""

from todo_schema.compatibility import HISTORY_TABLE, VERSION_TABLE
from todo_schema.driver_errors import (
    INSUFFICIENT_PRIVILEGE,
    READ_ONLY_TRANSACTION,
    driver_error,
    reason,
    sqlstate,
)
from todo_schema.errors import (
    DatabaseRefusedError,
    DatabaseUnreachableError,
    InsufficientPrivilegeError,
    MigrationLockedError,
    ReadOnlyDatabaseError,
    TodoSchemaError,
)
from todo_schema.inspection import Found
from todo_schema.quoting import identifier

# Class 28 is authentication, 3D a database that does not exist.
_REFUSED_CLASSES = ("28", "3D")
# libpq reports no SQLSTATE for a connection that it could not make: its English text is all there is.
# Whatever matches nothing here counts as unreachable, the kinder mistake: it is tried again.
_REFUSED_TEXTS = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "no pg_hba.conf entry",
    "not permitted to log in",
    "does not support SSL",
    "rejected SSL upgrade",
    "certificate",
    "SSL error",
    "channel binding",
    "Ident authentication",
    "permission denied for database",
)
_PROBLEM_WITH_TLS = ("SSL", "certificate", "channel binding")


def connection_error(error: BaseException, address: str) -> TodoSchemaError:
    """Explain why a connection could not be made.

    Args:
        error: What the driver raised.
        address: Where to, without a password.

    """
    inner = driver_error(error)
    said = reason(error)
    # asyncpg lets a bare TimeoutError through, without a text.
    if isinstance(inner, TimeoutError) and not str(inner):
        said = "no answer within the connect timeout"
    state = sqlstate(error)
    refused = (
        state.startswith(_REFUSED_CLASSES)
        if state is not None
        else any(text in str(inner) for text in _REFUSED_TEXTS) or "SSL" in type(inner).__name__
    )
    if not refused:
        return DatabaseUnreachableError(
            f"no connection to {address}: {said}",
            "a PostgreSQL server that accepts connections there",
            "check host, port and network, or wait for the server: connect_retry=30 tries again for 30 s",
        )
    if any(text in f"{inner} {type(inner).__name__}" for text in _PROBLEM_WITH_TLS):
        return DatabaseRefusedError(
            f"{address} refused TLS as the URL asks for it: {said}",
            "a server certificate and a protocol that the URL's sslmode accepts",
            "correct sslmode and sslrootcert in the URL, or the server's certificate",
        )
    return DatabaseRefusedError(
        f"{address} refused the connection: {said}",
        "a role, password and database that the server knows",
        "correct the URL",
    )


def statement_error(error: BaseException, found: Found) -> TodoSchemaError | None:
    """Explain an error that a statement met for a reason outside of the statement, None for any other."""
    state = sqlstate(error)
    if state == INSUFFICIENT_PRIVILEGE:
        return missing_right(found, reason(error))
    if state == READ_ONLY_TRANSACTION:
        return read_only(found)
    return None


def read_only(found: Found) -> ReadOnlyDatabaseError:
    """Say that something has to be written and cannot be."""
    return ReadOnlyDatabaseError(
        f"database {found.database} is read-only for role {found.role}, and its schema is {found.state}",
        "a server and a role that can write",
        "point the URL at the primary, or: "
        f"ALTER ROLE {identifier(found.role)} SET default_transaction_read_only = off;",
    )


def missing_right(found: Found, said: str) -> InsufficientPrivilegeError:
    """Say which right a role lacks to migrate, and the SQL that grants it."""
    role, home = identifier(found.role), identifier(found.schema)
    if not found.schema_exists:
        needed = f"the right CREATE on database {found.database}, to make the schema {found.schema}"
        cure = f"CREATE SCHEMA {home} AUTHORIZATION {role};"
    else:
        rights, grants = [], []
        if not found.may_create:
            rights.append(f"the rights USAGE and CREATE on schema {found.schema}")
            grants.append(f"GRANT USAGE, CREATE ON SCHEMA {home} TO {role};")
        if found.ownership or found.may_create:
            rights.append(f"ownership of the tables of todo_schema in schema {found.schema}")
            grants += found.ownership
        needed, cure = " and ".join(rights), " ".join(grants)
    return InsufficientPrivilegeError(
        f"role {found.role} may not migrate database {found.database}: {said}",
        needed,
        f"{cure}{' or ' if cure else ''}call upgrade with the URL of a role that owns the tables",
    )


def missing_row_right(found: Found, said: str) -> InsufficientPrivilegeError:
    """Say that a role may not see all rows that are to be looked at, and the SQL that lets it."""
    role, home = identifier(found.role), identifier(found.schema)
    return InsufficientPrivilegeError(
        f"role {found.role} may not read all rows of schema {found.schema} of database {found.database}: {said}",
        "the right SELECT on its tables, and BYPASSRLS where they force row level security upon their owner",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {home} TO {role}; or ALTER ROLE {role} BYPASSRLS;",
    )


def missing_read_right(error: BaseException, schema: str | None, address: str) -> InsufficientPrivilegeError:
    """Say which right a role lacks even to see the version, and the SQL that grants it."""
    home = f"{identifier(schema)}." if schema is not None else ""
    usage = f"GRANT USAGE ON SCHEMA {identifier(schema)} TO your_role; " if schema is not None else ""
    return InsufficientPrivilegeError(
        f"the role may not read the version of todo_schema at {address}: {reason(error)}",
        f"the right SELECT on {home}{VERSION_TABLE} and {home}{HISTORY_TABLE}",
        f"{usage}GRANT SELECT ON {home}{VERSION_TABLE}, {home}{HISTORY_TABLE} TO your_role;",
    )


def locked_for_reading(address: str, holders: str, cure: str) -> MigrationLockedError:
    """Say that another session keeps even readers off our tables."""
    return MigrationLockedError(
        f"a table of todo_schema at {address} was locked even for readers by {holders}",
        "a moment in which it can be read",
        f"let that session finish and call again, or: {cure}",
    )
