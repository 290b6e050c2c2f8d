"""What squawk, a linter for migrations (PyPI `squawk-cli`), says of a revision."""

import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from todo_schema.parts import Part, Transaction, messages_of

# The oldest server that the tests are run on.
_SERVER = "15.0"

# Rules that are left out, and why.
LEFT_OUT = {
    "require-lock-timeout": "the runner sets it, and tries again",
    "require-statement-timeout": "the runner allows any time on purpose, for a build or a validation",
    "prefer-robust-stmts": "the runner records each part of a revision, and goes on where it stopped",
    "ban-drop-constraint": "an expand revision may relax a rule, and operations.set_not_null drops its own CHECK",
    "ban-drop-not-null": "an expand revision may relax a rule",
}
# And those about what only packages below the floor used, or the way back takes away again.
LEFT_OUT_OF_REMOVALS = LEFT_OUT | dict.fromkeys(
    ("ban-drop-column", "ban-drop-function", "ban-drop-table", "renaming-column", "renaming-table"),
    "it may remove",
)


def complaints(parts: Sequence[Part], left_out: Iterable[str] = tuple(LEFT_OUT)) -> str:
    """Return what squawk says of the parts of a revision, a line each; nothing where it is content."""
    program = shutil.which("squawk", path=sysconfig.get_path("scripts"))
    if program is None:
        raise FileNotFoundError("squawk is not installed: pip install squawk-cli")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "revision.sql")
        file.write_text("".join(f"{line};\n" for line in _script(parts)), encoding="utf-8")
        run = subprocess.run(
            [
                program,
                f"--exclude={','.join(left_out)}",
                f"--pg-version={_SERVER}",
                "--reporter=gcc",
                file.name,
            ],
            capture_output=True,
            check=False,
            cwd=folder,
            text=True,
            timeout=30,
        )
    if run.returncode not in {0, 1}:
        raise RuntimeError(run.stderr)
    return run.stdout if run.returncode else ""


def _script(parts: Sequence[Part]) -> Iterator[str]:
    for part in parts:
        if isinstance(part, Transaction):
            yield from ("BEGIN", *part.statements, "COMMIT")
        else:
            yield from messages_of(part)
