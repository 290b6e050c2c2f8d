"""What each driver is given for a URL: poolers, timeouts, settings and TLS, as tables."""

import os
import ssl
from pathlib import Path

import pytest

from tests.support.certificates import Certificates, make_certificates
from todo_schema.errors import InvalidUrlError
from todo_schema.urls import DatabaseUrl


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty home, and none of the developer's own PG variables."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    try:
        return make_certificates(tmp_path_factory.mktemp("tls") / "made")
    except FileNotFoundError:
        pytest.skip("certificates are made by openssl, which is not installed")


def asyncpg_of(rest: str, **options: bool) -> dict[str, object]:
    return DatabaseUrl.parse(f"postgresql://{rest}", **options).connect_arguments("asyncpg")


def psycopg_of(rest: str, **options: bool) -> dict[str, object]:
    return DatabaseUrl.parse(f"postgresql://{rest}", **options).connect_arguments("psycopg")


@pytest.mark.parametrize(
    ("rest", "pooler"),
    [
        ("u@ep-x-pooler.eu-central-1.aws.neon.tech/d?sslmode=disable", True),
        ("u@ep-x.eu-central-1.aws.neon.tech/d", False),
        ("u@h1,x-pooler.y/d", True),
        ("u@pooler.example/d", False),
        ("postgres.ref@aws-0-eu.pooler.supabase.com:6543/postgres", True),
        ("postgres.ref@aws-0-eu.pooler.supabase.com:5432/postgres", False),
        ("postgres@db.ref.supabase.co:6543/postgres", True),
        ("postgres@db.ref.supabase.co:5432/postgres", False),
        ("h/d?pgbouncer=true", True),
        ("x-pooler.y/d?pgbouncer=false", False),
    ],
)
def test_a_pooler_is_recognised_and_the_argument_overrules_it(rest, pooler):
    assert DatabaseUrl.parse(f"postgresql://{rest}").pooler is pooler
    assert DatabaseUrl.parse(f"postgresql://{rest}", pooler=not pooler).pooler is not pooler


def test_through_a_pooler_no_statement_is_prepared_and_without_one_the_drivers_decide():
    url = DatabaseUrl.parse("postgresql://u@h/d", pooler=True)
    assert url.connect_arguments("psycopg")["prepare_threshold"] is None
    assert url.connect_arguments("asyncpg")["statement_cache_size"] == 0
    assert "prepared_statement_cache_size" not in url.connect_arguments("asyncpg")
    assert url.engine_arguments("asyncpg")["connect_args"]["prepared_statement_cache_size"] == 0
    direct = DatabaseUrl.parse("postgresql://u@h/d")
    assert "prepare_threshold" not in direct.connect_arguments("psycopg")
    assert (
        not {"statement_cache_size", "prepared_statement_cache_size"}
        & direct.engine_arguments("asyncpg")["connect_args"].keys()
    )


def test_cache_sizes_of_the_url_reach_asyncpg_and_leave_psycopg_alone():
    url = DatabaseUrl.parse("postgresql://h/d?statement_cache_size=5&prepared_statement_cache_size=6")
    asyncpg = url.engine_arguments("asyncpg")["connect_args"]
    assert (asyncpg["statement_cache_size"], asyncpg["prepared_statement_cache_size"]) == (5, 6)
    assert not [name for name in url.connect_arguments("psycopg") if "cache" in name]


def test_settings_at_start_up_are_refused_through_a_pooler_but_routing_words_pass():
    with pytest.raises(InvalidUrlError, match="ALTER ROLE"):
        DatabaseUrl.parse("postgresql://u@x-pooler.y/d?options=-c%20search_path%3Dtodo")
    assert psycopg_of("u@x-pooler.y/d?options=endpoint%3Dep-x")["options"] == "endpoint=ep-x"
    assert asyncpg_of("x-pooler.y/d?options=endpoint%3Dep-x")["server_settings"] == {
        "options": "endpoint=ep-x"
    }
    assert psycopg_of("u@x-pooler.y/d?options=-c%20a%3Db", pooler=False)["options"] == "-c a=b"


@pytest.mark.parametrize(
    ("query", "variable", "psycopg", "asyncpg"),
    [
        ("", None, 10, 10),
        ("?connect_timeout=3", "7", 3, 3),
        ("", "7", 7, 7),
        ("?connect_timeout=0", None, 0, None),
    ],
)
def test_connecting_ends_after_ten_seconds_unless_told_otherwise(
    monkeypatch, query, variable, psycopg, asyncpg
):
    if variable:
        monkeypatch.setenv("PGCONNECT_TIMEOUT", variable)
    assert psycopg_of(f"h/d{query}")["connect_timeout"] == psycopg
    assert asyncpg_of(f"h/d{query}")["timeout"] == asyncpg
    assert asyncpg_of(f"h1,h2/d{query}")["timeout"] == (asyncpg and asyncpg * 2)


@pytest.mark.parametrize(
    ("query", "argument", "variable", "expected"),
    [
        ("?application_name=url", "argument", "environment", "url"),
        ("", "argument", "environment", "argument"),
        ("?fallback_application_name=fallback", None, "environment", "environment"),
    ],
)
def test_the_application_name_of_the_url_wins(monkeypatch, query, argument, variable, expected):
    monkeypatch.setenv("PGAPPNAME", variable)
    url = DatabaseUrl.parse(f"postgresql://h/d{query}")
    assert url.connect_arguments("psycopg", application_name=argument)["application_name"] == expected
    asyncpg = url.connect_arguments("asyncpg", application_name=argument)
    assert asyncpg["server_settings"]["application_name"] == expected


def test_the_password_is_in_the_engine_url_and_not_in_its_arguments():
    url = DatabaseUrl.parse("postgresql://u:s3cr3t@h/d")
    for driver in ("psycopg", "asyncpg"):
        assert url.sqlalchemy_url(driver).password == "s3cr3t"
        assert "s3cr3t" not in repr(url.engine_arguments(driver))


@pytest.mark.parametrize(
    "query",
    ["hostaddr=10.0.0.1", "requirepeer=postgres", "require_auth=scram-sha-256", "gssencmode=require",
     "sslcertmode=require", "sslsni=0", "scram_client_key=x", "oauth_issuer=x"],
)  # fmt: skip
def test_a_protection_that_only_libpq_has_is_refused_by_name_on_asyncpg(query):
    name, _, value = query.partition("=")
    assert psycopg_of(f"h/d?{query}")[name] == value
    with pytest.raises(InvalidUrlError, match=name):
        asyncpg_of(f"h/d?{query}")


def test_a_protection_that_the_environment_asks_for_is_not_lost_on_asyncpg(monkeypatch):
    monkeypatch.setenv("PGREQUIREAUTH", "scram-sha-256")
    with pytest.raises(InvalidUrlError, match="unset PGREQUIREAUTH"):
        asyncpg_of("h/d")


@pytest.mark.parametrize(
    "query", ["keepalives=0", "tcp_user_timeout=5", "load_balance_hosts=random", "supa=x"]
)
def test_what_does_not_touch_security_is_no_error_on_asyncpg(query):
    name = query.partition("=")[0]
    assert name not in asyncpg_of(f"h/d?{query}")


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer"])
def test_below_require_asyncpg_decides_about_tls_itself(mode):
    assert asyncpg_of(f"h/d?sslmode={mode}")["ssl"] == mode
    assert asyncpg_of(f"h/d?ssl={mode}")["ssl"] == mode
    assert psycopg_of(f"h/d?ssl={mode}")["sslmode"] == mode


def test_without_a_mode_both_drivers_prefer_tls(monkeypatch):
    assert asyncpg_of("h/d")["ssl"] == "prefer"
    assert asyncpg_of("/d?host=/run/pg&sslmode=require")["ssl"] == "disable", "a unix socket has none"
    monkeypatch.setenv("PGSSLMODE", "require")
    assert isinstance(asyncpg_of("h/d")["ssl"], ssl.SSLContext)
    monkeypatch.setenv("PGSSLMODE", "bogus")
    with pytest.raises(InvalidUrlError, match="PGSSLMODE"):
        asyncpg_of("h/d")


@pytest.mark.parametrize(
    ("query", "verifies", "checks_name", "psycopg_mode"),
    [
        ("sslmode=require", False, False, "require"),
        ("ssl=true", False, False, "require"),
        ("sslmode=require&sslrootcert=CA", True, False, "require"),
        ("sslmode=verify-ca&sslrootcert=CA", True, False, "verify-ca"),
        ("sslmode=verify-full&sslrootcert=CA", True, True, "verify-full"),
        ("sslrootcert=system", True, True, "verify-full"),
        ("sslmode=require&sslrootcert=system", True, True, "verify-full"),
        ("sslmode=require&channel_binding=require", True, True, "require"),
        ("sslmode=require&channel_binding=require&sslrootcert=CA", True, True, "require"),
        ("sslmode=require&channel_binding=prefer", False, False, "require"),
    ],
)
def test_from_require_on_asyncpg_verifies_what_libpq_would(
    certificates, query, verifies, checks_name, psycopg_mode
):
    rest = f"h/d?{query.replace('CA', str(certificates.authority))}"
    context = asyncpg_of(rest)["ssl"]
    assert isinstance(context, ssl.SSLContext)
    assert (context.verify_mode is ssl.CERT_REQUIRED, context.check_hostname) == (verifies, checks_name)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert psycopg_of(rest)["sslmode"] == psycopg_mode


def test_a_root_certificate_at_home_counts_as_for_libpq(certificates, home):
    (home / ".postgresql").mkdir()
    (home / ".postgresql" / "root.crt").write_bytes(certificates.authority.read_bytes())
    context = asyncpg_of("h/d?sslmode=require")["ssl"]
    assert isinstance(context, ssl.SSLContext)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert len(context.get_ca_certs()) == 1


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("sslmode=verify-full", "without a root certificate"),
        ("sslmode=require&sslrootcert=/nowhere.pem", "sslrootcert='/nowhere.pem'"),
        ("sslmode=require&sslcert=/nowhere.pem", "sslcert='/nowhere.pem'"),
        (f"sslmode=require&sslrootcert={__file__}", "cannot be used"),
        ("sslmode=disable&channel_binding=require", "without TLS"),
        ("sslnegotiation=direct", "sslmode=prefer"),
        (f"sslcert={__file__}&sslpassword=x", "encrypted sslkey"),
    ],
)
def test_security_that_asyncpg_cannot_give_is_refused(query, found):
    with pytest.raises(InvalidUrlError) as caught:
        asyncpg_of(f"h/d?{query}")
    assert found in caught.value.found


def test_a_missing_root_certificate_is_refused_on_psycopg_where_libpq_would_verify_nothing():
    with pytest.raises(InvalidUrlError, match="sslrootcert"):
        psycopg_of("h/d?sslmode=require&sslrootcert=/nowhere.pem")


def test_tls_versions_and_direct_negotiation_reach_asyncpg():
    arguments = asyncpg_of("h/d?sslmode=require&sslnegotiation=direct&ssl_min_protocol_version=TLSv1.3")
    assert arguments["direct_tls"] is True
    context = arguments["ssl"]
    assert isinstance(context, ssl.SSLContext)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
