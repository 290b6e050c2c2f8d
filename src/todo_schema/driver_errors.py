"""What a driver's exception says, whichever driver and however SQLAlchemy wrapped it."""

# https://www.postgresql.org/docs/current/errcodes-appendix.html
UNDEFINED_TABLE = "42P01"
UNDEFINED_COLUMN = "42703"
UNDEFINED_FUNCTION = "42883"
WRONG_OBJECT_TYPE = "42809"
INSUFFICIENT_PRIVILEGE = "42501"
INVALID_SCHEMA_NAME = "3F000"
READ_ONLY_TRANSACTION = "25006"
IN_FAILED_TRANSACTION = "25P02"
LOCK_NOT_AVAILABLE = "55P03"
QUERY_CANCELED = "57014"
DEADLOCK_DETECTED = "40P01"
DUPLICATE_TABLE = "42P07"
DUPLICATE_SCHEMA = "42P06"
UNIQUE_VIOLATION = "23505"
FOREIGN_KEY_VIOLATION = "23503"
CHECK_VIOLATION = "23514"


def driver_error(error: BaseException) -> BaseException:
    """Return the driver's own exception behind SQLAlchemy's wrapping of it."""
    while (inner := getattr(error, "orig", None)) is not None:
        error = inner
    # SQLAlchemy's asyncpg dialect raises a class of its own and keeps the driver's as its cause.
    cause = error.__cause__
    return cause if cause is not None and type(cause).__module__.startswith("asyncpg") else error


def sqlstate(error: BaseException) -> str | None:
    """Return the five characters that PostgreSQL gave the error, None where it was not the server's."""
    state = getattr(driver_error(error), "sqlstate", None)
    return state if isinstance(state, str) else None


def reason(error: BaseException) -> str:
    """Return the first line of what the server or the driver said, and which key it was about."""
    inner = driver_error(error)
    diagnosis = getattr(inner, "diag", None)
    text = str(getattr(diagnosis, "message_primary", None) or inner).strip()
    said = text.splitlines()[0] if text else type(inner).__name__
    # Which key it was. What the server adds elsewhere may be a whole row of somebody's.
    keys = sqlstate(error) in {UNIQUE_VIOLATION, FOREIGN_KEY_VIOLATION}
    detail = (getattr(diagnosis, "message_detail", None) or getattr(inner, "detail", None)) if keys else None
    return f"{said}: {detail}" if detail else said


def is_connection_lost(error: BaseException) -> bool:
    """Tell whether an error means that the connection is gone, whatever the driver calls it."""
    inner = driver_error(error)
    state = sqlstate(error)
    if state is not None:
        # Class 08 is the connection itself; 57P01 to 57P03 an administrator or a restart ending it.
        return state.startswith(("08", "57P"))
    # Not any OSError: a revision, or a file of ours that cannot be read, may raise one too.
    if isinstance(inner, (ConnectionError, TimeoutError)):
        return True
    return bool(getattr(error, "connection_invalidated", False)) or type(inner).__name__ in {
        "OperationalError",
        "ConnectionDoesNotExistError",
        "InterfaceError",
        "InternalClientError",  # of asyncpg, where the connection went between the parts of one answer
    }
