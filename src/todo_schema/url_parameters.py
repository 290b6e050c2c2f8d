# ruff: noqa: E501 - the table is wider than a line
"""The query parameters of a database URL: which exist, what each may be, and which driver honours it.

Source: libpq 18, "Parameter Key Words"; asyncpg 0.32; SQLAlchemy's asyncpg dialect.

| parameter | psycopg | asyncpg |
|---|---|---|
| host, port, user, password, dbname (database) | yes | yes |
| sslmode (ssl), sslrootcert, sslcrl, sslcrldir, sslnegotiation, ssl_min/max_protocol_version | yes | yes |
| sslcert, sslkey | yes | yes |
| sslpassword | yes | from sslmode=require on, refused below |
| channel_binding=require | yes | by verifying certificate and host name instead |
| application_name, fallback_application_name, options, connect_timeout, target_session_attrs | yes | yes |
| passfile, krbsrvname, gsslib | yes | yes |
| hostaddr, requirepeer, require_auth, scram_*, oauth_*, gssencmode=require, sslcertmode=require, sslsni=0 | yes | refused |
| keepalives*, tcp_user_timeout, load_balance_hosts, gssencmode=prefer, gssdelegation, sslcompression, sslkeylogfile, min/max_protocol_version | yes | ignored: no effect on security |
| statement_cache_size, prepared_statement_cache_size | ignored | yes |
| pgbouncer | a pooler in transaction mode | a pooler in transaction mode |
| supa, uselibpqcompat | ignored: notes for other clients | ignored |
| client_encoding | UTF8 only | UTF8 only |
"""

import os
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

SECRET = frozenset({"password", "sslpassword", "scram_client_key", "scram_server_key", "oauth_client_secret"})

# A '+' is a space where people paste what urlencode() or SQLAlchemy wrote; in a password or a path it is itself.
PLUS_IS_SPACE = frozenset({"application_name", "fallback_application_name", "options"})

VERIFYING = ("verify-ca", "verify-full")
STRICT = ("require", *VERIFYING)

_YES_OR_NO = "true|false|1|0|yes|no|on|off"
_SWITCH = "0|1"
_COUNT = "[0-9]{1,9}"
_SECONDS = "-?[0-9]{1,9}"
_TLS_VERSION = r"TLSv1|TLSv1\.1|TLSv1\.2|TLSv1\.3"
_ANYTHING = "(?s:.*)"

ALLOWED = {
    "application_name": _ANYTHING,
    "channel_binding": "disable|prefer|require",
    "client_encoding": "(?i:utf-?8|auto)",
    "connect_timeout": _SECONDS,
    "dbname": _ANYTHING,
    "fallback_application_name": _ANYTHING,
    "gssdelegation": _SWITCH,
    "gssencmode": "disable|prefer|require",
    "gsslib": _ANYTHING,
    "host": _ANYTHING,
    "hostaddr": _ANYTHING,
    "keepalives": _SWITCH,
    "keepalives_count": _COUNT,
    "keepalives_idle": _COUNT,
    "keepalives_interval": _COUNT,
    "krbsrvname": _ANYTHING,
    "load_balance_hosts": "disable|random",
    "max_protocol_version": _ANYTHING,
    "min_protocol_version": _ANYTHING,
    "oauth_client_id": _ANYTHING,
    "oauth_client_secret": _ANYTHING,
    "oauth_issuer": _ANYTHING,
    "oauth_scope": _ANYTHING,
    "options": _ANYTHING,
    "passfile": _ANYTHING,
    "password": _ANYTHING,
    "pgbouncer": _YES_OR_NO,
    "port": _ANYTHING,
    "prepared_statement_cache_size": _COUNT,
    "require_auth": _ANYTHING,
    "requirepeer": _ANYTHING,
    "scram_client_key": _ANYTHING,
    "scram_server_key": _ANYTHING,
    "ssl_max_protocol_version": _TLS_VERSION,
    "ssl_min_protocol_version": _TLS_VERSION,
    "sslcert": _ANYTHING,
    "sslcertmode": "disable|allow|require",
    "sslcompression": _SWITCH,
    "sslcrl": _ANYTHING,
    "sslcrldir": _ANYTHING,
    "sslkey": _ANYTHING,
    "sslkeylogfile": _ANYTHING,
    "sslmode": "disable|allow|prefer|require|verify-ca|verify-full",
    "sslnegotiation": "postgres|direct",
    "sslpassword": _ANYTHING,
    "sslrootcert": _ANYTHING,
    "sslsni": _SWITCH,
    "statement_cache_size": _COUNT,
    "supa": _ANYTHING,
    "target_session_attrs": "any|read-write|read-only|primary|standby|prefer-standby",
    "tcp_user_timeout": _COUNT,
    "user": _ANYTHING,
    "uselibpqcompat": _ANYTHING,
}

# Not for a driver as they stand.
OURS = frozenset(
    {
        "host", "port", "user", "password", "dbname", "sslmode", "application_name", "client_encoding",
        "connect_timeout", "pgbouncer", "prepared_statement_cache_size", "statement_cache_size", "supa",
        "uselibpqcompat",
    }
)  # fmt: skip

_ENVIRONMENT = {
    "application_name": "PGAPPNAME",
    "channel_binding": "PGCHANNELBINDING",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "gssencmode": "PGGSSENCMODE",
    "hostaddr": "PGHOSTADDR",
    "options": "PGOPTIONS",
    "require_auth": "PGREQUIREAUTH",
    "requirepeer": "PGREQUIREPEER",
    "ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "sslcert": "PGSSLCERT",
    "sslcertmode": "PGSSLCERTMODE",
    "sslcrl": "PGSSLCRL",
    "sslcrldir": "PGSSLCRLDIR",
    "sslkey": "PGSSLKEY",
    "sslmode": "PGSSLMODE",
    "sslnegotiation": "PGSSLNEGOTIATION",
    "sslrootcert": "PGSSLROOTCERT",
    "sslsni": "PGSSLSNI",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}

# What protects psycopg's connection and asyncpg has no means for: all values, or these.
_NOT_IN_ASYNCPG: dict[str, frozenset[str]] = {
    "gssencmode": frozenset({"require"}),
    "hostaddr": frozenset(),
    "oauth_client_id": frozenset(),
    "oauth_client_secret": frozenset(),
    "oauth_issuer": frozenset(),
    "oauth_scope": frozenset(),
    "require_auth": frozenset(),
    "requirepeer": frozenset(),
    "scram_client_key": frozenset(),
    "scram_server_key": frozenset(),
    "sslcertmode": frozenset({"require"}),
    "sslsni": frozenset({"0"}),
}

_REFUSED = {
    "async_fallback": "leave it out: upgrade() is synchronous and upgrade_async() is not",
    "connection_limit": "leave it out (it is Prisma's) and pass pool_size= to session_factory()",
    "pool_timeout": "leave it out (it is Prisma's) and pass pool_timeout= to session_factory()",
    "replication": "leave it out: a replication connection cannot run statements of a schema",
    "schema": "leave it out (it is Prisma's) and pass schema= to the function",
    "search_path": "leave it out and pass schema= to the function",
    "service": "write the service's host, port, user and dbname into the URL: a service file can change them unseen",
    "servicefile": "write the service's host, port, user and dbname into the URL",
}

_SSL = {"true": "require", "1": "require", "false": "disable", "0": "disable"}


class Problem(NamedTuple):
    """Why a URL is refused: the three sentences of the error that will say so."""

    found: str
    needed: str
    cure: str


def problem_with(name: str, value: str) -> Problem | None:
    """Say what is wrong with the value of a known parameter, if anything is."""
    if re.fullmatch(ALLOWED[name], value):
        return None
    if name in SECRET:
        return Problem(f"a {name} that cannot be one", "another value", f"correct {name} in the URL")
    return Problem(
        f"the parameter {name}={value!r}", _expected(name), f"correct {name} in the URL, or leave it out"
    )


def normalised(pairs: Iterable[tuple[str, str]]) -> dict[str, str] | Problem:
    """Check the parameters and give each its libpq name.

    `host` and `port` may be repeated, as SQLAlchemy writes several hosts; anything else that is said twice must
    say the same, because guessing which one counts may weaken what was asked for.
    """
    given: dict[str, str] = {}
    for written, text in pairs:
        name = {"database": "dbname", "ssl": "sslmode"}.get(written, written)
        value = _SSL.get(text, text) if written == "ssl" else text
        if name in _REFUSED:
            return Problem(f"the parameter {name}", "a parameter of the connection itself", _REFUSED[name])
        if name not in ALLOWED:
            return Problem(
                f"the unknown parameter {written!r}",
                "parameters of libpq or asyncpg",
                f"correct or remove {written!r}; a setting of the server is written options=-c%20name%3Dvalue",
            )
        if problem := problem_with(name, value):
            return problem
        if name in ("host", "port") and name in given:
            given[name] += f",{value}"
        elif given.setdefault(name, value) != value:
            return Problem(f"the parameter {name} twice", f"one {name}", f"remove one {name} from the URL")
    return given


def with_environment(given: Mapping[str, str]) -> dict[str, str] | Problem:
    """Fill up the parameters of a URL from libpq's environment variables."""
    found = {
        name: os.environ.get(variable, "") for name, variable in _ENVIRONMENT.items() if name not in given
    }
    for name, value in found.items():
        if value and (problem := problem_with(name, value)):
            return problem._replace(cure=f"correct or unset {_ENVIRONMENT[name]} in the environment")
    return {name: value for name, value in found.items() if value} | dict(given)


def lacking_in_asyncpg(settings: Mapping[str, str]) -> Problem | None:
    """Name the first parameter that asks for a protection which asyncpg does not have."""
    for name, values in _NOT_IN_ASYNCPG.items():
        if name in settings and (not values or settings[name] in values):
            variable = f", or unset {_ENVIRONMENT[name]}," if name in _ENVIRONMENT else ""
            return Problem(
                f"the parameter {name}, which asyncpg cannot honour",
                "a URL whose security asyncpg can give as well as libpq",
                f"remove {name} from the URL{variable} or use the synchronous functions, which use psycopg",
            )
    return None


def _expected(name: str) -> str:
    match ALLOWED[name]:
        case pattern if pattern in (_COUNT, _SECONDS):
            return f"{name} is a whole number"
        case _ if name == "client_encoding":
            return "client_encoding is UTF8, the only one that both drivers can use with every database"
        case pattern:
            return f"{name} is one of {pattern.replace('|', ', ').replace(chr(92), '')}"
