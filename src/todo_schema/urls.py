"""One database URL in, what each driver needs out, with the same meaning and the same security on both.

`url_parameters` has the table of the query parameters. The environment counts as it does for libpq, below
what the URL says: PGHOST, PGPORT, PGUSER, PGDATABASE, PGSSLMODE and the like on both drivers; PGPASSWORD and
.pgpass are left to the drivers.
"""

import getpass
import os
import re
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import quote

from sqlalchemy import URL

from todo_schema import tls
from todo_schema.errors import InvalidUrlError
from todo_schema.url_parameters import (
    ALLOWED,
    OURS,
    SECRET,
    Problem,
    lacking_in_asyncpg,
    with_environment,
)
from todo_schema.url_parts import Secret, UrlParts, read

Driver = Literal["psycopg", "asyncpg"]

DEFAULT_CONNECT_TIMEOUT = 10
_DEFAULT_PORT = "5432"

# asyncpg's order: where Debian, Red Hat, PostgreSQL's own default and macOS put the socket.
_SOCKET_FOLDERS = ("/run/postgresql", "/var/run/postgresql", "/tmp", "/private/tmp")  # noqa: S108 - only looked at


@dataclass(frozen=True, repr=False)
class DatabaseUrl:
    """A PostgreSQL URL, understood. `str()` and `repr()` show the password as three stars.

    `pooler` says that the URL leads through a pooler in transaction mode: nothing may then outlive a
    transaction on the connection, neither a prepared statement nor a setting.
    """

    parts: UrlParts
    pooler: bool

    @classmethod
    def parse(cls, text: str | URL, *, pooler: bool | None = None) -> Self:
        """Understand a URL, without connecting.

        Schemes: postgresql and postgres, with +asyncpg, +psycopg, +psycopg2, +psycopg_async or no driver, which
        is dropped. Several hosts, IPv6, unix sockets, and raw characters in passwords that leave one meaning.

        `pooler` None means: `pgbouncer=true` in the URL, Neon's `…-pooler.` hosts, and port 6543 of Supabase.

        Raises:
            InvalidUrlError: it is no PostgreSQL URL, it has two meanings, or a parameter is unknown or wrong.
        """
        parts = read(text)
        del text  # a traceback shows the locals of this frame
        if isinstance(parts, Problem):
            raise InvalidUrlError(*parts)
        parameters = dict(parts.parameters)
        if pooler is None and "pgbouncer" in parameters:
            pooler = parameters["pgbouncer"] in ("true", "1", "yes", "on")
        url = cls(parts, any(map(_is_pooler, url_hosts(parts))) if pooler is None else pooler)
        url._refuse_options_through_a_pooler()
        return url

    @property
    def hosts(self) -> tuple[tuple[str, int], ...]:
        """Each host (a name, an address or the folder of a unix socket) and its port, in the order of trying.

        Without a host in the URL: PGHOST, else the first folder with a socket for the port, else localhost.

        Raises:
            InvalidUrlError: PGHOST or PGPORT is wrong.
        """
        return tuple((host or _local_host(port), port) for host, port in url_hosts(self.parts))

    @property
    def username(self) -> str:
        """The role: of the URL, of PGUSER, or the name of the operating system's user.

        Raises:
            InvalidUrlError: none of them exists.
        """
        name = self.parts.username or os.environ.get("PGUSER")
        if name:
            return name
        try:
            return getpass.getuser()
        except (OSError, KeyError, ImportError):
            raise InvalidUrlError(
                "no user in the URL, and the operating system has no name for this one",
                "the name of a role",
                "write postgresql://user@… or set PGUSER",
            ) from None

    @property
    def database(self) -> str:
        """The database: of the URL, of PGDATABASE, or the one named like the role."""
        return self.parts.database or os.environ.get("PGDATABASE") or self.username

    def connect_arguments(self, driver: Driver, *, application_name: str | None = None) -> dict[str, Any]:
        """Return the keyword arguments for `psycopg.connect` or `asyncpg.connect`, the password among them.

        `application_name` counts where the URL has none. `connect_timeout` is in seconds, 10 unless the URL or
        PGCONNECT_TIMEOUT says otherwise, 0 for no limit; psycopg applies it to each host, asyncpg (`timeout`)
        gets the sum for all hosts, because it has no other.

        Raises:
            InvalidUrlError: a file is missing, or this driver cannot give the security that was asked for.
        """
        settings = self._settings(application_name)
        tls.require_files(dict(self.parts.parameters))
        if driver == "psycopg":
            arguments = self._psycopg_arguments(settings)
            arguments |= {name: secret.reveal() for name, secret in self.parts.secrets}
        else:
            arguments = self._asyncpg_arguments(settings)
            arguments |= {n: secret.reveal() for n, secret in self.parts.secrets if n == "password"}
        return arguments

    def sqlalchemy_url(self, driver: Driver) -> URL:
        """Return the URL for `create_engine` or `create_async_engine`, to be used with `engine_arguments`.

        It holds the password, which SQLAlchemy masks, and the first host; the rest is in `engine_arguments`.
        """
        host, port = self.hosts[0]
        secret = self._secret("password")
        return URL.create(
            f"postgresql+{driver}",
            self.username,
            secret.reveal() if secret else None,
            None if host.startswith("/") else host,
            port,
            self.database,
        )

    def engine_arguments(self, driver: Driver, *, application_name: str | None = None) -> dict[str, Any]:
        """Return `{"connect_args": …}` for `create_engine` or `create_async_engine`, without the password.

        Raises:
            InvalidUrlError: as `connect_arguments`.
        """
        arguments = self.connect_arguments(driver, application_name=application_name)
        arguments.pop("password", None)  # it is in the URL
        if driver == "asyncpg":
            cache = dict(self.parts.parameters).get(
                "prepared_statement_cache_size", "0" if self.pooler else None
            )
            if cache is not None:
                arguments["prepared_statement_cache_size"] = int(cache)
        return {"connect_args": arguments}

    def __str__(self) -> str:
        hosts = ",".join(_host_text(host, port) for host, port in self.parts.hosts)
        password = ":***" if self._secret("password") else ""
        user = quote(self.parts.username or "", safe="")
        query = "&".join(
            [f"{name}={quote(value, safe='')}" for name, value in self.parts.parameters]
            + [f"{name}=***" for name, _ in self.parts.secrets if name != "password"]
        )
        at = "@" if user or password else ""
        database = quote(self.parts.database or "", safe="")
        return f"postgresql://{user}{password}{at}{hosts}/{database}{'?' if query else ''}{query}"

    def __repr__(self) -> str:
        return f"DatabaseUrl({str(self)!r}, pooler={self.pooler})"

    def _secret(self, name: str) -> Secret | None:
        return dict(self.parts.secrets).get(name)

    def _refuse_options_through_a_pooler(self) -> None:
        # A setting of the start-up packet belongs to a server connection that other clients share: PgBouncer
        # refuses it or, worse, is told to ignore it. Words without '-' address a project at Neon and Supabase.
        options = dict(self.parts.parameters).get("options", "")
        if self.pooler and options.lstrip().startswith("-"):
            raise InvalidUrlError(
                f"options={options!r} through a pooler in transaction mode",
                "no settings at start-up, because they do not stay with a client there",
                f"remove options and set it for the role: ALTER ROLE {self.username} SET name = value",
            )

    def _settings(self, application_name: str | None) -> dict[str, str]:
        """Merge, the strongest first: the URL, what the caller proposes, the environment."""
        given = {"application_name": application_name} if application_name else {}
        settings = with_environment(given | dict(self.parts.parameters))
        if isinstance(settings, Problem):
            raise InvalidUrlError(*settings)
        return settings

    def _psycopg_arguments(self, settings: dict[str, str]) -> dict[str, Any]:
        hosts = self.hosts
        arguments: dict[str, Any] = {
            **{name: value for name, value in self.parts.parameters if name in ALLOWED.keys() - OURS},
            "host": ",".join(host for host, _ in hosts),
            "port": ",".join(str(port) for _, port in hosts),
            "user": self.username,
            "dbname": self.database,
            "connect_timeout": int(settings.get("connect_timeout", DEFAULT_CONNECT_TIMEOUT)),
            # SQLAlchemy 2.1 fails on bytes as it connects to a database in SQL_ASCII.
            "client_encoding": "UTF8",
        }
        if "sslmode" in settings or "sslrootcert" in settings:
            arguments["sslmode"] = tls.mode(settings)
        if settings.get("sslrootcert") == "system":
            arguments["sslrootcert"] = tls.system_bundle()
        if name := settings.get("application_name"):
            arguments["application_name"] = name
        if self.pooler:
            arguments["prepare_threshold"] = None
        return arguments

    def _asyncpg_arguments(self, settings: dict[str, str]) -> dict[str, Any]:
        hosts = self.hosts
        over_network = any(not host.startswith("/") for host, _ in hosts)
        if problem := lacking_in_asyncpg(settings | {name: "***" for name, _ in self.parts.secrets}):
            raise InvalidUrlError(*problem)
        security = tls.asyncpg_arguments(settings, self._secret("sslpassword"), over_network=over_network)
        seconds = int(settings.get("connect_timeout", DEFAULT_CONNECT_TIMEOUT))
        name = settings.get("application_name") or settings.get("fallback_application_name")
        started_with = {"application_name": name, "options": settings.get("options")}
        arguments: dict[str, Any] = {
            "host": [host for host, _ in hosts],
            "port": [port for _, port in hosts],
            "user": self.username,
            "database": self.database,
            "timeout": seconds * len(hosts) if seconds > 0 else None,
            "server_settings": {key: value for key, value in started_with.items() if value},
            "target_session_attrs": settings.get("target_session_attrs", "any"),
            **security,
        }
        arguments |= {key: settings[key] for key in ("passfile", "krbsrvname", "gsslib") if key in settings}
        cache = settings.get("statement_cache_size", "0" if self.pooler else None)
        if cache is not None:
            arguments["statement_cache_size"] = int(cache)
        return arguments


def url_hosts(parts: UrlParts) -> tuple[tuple[str | None, int], ...]:
    """Complete the hosts of a URL from PGHOST and PGPORT.

    Raises:
        InvalidUrlError: PGPORT does not fit.
    """
    hosts = parts.hosts
    if len(hosts) == 1 and not hosts[0][0]:
        hosts = tuple((name or None, hosts[0][1]) for name in os.environ.get("PGHOST", "").split(","))
    if all(port for _, port in hosts):
        return tuple((host, port or 0) for host, port in hosts)
    usual = (os.environ.get("PGPORT") or _DEFAULT_PORT).split(",")
    if len(usual) not in (1, len(hosts)) or not all(re.fullmatch("[1-9][0-9]{0,4}", port) for port in usual):
        raise InvalidUrlError(
            f"PGPORT={','.join(usual)!r} in the environment",
            "a port, or one for each host",
            "unset PGPORT, or write the port into the URL",
        )
    return tuple((host, port or int(other)) for (host, port), other in zip(hosts, cycle(usual), strict=False))


def _local_host(port: int) -> str:
    folders = (folder for folder in _SOCKET_FOLDERS if (Path(folder) / f".s.PGSQL.{port}").exists())
    return next(folders, "localhost")


def _is_pooler(host: tuple[str | None, int]) -> bool:
    name = (host[0] or "").lower().rstrip(".")
    if name.endswith((".pooler.supabase.com", ".supabase.co")):
        return host[1] == 6543  # noqa: PLR2004 - Supabase's port for transaction mode; 5432 is session mode
    return name.partition(".")[0].endswith("-pooler")


def _host_text(host: str | None, port: int | None) -> str:
    name = quote(host or "", safe="")
    if host and ":" in host and not host.startswith("/"):
        name = f"[{quote(host, safe=':')}]"
    return f"{name}:{port}" if port else name


def masked(url: URL) -> str:
    """Return an engine's URL as text, with three stars for its password and without secrets in its query."""
    return url.difference_update_query(SECRET).render_as_string(hide_password=True)
