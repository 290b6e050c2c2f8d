"""PgBouncer in front of a server of the tests."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.clusters import unprivileged_user
from tests.support.ports import free_port
from tests.support.servers import Server

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


class Pooler(Server):
    """A PgBouncer: a server's urls on its own port. Its `execute` goes through the pooler."""


@contextmanager
def pgbouncer(server: Server, **settings: str | float) -> Iterator[Pooler]:
    """A PgBouncer in transaction mode in front of `server`; `settings` are lines of its section [pgbouncer].

    Raises:
        FileNotFoundError: PgBouncer is not installed.

    """
    if PROGRAM is None:
        raise FileNotFoundError("PgBouncer is not installed: apt-get install pgbouncer")
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    pooler = Pooler(f"postgresql://{server.user}@127.0.0.1:{free_port()}")
    lines = {
        "listen_addr": pooler.host,
        "listen_port": pooler.port,
        "unix_socket_dir": "",
        "auth_type": "trust",
        "auth_file": folder / "users",
        "pool_mode": "transaction",
        "default_pool_size": 5,
        "max_client_conn": 200,
        **settings,
    }
    (folder / "users").write_text(f'"{server.user}" "{server.password}"\n')
    configuration = folder / "pgbouncer.ini"
    configuration.write_text(
        f"[databases]\n* = host={server.host} port={server.port}\n[pgbouncer]\n"
        + "".join(f"{name} = {value}\n" for name, value in lines.items())
    )
    user = _user_who_reaches(server)
    folder.chmod(0o755)
    try:
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [PROGRAM, configuration],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=user,
                group=user and pwd.getpwnam(user).pw_gid,
                extra_groups=None if user is None else [],
            )
        try:
            _wait_until_it_listens(pooler, process, folder / "log")
            yield pooler
        finally:
            process.terminate()
            process.wait(20)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _user_who_reaches(server: Server) -> str | None:
    """The owner of a socket's folder, which others may not enter; PgBouncer refuses to run as root."""
    if os.geteuid() == 0 and server.host.startswith("/"):
        owner = Path(server.host).stat().st_uid
        if owner:
            return pwd.getpwuid(owner).pw_name
    return unprivileged_user()


def _wait_until_it_listens(pooler: Pooler, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until and process.poll() is None:
        with suppress(ConnectionRefusedError), socket.create_connection((pooler.host, pooler.port)):
            return
        time.sleep(0.02)
    raise RuntimeError(f"PgBouncer did not start: {log.read_text(errors='replace')}")
