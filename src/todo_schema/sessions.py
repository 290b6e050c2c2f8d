"""Async sessions for services: a factory that may be made at import time and used wherever a loop runs."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Literal, Self

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import QueuePool
from sqlmodel import Session
from sqlmodel.ext.asyncio.session import AsyncSession

from todo_schema.admission import Admission
from todo_schema.errors import InvalidUrlError
from todo_schema.inspection import schema_in
from todo_schema.pools import PoolKeeper
from todo_schema.urls import DatabaseUrl, masked

_ENGINE_DEFAULTS: Mapping[str, Any] = {
    # A server restart or a firewall's idle timeout then costs a round trip, not a failed request.
    "pool_pre_ping": True,
    # Half an hour, in seconds: below the idle limits of the usual proxies, and a changed DNS entry is followed.
    "pool_recycle": 1800,
}
_POOL_DEFAULTS: Mapping[str, Any] = {
    "pool_size": 10,
    "max_overflow": 20,
    # Seconds. A pool that is exhausted for so long is overloaded: fail while the client still listens.
    "pool_timeout": 10,
}


def session_factory(
    url_or_engine: str | URL | AsyncEngine,
    *,
    schema: str | None = None,
    pooler: bool | None = None,
    service: str | None = None,
    check: Literal["connect", "never"] = "connect",
    **engine_options: Any,
) -> "SessionFactory":
    """Make a factory of async sessions. Nothing is opened, and no driver imported, before its first use.

    Each connection that the pool opens holds a lease on this package's schema version for as long as it is open:
    `contract` refuses to remove what the package needs meanwhile. That costs one round trip for a connection, and
    none for a session. `DISCARD ALL` and `pg_advisory_unlock_all()` drop the lease. On an engine of the caller's, with
    a schema, a connection takes the lease as a session of the factory first uses it.

    Args:
        url_or_engine: Where the database is. An engine is used as it is, and remains the caller's to dispose of.
        schema: The PostgreSQL schema of the tables; None is the one that a `schema_translate_map` of the engine gives
            for None, and otherwise leaves it to the connection's search_path. Applies to
            every table that names no schema itself, not to SQL written as text.
        pooler: Whether a transaction pooler such as PgBouncer is in between; None decides by the URL, and for leases,
            which cannot be held behind one, by what the server says.
        service: The name of this service, by which `clients` and a refused `contract` call it: its application_name
            on the server, unless the URL names one.
        check: `"connect"` reads on each new connection whether the database is older than this package, or has
            dropped what it needs. It takes SELECT on `todo_schema_version` and `todo_schema_history`. A database
            without our tables passes. `"never"` reads nothing, and holds the lease only.
        engine_options: Anything that SQLAlchemy's create_async_engine takes. It goes before our defaults:
            pool_size 10, max_overflow 20, pool_timeout 10 s, pool_recycle 1800 s, pool_pre_ping. The mappings
            `connect_args` and `execution_options` are merged with ours.

    Raises:
        InvalidUrlError: The URL cannot be used.
        TypeError: An engine was given together with options that are for making one.
        ValueError: `check` is neither of the two.

    """
    if check not in ("connect", "never"):
        del url_or_engine, engine_options  # a traceback may show the variables of its frames
        raise ValueError(f"found: check={check!r}\nneeded: 'connect' or 'never'\ncure: leave check out")
    if schema is None:
        # As for `upgrade(engine)`: the engine of another factory says in this way where its tables are.
        schema = schema_in(
            url_or_engine.get_execution_options()
            if isinstance(url_or_engine, AsyncEngine)
            else engine_options.get("execution_options", {})
        )
    admission = Admission(schema, check=check == "connect", pooler=pooler)
    if isinstance(url_or_engine, AsyncEngine):
        given = {"service": service, **engine_options}
        names = ", ".join(name for name, value in given.items() if value is not None)
        # A traceback may show the variables of its frames, and connect_args may hold a password.
        del given, engine_options
        if names:
            message = (
                f"found: an engine together with {names}\n"
                "needed: an engine, or a URL with options to make one\n"
                f"cure: give {names} to create_async_engine, or give session_factory the URL"
            )
            raise TypeError(message)
        # At once: what the caller opens from now on may come to be used by the factory's sessions. One with a schema
        # has an engine of its own over the caller's pool.
        if schema is None:
            admission.attach(url_or_engine.sync_engine)
        return SessionFactory(url_or_engine, admission)
    try:
        url = DatabaseUrl.parse(url_or_engine, pooler=pooler)
    except InvalidUrlError:
        del url_or_engine, engine_options
        raise
    admission.pooler = url.pooler or pooler
    return SessionFactory(url, admission, service, engine_options)


class SessionFactory:
    """Gives async sessions on one database. Made by `session_factory`.

    The connections belong to the event loop that opens them, and the factory keeps to that. When the loop ends
    (`asyncio.run` returns) they are closed and the next loop opens its own; a forked child opens its own and
    leaves its parent's alone. Two loops at the same time need a factory each.

    Opening a connection raises SchemaTooNewError where the database has dropped what this package needs, and
    SchemaOutdatedError where it is older than this package; MigrationLockedError where a contract step held this
    package's version for 30 s, InsufficientPrivilegeError where the role may not read our bookkeeping,
    DatabaseUnreachableError where the server ends the connection while it takes its lease, and whatever else `check`
    says of a database. What goes wrong later is SQLAlchemy's.
    Every use of a session or of `engine` may raise WrongEventLoopError: the connections belong to another loop
    that is still open, or the engine is the caller's and has been used in another loop or process.
    """

    def __init__(
        self,
        source: DatabaseUrl | AsyncEngine,
        admission: Admission,
        service: str | None = None,
        engine_options: Mapping[str, Any] | None = None,
    ) -> None:
        self._source = source
        self._admission = admission
        self._schema = admission.schema
        self._service = service
        self._engine_options = dict(engine_options or {})
        self._keeper: PoolKeeper | None = None

    def __repr__(self) -> str:
        source = masked(self._source.url) if isinstance(self._source, AsyncEngine) else self._source
        schema = "" if self._schema is None else f", schema={self._schema!r}"
        return f"session_factory({str(source)!r}{schema})"

    def __call__(self, **session_options: Any) -> AsyncSession:
        """Return a new session, to be used as `async with factory() as session:`. It commits only when told.

        Attributes can be read after a commit (`expire_on_commit=False`).

        Args:
            session_options: What SQLAlchemy's AsyncSession takes, for this session alone: `autoflush=False`, or
                `bind=connection` to join a connection's transaction: of this factory's `engine`, where the factory
                has a schema.

        Raises:
            ValueError: `bind` would look for our tables elsewhere than in the schema of the factory.

        """
        options = {"expire_on_commit": False, **session_options}
        _require_schema(options.get("bind"), self._schema)
        return AsyncSession(sync_session_class=_Session, factory=self, **options)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncSession]:
        """Give a new session in a transaction: committed at the end of the block, rolled back by an exception.

        A commit that is cancelled, by a timeout for instance, may or may not have happened.
        """
        # Not SQLAlchemy's own sessionmaker.begin(): with it a commit that hangs (on a lock, on a synchronous
        # standby) cannot be cancelled.
        async with self() as session, session.begin():
            yield session

    async def get_session(self) -> AsyncIterator[AsyncSession]:
        """Yield one session and close it afterwards: for FastAPI's `Depends(factory.get_session)`.

        What was not committed is rolled back.
        """
        async with self() as session:
            yield session

    @property
    def engine(self) -> AsyncEngine:
        """The engine, made at the first use; the same one for the whole life of the factory."""
        return self._pool_keeper().admit()

    async def close(self) -> None:
        """Close the connections; one that a session still holds is closed at that session's end.

        The factory can be used again and then opens new connections, as after SQLAlchemy's `dispose()`. An engine
        that was given by the caller is left alone.

        Raises:
            WrongEventLoopError: The connections belong to another loop that is still open: close it there.

        """
        if self._keeper is not None:
            await self._keeper.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _pool_keeper(self) -> PoolKeeper:
        if self._keeper is None:
            ours = isinstance(self._source, DatabaseUrl)
            engine = self._make_engine()
            if ours:
                self._admission.attach(engine.sync_engine)
            self._keeper = PoolKeeper(engine, ours=ours)
        return self._keeper

    def _make_engine(self) -> AsyncEngine:
        source = self._source
        if isinstance(source, DatabaseUrl):
            # In one expression: no variable of this frame may hold a password.
            return create_async_engine(
                source.sqlalchemy_url("asyncpg"),
                **_merged(
                    source.engine_arguments("asyncpg", application_name=self._service)["connect_args"],
                    self._engine_options,
                    self._schema,
                ),
            )
        if self._schema is None:
            return source
        engine = source.execution_options(**_with_schema(source.get_execution_options(), self._schema))
        self._admission.attach_to_uses(engine.sync_engine)
        return engine


class _Session(Session):
    """SQLModel's session, which asks the factory for the engine at each statement.

    The loop is looked at then, because a session may be made before a loop runs.
    """

    def __init__(self, *, factory: "SessionFactory", **options: Any) -> None:
        super().__init__(**options)
        self._factory = None if self.bind is not None else factory

    def get_bind(self, mapper: Any = None, **arguments: Any) -> Engine | Connection:
        if self._factory is not None:
            self.bind = self._factory.engine.sync_engine
        return super().get_bind(mapper, **arguments)


def _merged(
    connect_args: Mapping[str, Any], engine_options: Mapping[str, Any], schema: str | None
) -> dict[str, Any]:
    """Return the arguments of create_async_engine: ours, and over them what the caller gave."""
    given = dict(engine_options.get("connect_args", {}))
    if "server_settings" in connect_args and "server_settings" in given:
        given["server_settings"] = {**connect_args["server_settings"], **given["server_settings"]}
    defaults: dict[str, Any] = {}
    if "pool" not in engine_options:
        defaults.update(_ENGINE_DEFAULTS)
        if issubclass(engine_options.get("poolclass") or QueuePool, QueuePool):
            defaults.update(_POOL_DEFAULTS)
    return {
        **defaults,
        **engine_options,
        "connect_args": {**connect_args, **given},
        "execution_options": _with_schema(engine_options.get("execution_options", {}), schema),
    }


def _require_schema(bind: AsyncConnection | AsyncEngine | None, schema: str | None) -> None:
    """Raise where a session of a factory with a schema would use the tables that the search_path finds instead."""
    if schema is None or bind is None:
        return
    made = bind.sync_connection if isinstance(bind, AsyncConnection) else bind
    options = {} if made is None else made.get_execution_options()
    found = schema_in(options)
    if found != schema:
        where = "leaves our tables to the search_path" if found is None else f"has our tables in {found!r}"
        raise ValueError(
            f"found: a bind that {where}\n"
            f"needed: one that has them in {schema!r}, as this factory\n"
            "cure: a connection of the factory's engine: `async with sessions.engine.begin() as connection`"
        )


def _with_schema(execution_options: Mapping[str, Any], schema: str | None) -> dict[str, Any]:
    """Return the execution options with our tables in `schema`: not by search_path, which a pooler would share."""
    if schema is None:
        return dict(execution_options)
    # Ours over the caller's: the lease is on this one.
    translations = {**(execution_options.get("schema_translate_map") or {}), None: schema}
    return {**execution_options, "schema_translate_map": translations}
