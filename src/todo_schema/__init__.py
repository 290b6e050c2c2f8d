"""A database schema that ships as a dependency: models, async sessions, and `upgrade(url)` for every boot.

Importing this package reads no file and opens nothing; each name is loaded when it is first used (PEP 562).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from todo_schema.adopting import adopt, adopt_async
    from todo_schema.adoptions import Adoption, PlannedChange
    from todo_schema.answers import check, check_async, clients, clients_async, status, status_async
    from todo_schema.appending import MessageCreate, append_messages
    from todo_schema.autogenerate import include_object
    from todo_schema.changes import stamp, stamp_async, upgrade, upgrade_async
    from todo_schema.compatibility import PACKAGE_VERSION as __version__
    from todo_schema.compatibility import SCHEMA_VERSION, State
    from todo_schema.errors import (
        ClientsConnectedError,
        ContractBlockedError,
        ConversationNotFoundError,
        DatabaseRefusedError,
        DatabaseUnreachableError,
        ForeignVersionError,
        InsufficientPrivilegeError,
        InvalidNameError,
        InvalidUrlError,
        MigrationFailedError,
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
        WrongEventLoopError,
    )
    from todo_schema.fleet import upgrade_many, upgrade_many_async
    from todo_schema.models import Conversation, Message, Task, User
    from todo_schema.outcomes import FleetReport, Installation, Outcome
    from todo_schema.plans import Plan, PlannedPart, PlannedStep, TableSize
    from todo_schema.preview import history, history_async, plan, plan_async, sql, sql_async
    from todo_schema.removals import contract, contract_async, downgrade, downgrade_async
    from todo_schema.reports import (
        AppliedStep,
        ChangeReport,
        DeferredRevision,
        Progress,
        Revision,
    )
    from todo_schema.requirement import require_version
    from todo_schema.sessions import SessionFactory, session_factory
    from todo_schema.standing import Client, Clients, PendingContract, Status
    from todo_schema.statements import (
        messages_after,
        newest_conversations,
        newest_messages,
        newest_tasks,
        user_by_email,
    )
    from todo_schema.violations import Violation
    from todo_schema.waiting import wait, wait_async

__all__ = [
    "SCHEMA_VERSION",
    "Adoption",
    "AppliedStep",
    "ChangeReport",
    "Client",
    "Clients",
    "ClientsConnectedError",
    "ContractBlockedError",
    "Conversation",
    "ConversationNotFoundError",
    "DatabaseRefusedError",
    "DatabaseUnreachableError",
    "DeferredRevision",
    "FleetReport",
    "ForeignVersionError",
    "Installation",
    "InsufficientPrivilegeError",
    "InvalidNameError",
    "InvalidUrlError",
    "Message",
    "MessageCreate",
    "MigrationFailedError",
    "MigrationLockedError",
    "MissingExtraError",
    "Outcome",
    "PendingContract",
    "Plan",
    "PlannedChange",
    "PlannedPart",
    "PlannedStep",
    "PreflightError",
    "Progress",
    "ReadOnlyDatabaseError",
    "Revision",
    "SchemaDriftError",
    "SchemaNotFoundError",
    "SchemaOutdatedError",
    "SchemaTooNewError",
    "SessionFactory",
    "State",
    "Status",
    "TableSize",
    "TablesReferencedError",
    "Task",
    "TodoSchemaError",
    "UnknownRevisionError",
    "UnseenClientsError",
    "UnversionedSchemaError",
    "User",
    "Violation",
    "WrongEventLoopError",
    "__version__",
    "adopt",
    "adopt_async",
    "append_messages",
    "check",
    "check_async",
    "clients",
    "clients_async",
    "contract",
    "contract_async",
    "downgrade",
    "downgrade_async",
    "history",
    "history_async",
    "include_object",
    "messages_after",
    "newest_conversations",
    "newest_messages",
    "newest_tasks",
    "plan",
    "plan_async",
    "require_version",
    "session_factory",
    "sql",
    "sql_async",
    "stamp",
    "stamp_async",
    "status",
    "status_async",
    "upgrade",
    "upgrade_async",
    "upgrade_many",
    "upgrade_many_async",
    "user_by_email",
    "wait",
    "wait_async",
]

_HOMES = {
    "adopting": ("adopt",),
    "adoptions": ("Adoption", "PlannedChange"),
    "answers": ("check", "clients", "status"),
    "appending": ("MessageCreate", "append_messages"),
    "autogenerate": ("include_object",),
    "changes": ("stamp", "upgrade"),
    "compatibility": ("SCHEMA_VERSION", "State"),
    "fleet": ("upgrade_many",),
    "models": ("Conversation", "Message", "Task", "User"),
    "outcomes": ("FleetReport", "Installation", "Outcome"),
    "plans": ("Plan", "PlannedPart", "PlannedStep", "TableSize"),
    "preview": ("history", "plan", "sql"),
    "removals": ("contract", "downgrade"),
    "reports": ("AppliedStep", "ChangeReport", "DeferredRevision", "Progress", "Revision"),
    "requirement": ("require_version",),
    "sessions": ("SessionFactory", "session_factory"),
    "standing": ("Client", "Clients", "PendingContract", "Status"),
    "statements": (
        "messages_after",
        "newest_conversations",
        "newest_messages",
        "newest_tasks",
        "user_by_email",
    ),
    "violations": ("Violation",),
    "waiting": ("wait",),
}


def __getattr__(name: str) -> Any:
    from importlib import import_module  # noqa: PLC0415  # nothing until a name is used

    if name == "__version__":
        value: Any = import_module("todo_schema.compatibility").PACKAGE_VERSION
    elif name in __all__:
        value = getattr(import_module(f"todo_schema.{_home(name)}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _home(name: str) -> str:
    if name.endswith("Error"):
        return "errors"
    function = name.removesuffix("_async")
    return next(module for module, names in _HOMES.items() if function in names)
