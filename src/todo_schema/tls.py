"""TLS for asyncpg with the security that libpq gives to the same URL.

asyncpg knows the modes, but not `sslrootcert=system` and not `channel_binding`, and takes files only inside
a DSN. Below sslmode=require its own context is used, because only that one falls back to plain text as libpq
does, and neither driver promises to verify anything there. From `require` on the context is made here.

Source: libpq 18, "SSL Support", for the default files in ~/.postgresql and for `require` with a root file.
"""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from todo_schema.errors import InvalidUrlError
from todo_schema.url_parameters import STRICT, VERIFYING
from todo_schema.url_parts import Secret

_FILES = ("sslrootcert", "sslcrl", "sslcert", "sslkey")
_CONTEXT_OF_ASYNCPG = ("sslcert", "sslkey", "ssl_min_protocol_version", "ssl_max_protocol_version")

# psycopg's wheels carry an OpenSSL that looks for certificates where no system has any.
_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


def mode(settings: Mapping[str, str]) -> str:
    """Return the sslmode that counts; `sslrootcert=system` means verify-full, as in libpq."""
    if settings.get("sslrootcert") == "system":
        return "verify-full"
    return settings.get("sslmode", "prefer")


def system_bundle() -> str:
    """Return the file with the system's certificate authorities, or `system` to let OpenSSL look."""
    candidates = (ssl.get_default_verify_paths().cafile, *_BUNDLES)
    return next((path for path in candidates if path and Path(path).is_file()), "system")


def require_files(settings: Mapping[str, str]) -> None:
    """Refuse a file that the URL names and that is not there.

    libpq itself passes over a missing certificate, and with sslmode=require then verifies nothing.

    Raises:
        InvalidUrlError: a file cannot be read.
    """
    for name in _FILES if mode(settings) != "disable" else ():
        path = settings.get(name)
        if path and path != "system" and not Path(path).is_file():
            raise InvalidUrlError(
                f"{name}={path!r}, which is not a file",
                f"a readable PEM file for {name}",
                f"correct {name} in the URL",
            )


def asyncpg_arguments(
    settings: Mapping[str, str], sslpassword: Secret | None, *, over_network: bool
) -> dict[str, Any]:
    """Return asyncpg's `ssl` and `direct_tls`; a unix socket has no TLS, with either driver.

    Raises:
        InvalidUrlError: a file is missing or unusable, or asyncpg cannot give what was asked for.
    """
    chosen = mode(settings) if over_network else "disable"
    bound = settings.get("channel_binding") == "require"
    direct = over_network and settings.get("sslnegotiation") == "direct"
    if bound and chosen == "disable":
        raise InvalidUrlError(
            "channel_binding=require without TLS (sslmode=disable, or a unix socket)",
            "TLS, which is what the password exchange is bound to",
            "use sslmode=require, or remove channel_binding",
        )
    if bound:
        chosen = "verify-full"
    if chosen in STRICT:
        return {"ssl": _context(chosen, settings, sslpassword, bound=bound), "direct_tls": direct}
    if direct:
        raise InvalidUrlError(
            f"sslnegotiation=direct with sslmode={chosen}",
            "sslmode=require or stronger",
            "add sslmode=require",
        )
    own = {name: settings[name] for name in _CONTEXT_OF_ASYNCPG if name in settings and chosen != "disable"}
    if own and sslpassword:
        raise InvalidUrlError(
            f"an encrypted sslkey with sslmode={chosen}",
            "sslmode=require or stronger, with which asyncpg can be given its sslpassword",
            "add sslmode=require",
        )
    dsn = {"dsn": f"postgresql://?{urlencode(own, quote_via=quote)}"} if own else {}
    return {"ssl": chosen, "direct_tls": False, **dsn}


def _context(
    chosen: str, settings: Mapping[str, str], sslpassword: Secret | None, *, bound: bool
) -> ssl.SSLContext:
    root = settings.get("sslrootcert") or _default("root.crt") or ("system" if bound else None)
    if not root and chosen in VERIFYING:
        raise InvalidUrlError(
            f"sslmode={chosen} without a root certificate",
            "sslrootcert, or the file ~/.postgresql/root.crt",
            "add sslrootcert=system for a public authority, or sslrootcert=/path/to/ca.pem",
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = chosen == "verify-full"
    if not root:
        context.verify_mode = ssl.CERT_NONE
    reason = _load(context, root, settings, sslpassword)
    if reason:
        raise InvalidUrlError(
            f"a certificate, key or revocation file that cannot be used: {reason}",
            "readable PEM files in sslrootcert, sslcrl, sslcert and sslkey, and the sslpassword of the key",
            "check each file with: openssl x509 -noout -subject -in FILE",
        )
    context.minimum_version = _version(settings.get("ssl_min_protocol_version", "TLSv1.2"))
    if maximum := settings.get("ssl_max_protocol_version"):
        context.maximum_version = _version(maximum)
    # PostgreSQL 17 and later demand it on direct TLS.
    context.set_alpn_protocols(["postgresql"])
    return context


def _load(
    context: ssl.SSLContext, root: str | None, settings: Mapping[str, str], sslpassword: Secret | None
) -> str | None:
    """Load every file and return what went wrong, if anything did."""
    try:
        if root == "system":
            context.load_default_certs()
        elif root:
            context.load_verify_locations(cafile=root)
        _load_revocations(context, settings)
        _load_client_certificate(context, settings, sslpassword)
    except OSError as error:
        return error.strerror or "it cannot be read"
    except ValueError:
        return "the sslpassword is too long"
    return None


def _load_revocations(context: ssl.SSLContext, settings: Mapping[str, str]) -> None:
    if context.verify_mode is ssl.CERT_NONE:
        return
    crl, folder = settings.get("sslcrl"), settings.get("sslcrldir")
    if not folder:
        crl = crl or _default("root.crl")
    if crl or folder:
        context.load_verify_locations(cafile=crl or None, capath=folder or None)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN


def _load_client_certificate(
    context: ssl.SSLContext, settings: Mapping[str, str], sslpassword: Secret | None
) -> None:
    certificate = settings.get("sslcert") or _default("postgresql.crt")
    if certificate and settings.get("sslcertmode") != "disable":
        key = settings.get("sslkey") or _default("postgresql.key")
        # An empty password, because without any OpenSSL would ask on the terminal.
        context.load_cert_chain(certificate, key, password=sslpassword.reveal() if sslpassword else "")


def _default(name: str) -> str | None:
    try:
        path = Path.home() / ".postgresql" / name
        return str(path) if path.is_file() else None
    except (RuntimeError, PermissionError):
        return None


def _version(name: str) -> ssl.TLSVersion:
    return ssl.TLSVersion[name.replace(".", "_")]
