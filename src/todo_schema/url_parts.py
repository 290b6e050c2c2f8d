"""Takes a database URL apart.

Nothing here raises: the frames hold the text with its password, and a traceback would show them. What is
wrong comes back as a `Problem`, and `urls` raises it from a frame that holds only masked objects.
"""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from sqlalchemy import URL

from todo_schema.url_parameters import PLUS_IS_SPACE, SECRET, Problem, normalised

EXAMPLE = "postgresql://user:password@localhost:5432/database"
_TO_ENCODE = "from getpass import getpass; from urllib.parse import quote; print(quote(getpass(), safe=''))"
_AMBIGUOUS = Problem(
    "a raw '@', '/' or '?' that leaves open where the password ends and the host begins",
    "these characters percent-encoded: %40, %2F and %3F",
    f'write the password as this prints it: python -c "{_TO_ENCODE}"',
)
_BAD_HOSTS = Problem(
    "a host part that is not host[:port][,host[:port]…] with ports from 1 to 65535",
    "a host part such as localhost:5432, [::1]:5432, h1:5432,h2:5432 or %2Fvar%2Frun%2Fpostgresql",
    f"write the URL as {EXAMPLE}, the password percent-encoded",
)
_SCHEME = re.compile(r"((?:jdbc:)?[A-Za-z][A-Za-z0-9+._-]*)://")
_ACCEPTED = re.compile(r"postgres(ql)?(\+(asyncpg|psycopg|psycopg2|psycopg_async))?", re.IGNORECASE)
_ESCAPES = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_HOST = re.compile(r"(\[[^\[\]]+\]|[^:\[\]]*)(?::([0-9]*))?")
_NAME = re.compile(r"[^\s/@?#,:%\[\]\\]*")

Host = tuple[str | None, int | None]


@dataclass(frozen=True, repr=False)
class Secret:
    """A password. Not a `str`, so that a log, a debugger or an error reporter shows three stars."""

    _text: str

    def reveal(self) -> str:
        """Return the password, for a driver."""
        return self._text

    def __repr__(self) -> str:
        return "***"


@dataclass(frozen=True)
class UrlParts:
    """What a URL says, decoded; None where it is silent."""

    hosts: tuple[Host, ...]
    username: str | None
    database: str | None
    parameters: tuple[tuple[str, str], ...]
    secrets: tuple[tuple[str, Secret], ...]


def read(url: object) -> UrlParts | Problem:
    """Take apart the text of a URL, or SQLAlchemy's object."""
    if isinstance(url, URL):
        return _read_object(url)
    if not isinstance(url, str):
        return Problem(
            f"a value of type {type(url).__name__}",
            "a PostgreSQL URL as a str or sqlalchemy.URL",
            f"pass {EXAMPLE!r}",
        )
    text = url.strip()
    scheme = _SCHEME.match(text)
    if problem := _scheme_problem(text, scheme and scheme[1]):
        return problem
    assert scheme  # noqa: S101 - for mypy: _scheme_problem has just refused a text without one
    pieces = _split(text[scheme.end() :])
    if isinstance(pieces, Problem):
        return pieces
    credentials, hosts, path, query = pieces
    username, _, password = credentials.partition(":")
    pairs = _pairs(query)
    if isinstance(pairs, Problem):
        return pairs
    return _assemble(decode(username), decode(password), hosts, decode(path.removeprefix("/")), pairs)


def _read_object(url: URL) -> UrlParts | Problem:
    if problem := _scheme_problem(url.drivername, url.drivername):
        return problem
    pairs = [
        (name, value)
        for name, values in url.query.items()
        for value in ((values,) if isinstance(values, str) else values)
    ]
    hosts = _hosts(url.host or "", bare=True)
    if isinstance(hosts, Problem):
        return hosts
    if url.port is not None:
        hosts = tuple((name, port or url.port) for name, port in hosts)
    password = "" if url.password is None else str(url.password)
    return _assemble(url.username or "", password, hosts, url.database or "", pairs)


def _scheme_problem(text: str, scheme: str | None) -> Problem | None:
    if scheme and _ACCEPTED.fullmatch(scheme):
        return None
    # Without "://" the text may be anything, a password too: it is not repeated.
    found = f'the scheme "{scheme}"' if scheme else "no scheme" if text else "an empty URL"
    return Problem(
        found,
        "a PostgreSQL URL: postgres:// or postgresql://, with +asyncpg, +psycopg, +psycopg2 or no driver",
        f"write it as {EXAMPLE}",
    )


def decode(text: str) -> str:
    """Undo percent-encoding; what is no valid escape, or not UTF-8, is itself."""
    return _ESCAPES.sub(_decode_run, text)


def _decode_run(run: re.Match[str]) -> str:
    try:
        return unquote_to_bytes(run[0]).decode()
    except UnicodeDecodeError:
        return run[0]


def _split(rest: str) -> tuple[str, tuple[Host, ...], str, str] | Problem:
    """Find credentials, hosts, path and query in what follows the scheme.

    A raw '@' in a password is well defined as long as no '/' or '?' is in play: the last one counts. With
    them there may be two readings that lead to two different hosts. Then none is chosen.
    """
    authority, path, query = _until_path(rest)
    before, _, after = authority.rpartition("@")
    hosts = _hosts(after)
    beyond = rest[len(authority) :]
    if "@" not in beyond:
        return hosts if isinstance(hosts, Problem) else (before, hosts, path, query)
    if "@" not in path and not isinstance(hosts, Problem) and (before or path) and _is_query(query):
        return before, hosts, path, query
    # What is left is a raw '/' or '?' in the password, if nothing else can be meant: one '@' in all, and
    # "user:begin" is no "host:port".
    if rest.count("@") == 1 and not before and isinstance(hosts, Problem) and ":" in authority:
        before, _, rest = rest.partition("@")
        authority, path, query = _until_path(rest)
        hosts = _hosts(authority)
        return hosts if isinstance(hosts, Problem) else (before, hosts, path, query)
    return _AMBIGUOUS


def _until_path(rest: str) -> tuple[str, str, str]:
    authority = re.split("[/?]", rest, maxsplit=1)[0]
    path, _, query = rest[len(authority) :].partition("?")
    return authority, path, query


def _is_query(query: str) -> bool:
    pairs = _pairs(query)
    return not isinstance(pairs, Problem) and not isinstance(normalised(pairs), Problem)


def _pairs(query: str) -> list[tuple[str, str]] | Problem:
    pairs = []
    for piece in filter(None, query.split("&")):
        name, equals, value = piece.partition("=")
        if not equals:
            return Problem(
                "a parameter without '='", "name=value&name=value after the '?'", "correct the query"
            )
        value = value.replace("+", " ") if name in PLUS_IS_SPACE else value
        pairs.append((decode(name), decode(value)))
    return pairs


def _hosts(text: str, *, bare: bool = False) -> tuple[Host, ...] | Problem:
    """Read hosts; `bare` where an IPv6 address may come without brackets."""
    found = [_host(item, bare=bare) for item in text.split(",")]
    hosts = tuple(host for host in found if host is not None)
    return hosts if len(hosts) == len(found) else _BAD_HOSTS


def _host(item: str, *, bare: bool) -> Host | None:
    if bare and (item.startswith("/") or _is_address(item)):
        return item, None
    if not (match := _HOST.fullmatch(item)):
        return None
    name, port = decode(match[1]), int(match[2] or 0)
    address = name.removeprefix("[").removesuffix("]")
    if port > 65535 or (match[2] and not port):  # noqa: PLR2004 - the highest port there is
        return None
    if name.startswith("/") and "," not in name:
        return name, port or None
    if name != address:
        return (address, port or None) if _is_address(address) else None
    return (name or None, port or None) if _NAME.fullmatch(name) else None


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _assemble(
    username: str, password: str, hosts: tuple[Host, ...], database: str, pairs: list[tuple[str, str]]
) -> UrlParts | Problem:
    """Put the query's host, port, user, password and dbname in the places that the text left empty."""
    parameters = normalised(pairs)
    if isinstance(parameters, Problem):
        if any(name in SECRET for name, _ in pairs):
            # A raw '&' in its value makes the rest of a password look like a parameter: it is not repeated.
            return parameters._replace(
                found="a wrong or unknown parameter beside a password",
                cure="correct the parameters; in the password, write %26 for '&'",
            )
        return parameters
    places = {"user": username, "password": password, "dbname": database}
    for name, text in places.items():
        places[name] = parameters.pop(name, "") or text
        if text and places[name] != text:
            return Problem(f"two different values for {name}", f"one {name}", f"remove {name} from the query")
    located = _relocate(hosts, parameters.pop("host", ""), parameters.pop("port", ""))
    if isinstance(located, Problem):
        return located
    secrets = {name: parameters.pop(name) for name in SECRET & parameters.keys()} | {
        "password": places["password"]
    }
    if problem := _text_problem(
        [*parameters.values(), *places.values(), *secrets.values(), *_names(located)]
    ):
        return problem
    return UrlParts(
        hosts=located,
        username=places["user"] or None,
        database=places["dbname"] or None,
        parameters=tuple(sorted(parameters.items())),
        secrets=tuple((name, Secret(text)) for name, text in sorted(secrets.items()) if text),
    )


def _relocate(hosts: tuple[Host, ...], host: str, port: str) -> tuple[Host, ...] | Problem:
    if host:
        named = _hosts(host, bare=True)
        if isinstance(named, Problem):
            return named
        if any(_names(hosts)) and hosts != named:
            return Problem(
                "two different hosts", "one place that names the host", "remove host from the query"
            )
        hosts = tuple((name, number or hosts[0][1]) for name, number in named)
    if port:
        ports = port.split(",")
        if not all(re.fullmatch("[1-9][0-9]{0,4}", text) and int(text) <= 65535 for text in ports):  # noqa: PLR2004
            return _BAD_HOSTS
        numbers = [int(text) for text in ports] * (len(hosts) if len(ports) == 1 else 1)
        pairs = list(zip(hosts, numbers, strict=False))
        if len(numbers) != len(hosts) or any(given not in (None, number) for (_, given), number in pairs):
            return Problem(
                "ports that do not fit the hosts", "one port, or one for each host", "correct the ports"
            )
        hosts = tuple((name, number) for (name, _), number in pairs)
    return hosts


def _names(hosts: tuple[Host, ...]) -> list[str]:
    return [name or "" for name, _ in hosts]


def _text_problem(texts: list[str]) -> Problem | None:
    for text in texts:
        if "\0" in text:
            return Problem("a NUL character", "text that PostgreSQL can hold", "remove %00 from the URL")
        try:
            text.encode()
        except UnicodeEncodeError:
            return Problem(
                "bytes that are not UTF-8", "a URL in UTF-8", "percent-encode the URL's special characters"
            )
    return None
