"""Certificates for a TLS server of the tests, made by the `openssl` command."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificates:
    """Paths of PEM files. The server's certificate is for the name `localhost` only, not for 127.0.0.1."""

    authority: Path
    server_certificate: Path
    server_key: Path
    client_certificate: Path
    """For the PostgreSQL user `postgres`."""
    client_key: Path
    stranger: Path
    """Another authority, which has signed none of these."""


def make_certificates(folder: Path) -> Certificates:
    """Make an authority, a server's and a client's certificate in `folder`.

    Raises:
        FileNotFoundError: There is no `openssl` command.

    """
    folder.mkdir(parents=True)
    authority = _authority(folder, "authority")
    server, server_key = _signed(folder, "server", "/CN=localhost", "subjectAltName=DNS:localhost")
    client, client_key = _signed(folder, "client", "/CN=postgres", "extendedKeyUsage=clientAuth")
    return Certificates(authority, server, server_key, client, client_key, _authority(folder, "stranger"))


def _authority(folder: Path, name: str) -> Path:
    certificate = folder / f"{name}.crt"
    _openssl(
        *("req", "-x509", *_new_key(folder / f"{name}.key"), "-days", "2", "-subj", f"/CN=test {name}"),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign", "-out", str(certificate)),
    )
    return certificate


def _signed(folder: Path, name: str, subject: str, extension: str) -> tuple[Path, Path]:
    certificate, key, request, extensions = (folder / f"{name}.{end}" for end in ("crt", "key", "csr", "ext"))
    extensions.write_text(extension)
    _openssl("req", *_new_key(key), "-subj", subject, "-out", str(request))
    _openssl(
        *(
            "x509",
            "-req",
            "-in",
            str(request),
            "-days",
            "2",
            "-extfile",
            str(extensions),
            "-out",
            str(certificate),
        ),
        *("-CA", str(folder / "authority.crt"), "-CAkey", str(folder / "authority.key"), "-CAcreateserial"),
    )
    # PostgreSQL and libpq refuse a key that others may read.
    key.chmod(0o600)
    return certificate, key


def _new_key(path: Path) -> tuple[str, ...]:
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(path))


def _openssl(*arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], check=False, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise RuntimeError(f"openssl {arguments[0]} ended with {done.returncode}: {done.stderr}")
