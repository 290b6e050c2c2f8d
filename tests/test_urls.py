"""The rules of database URLs, as tables; `test_urls_real.py` connects with them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL, make_url

from todo_schema.errors import InvalidUrlError
from todo_schema.urls import DatabaseUrl

PASSWORD = "s3cr3t-Pa55"
DRIVERS = ("psycopg", "asyncpg")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A developer's own PG variables and ~/.postgresql count in production, not here."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


def password_of(url: DatabaseUrl) -> str | None:
    return url.connect_arguments("psycopg").get("password")


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "POSTGRESQL", "postgres+asyncpg"])
@pytest.mark.parametrize("driver", ["", "+asyncpg", "+psycopg", "+psycopg2", "+psycopg_async"])
def test_every_postgresql_scheme_is_understood(scheme, driver):
    text = f"{scheme.partition('+')[0]}{driver}://ann:{PASSWORD}@db.example:6000/todo"
    for url in (DatabaseUrl.parse(text), DatabaseUrl.parse(f"  {text}\n")):
        assert (url.hosts, url.username, url.database) == ((("db.example", 6000),), "ann", "todo")
        assert password_of(url) == PASSWORD
        assert url.sqlalchemy_url("asyncpg").drivername == "postgresql+asyncpg"
        assert url.sqlalchemy_url("psycopg").drivername == "postgresql+psycopg"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("sqlite:///todo.db", 'the scheme "sqlite"'),
        ("mysql://u:p@h/d", 'the scheme "mysql"'),
        ("jdbc:postgresql://h/d", 'the scheme "jdbc:postgresql"'),
        ("postgresql+pg8000://h/d", 'the scheme "postgresql+pg8000"'),
        (URL.create("mysql", host="h"), 'the scheme "mysql"'),
        (f"host=h password={PASSWORD}", "no scheme"),
        ("", "an empty URL"),
        (" \n", "an empty URL"),
        (None, "a value of type NoneType"),
        (b"postgresql://h/d", "a value of type bytes"),
    ],
)
def test_what_is_no_postgresql_url_is_refused_by_name(text, found):
    with pytest.raises(InvalidUrlError) as caught:
        DatabaseUrl.parse(text)
    assert caught.value.found == found
    assert "postgresql://user:password@localhost:5432/database" in caught.value.cure


@pytest.mark.parametrize(
    ("rest", "hosts"),
    [
        ("h/d", [("h", 5432)]),
        ("h:1/d", [("h", 1)]),
        ("h:/d", [("h", 5432)]),
        ("h1:1,h2:2/d", [("h1", 1), ("h2", 2)]),
        ("h1,h2:2/d", [("h1", 5432), ("h2", 2)]),
        ("u:p@h1:1,[::1]:2/d", [("h1", 1), ("::1", 2)]),
        ("[fe80::1%25eth0]/d", [("fe80::1%eth0", 5432)]),
        ("/d?host=/run/pg", [("/run/pg", 5432)]),
        ("u@/d?host=/run/pg&port=6000", [("/run/pg", 6000)]),
        ("u:p@%2Frun%2Fpg:6000/d", [("/run/pg", 6000)]),
        ("/d?host=h1,h2&port=1,2", [("h1", 1), ("h2", 2)]),
        ("/d?host=h1,h2&port=7", [("h1", 7), ("h2", 7)]),
        ("/d?host=h1:1&host=h2:2", [("h1", 1), ("h2", 2)]),
        ("/d?host=::1", [("::1", 5432)]),
        ("h/d?host=h", [("h", 5432)]),
        ("h/d?port=9", [("h", 9)]),
    ],
)
def test_hosts_are_understood_as_libpq_does(rest, hosts):
    assert DatabaseUrl.parse(f"postgresql://{rest}").hosts == tuple(hosts)


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        (URL.create("postgresql", host="h", port=6000), [("h", 6000)]),
        (URL.create("postgresql+asyncpg", host="::1"), [("::1", 5432)]),
        (URL.create("postgresql", query={"host": "/run/pg", "port": "6000"}), [("/run/pg", 6000)]),
        (URL.create("postgresql", query={"host": ("h1:1", "h2:2")}), [("h1", 1), ("h2", 2)]),
        (URL.create("postgresql", query={"host": ("h1", "h2"), "port": ("1", "2")}), [("h1", 1), ("h2", 2)]),
        (make_url("postgresql://%2Frun%2Fpg:6000/d"), [("/run/pg", 6000)]),
        (make_url("postgresql://[::1]:6000/d"), [("::1", 6000)]),
    ],
)
def test_an_object_of_sqlalchemy_is_understood_as_its_text(url, hosts):
    assert DatabaseUrl.parse(url).hosts == tuple(hosts)


def test_an_object_of_sqlalchemy_holds_its_password_decoded():
    made = URL.create("postgresql", username="a%20b", password="p%40/@", host="h", database="d%20")
    url = DatabaseUrl.parse(made)
    assert (url.username, password_of(url), url.database) == ("a%20b", "p%40/@", "d%20")


@pytest.mark.parametrize(
    "rest",
    [
        "ann:pw@h:1/d",
        "ann:p%40%2Fw%25@h1:1,[::1]:2/My%20Db%25",
        "ann:a:b#c@h:1/d#e",
        "ann:a?b@h:1/d",
        "ann@%2Frun%2Fpg:1/d",
        "ann@/d?host=/run/pg&port=1",
        "h:1/d?user=a%40b&password=x+y",
        "ann@h:1/a/b",
    ],
)
def test_what_libpq_understands_is_understood_as_libpq_does(rest):
    theirs = conninfo_to_dict(f"postgresql://{rest}")
    ours = DatabaseUrl.parse(f"postgresql://{rest}").connect_arguments("psycopg")
    for name in ("host", "port", "user", "password", "dbname"):
        assert ours.get(name) == theirs.get(name)


def test_both_drivers_get_the_same_hosts():
    url = DatabaseUrl.parse("postgresql://u@h1:1,h2:2/d")
    psycopg, asyncpg = (url.connect_arguments(driver) for driver in DRIVERS)
    assert (psycopg["host"], psycopg["port"]) == ("h1,h2", "1,2")
    assert (asyncpg["host"], asyncpg["port"]) == (["h1", "h2"], [1, 2])
    assert url.engine_arguments("asyncpg")["connect_args"]["host"] == ["h1", "h2"]


@pytest.mark.parametrize(
    ("variables", "rest", "expected"),
    [
        ({"PGHOST": "h", "PGPORT": "7"}, "/d", (("h", 7),)),
        ({"PGHOST": "h1,h2", "PGPORT": "7,8"}, "", (("h1", 7), ("h2", 8))),
        ({"PGHOST": "h", "PGPORT": "7"}, "other:9/d", (("other", 9),)),
        ({"PGPORT": "59999"}, "/d", (("localhost", 59999),)),
    ],
)
def test_the_environment_counts_where_the_url_is_silent(monkeypatch, variables, rest, expected):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert DatabaseUrl.parse(f"postgresql://{rest}").hosts == expected


def test_user_and_database_come_from_the_environment_as_with_libpq(monkeypatch):
    monkeypatch.setenv("PGUSER", "ann")
    assert DatabaseUrl.parse("postgresql://h").database == "ann"
    monkeypatch.setenv("PGDATABASE", "todo")
    url = DatabaseUrl.parse("postgresql://h")
    assert (url.username, url.database) == ("ann", "todo")
    assert url.connect_arguments("asyncpg").get("password") is None


def test_a_wrong_pgport_is_named(monkeypatch):
    monkeypatch.setenv("PGPORT", "many")
    with pytest.raises(InvalidUrlError, match="PGPORT"):
        DatabaseUrl.parse("postgresql://h/d")
    assert DatabaseUrl.parse("postgresql://h:1/d").hosts == (("h", 1),)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("p%40%2F%3A%23%3F%25%20", "p@/:#?% "),
        ("p@q@", "p@q@"),
        ("a:b#c d%", "a:b#c d%"),
        ("100%", "100%"),
        ("%zz%4", "%zz%4"),
        ("%FF%41", "%FF%41"),
        ("%C3%A9é", "éé"),
        ("a+b&c=d", "a+b&c=d"),
        ("a/b", "a/b"),
        ("a?b", "a?b"),
        ("a?b=c/d", "a?b=c/d"),
        ("[x", "[x"),
        ("[::1]/x", "[::1]/x"),
        ("x" * 9000, "x" * 9000),
    ],
)
def test_a_password_with_one_meaning_is_understood(written, meant):
    url = DatabaseUrl.parse(f"postgresql://ann:{written}@h:1/d?sslmode=disable")
    assert (url.hosts, url.username, url.database) == ((("h", 1),), "ann", "d")
    assert password_of(url) == meant == url.connect_arguments("asyncpg")["password"]
    assert url.sqlalchemy_url("psycopg").password == meant


@pytest.mark.parametrize(
    "rest",
    [
        f"u:p@{PASSWORD}/w@h/d",  # or host "s3cr3t-Pa55", database "w@h/d"
        f"u:{PASSWORD}@x/y@h/d",
        "u:5432/w@h/d",  # or host "u", port 5432
        f"u/{PASSWORD}@h/d",
        f"u:/{PASSWORD}@h/d",
        f"h1:1,h2:2/{PASSWORD}@h",
        f"u:a/{PASSWORD}@b@h/d",
        f"u:p@{PASSWORD}?x@h/d",
        f"u:p@{PASSWORD}?x=y@h/d",
        f"u:1?{PASSWORD}=y@h/d",
        "h?user=a@b",  # libpq takes "h?user=a" for the user
        "h/d@b",
    ],
)
def test_a_url_with_two_meanings_is_refused_and_connects_nowhere(rest):
    with pytest.raises(InvalidUrlError, match="quote") as caught:
        DatabaseUrl.parse(f"postgresql://{rest}")
    assert PASSWORD not in str(caught.value)
    assert "%40" in caught.value.needed


def test_an_at_sign_in_a_parameter_is_no_second_meaning():
    url = DatabaseUrl.parse("postgresql://u:p@h/d?application_name=me@work")
    assert url.connect_arguments("psycopg")["application_name"] == "me@work"
    assert DatabaseUrl.parse("postgresql://h/d?user=me@work").username == "me@work"


@pytest.mark.parametrize(
    "rest",
    [
        "u:p@h:x/d",
        "u:p@h:0/d",
        "u:p@h:65536/d",
        "u:p@::1/d",
        "u:p@[nope]/d",
        "u:p@h h/d",
        "u:p@h\\x/d",
        f"u:{PASSWORD}/d",
    ],
)
def test_a_wrong_host_part_is_refused_without_repeating_it(rest):
    with pytest.raises(InvalidUrlError, match=r"host\[:port\]") as caught:
        DatabaseUrl.parse(f"postgresql://{rest}")
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    ("rest", "found"),
    [
        ("u@h/d?host=other", "two different hosts"),
        ("u@h/d?user=v", "two different values for user"),
        ("u:p@h/d?password=q", "two different values for password"),
        ("h/d?dbname=e", "two different values for dbname"),
        ("h:1/d?port=2", "ports"),
        ("h1,h2,h3/d?port=1,2", "ports"),
        ("h/d?sslmode=require&sslmode=disable", "sslmode twice"),
        ("h/d?sslmode=require&ssl=false", "sslmode twice"),
        ("h/d?colour=red&sslmode=require", "'colour'"),
        ("h/d?sslmode=Require", "sslmode='Require'"),
        ("h/d?ssl=perhaps", "sslmode='perhaps'"),
        ("h/d?connect_timeout=soon", "connect_timeout='soon'"),
        ("h/d?client_encoding=LATIN1", "client_encoding='LATIN1'"),
        ("h/d?target_session_attrs=best", "target_session_attrs='best'"),
        ("h/d?pgbouncer=perhaps", "pgbouncer"),
        ("h/d?service=prod", "service"),
        ("h/d?schema=todo", "schema"),
        ("h/d?async_fallback=true", "async_fallback"),
        ("h/d?replication=database", "replication"),
        ("h/d?sslmode", "without '='"),
        ("u%00:p@h/d", "NUL"),
        ("u:\udcff@h/d", "not UTF-8"),
    ],
)
def test_a_parameter_that_is_unknown_wrong_or_contradictory_is_named(rest, found):
    with pytest.raises(InvalidUrlError) as caught:
        DatabaseUrl.parse(f"postgresql://{rest}")
    assert found in caught.value.found


def test_importing_the_module_imports_no_driver():
    code = "import sys, todo_schema.urls; print([m for m in ('psycopg', 'asyncpg') if m in sys.modules])"
    source = str(Path(__file__).parents[1] / "src")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": source}
    )
    assert done.stdout.strip() == "[]"
