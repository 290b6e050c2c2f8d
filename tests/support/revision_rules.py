"""What a revision file must be before it is released, read off its text: no file is imported."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.processes import SOURCE

FOLDERS = {"expand": "versions", "contract": "contract"}
_TEMPLATE = re.findall(
    r"^(?:Gain|Locks|Older packages|Going back): .*$",
    (SOURCE / "todo_schema" / "migrations" / "script.py.mako").read_text(encoding="utf-8"),
    re.MULTILINE,
)
PARTS = ["Gain", "Locks", "Older packages", "Going back"]
# What a revision imports must not change under it, because it never changes itself.
STABLE = {"alembic", "collections", "sqlalchemy", "todo_schema.operations"}
# A revision may also look before it is applied.
PREFLIGHT = {"preflight": "connection: sa.Connection"}


class RevisionFile:
    """One file, and what it says."""

    def __init__(self, path: Path) -> None:
        """Read it."""
        self.path = path
        self.text = path.read_text(encoding="utf-8")
        self._tree = ast.parse(self.text)

    @property
    def constants(self) -> dict[str, object]:
        """What it gives names to."""
        assigned = [node for node in self._tree.body if isinstance(node, ast.Assign)]
        return {ast.unparse(node.targets[0]): ast.literal_eval(node.value) for node in assigned}

    @property
    def functions(self) -> dict[str, str]:
        """The parameters of each public function."""
        functions = [node for node in self._tree.body if isinstance(node, ast.FunctionDef)]
        return {node.name: ast.unparse(node.args) for node in functions if not node.name.startswith("_")}

    @property
    def imports(self) -> set[str]:
        """The packages that it imports, anywhere; of ours the module."""
        imported = set()
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                module = "." * node.level + str(node.module)
                # `from todo_schema import operations` is the module, as `from todo_schema.operations import …` is.
                inside = {f"todo_schema.{alias.name}" for alias in node.names}
                imported |= inside if module == "todo_schema" else {module}
        return {name if name.startswith("todo_schema.") else name.split(".")[0] or name for name in imported}

    def number(self, name: str) -> int:
        """A number that it states, 0 where it does not."""
        value = self.constants.get(name)
        return value if isinstance(value, int) else 0

    def problems_of_form(self) -> Iterator[str]:
        """Say what is wrong with it whatever its line."""
        summary, _, details = str(ast.get_docstring(self._tree)).partition("\n\n")
        if "\n" in summary or not summary.endswith("."):
            yield "does not begin with a sentence"
        if re.findall(r"^([A-Z][a-z ]+): \S", details, flags=re.MULTILINE) != PARTS:
            yield f"does not say {', '.join(PARTS)}, in that order"
        left = [text for text in _TEMPLATE if text in details.splitlines()]
        if left:
            yield f"still says what it was written with: {', '.join(left)}"
        both = dict.fromkeys(("upgrade", "downgrade"), "op: Operations")
        if self.functions not in (both, both | PREFLIGHT):
            yield "does not go up and down on the operations that it is given, with at most a preflight beside"
        if "deferred" in self.constants and not re.match(r"\S.*\S", str(self.constants["deferred"] or "")):
            yield "is deferred, and does not say what it costs to leave it"
        if not self.imports <= STABLE:
            yield f"imports {', '.join(sorted(self.imports - STABLE))}"
        if not self.text.isascii():
            yield "is not ASCII, and a database in LATIN1 could not take it"
        if "depends_on" in self.constants:
            yield "depends on a revision: Alembic would remove that one's row"


def broken_rules(migrations: Path, newest: int) -> list[str]:
    """Say what is wrong with the revisions in a folder of migrations, a line for each.

    Args:
        migrations: The folder.
        newest: The schema version of the package.

    """
    found = {line: _files(migrations / folder) for line, folder in FOLDERS.items()}
    problems = [problem for line, files in found.items() for problem in _problems_of_line(line, files)]
    if len(found["expand"]) != newest:
        problems.append(f"{len(found['expand'])} expand revisions, and SCHEMA_VERSION = {newest}")
    problems += _problems_of_deferred(found)
    problems += _problems_of_contracts(found["contract"], migrations / "catalog", newest)
    catalogues = {path.stem for path in (migrations / "catalog").iterdir()}
    numbers = {file.path.name.split("_")[0] for files in found.values() for file in files}
    problems += [f"{name}: has no catalogue" for name in sorted(numbers - catalogues)]
    return problems + [f"catalog/{name}: belongs to no revision" for name in sorted(catalogues - numbers)]


def _files(folder: Path) -> list[RevisionFile]:
    return [RevisionFile(path) for path in sorted(folder.glob("*.py"))]


def _problems_of_line(line: str, files: list[RevisionFile]) -> Iterator[str]:
    before = None
    for number, file in enumerate(files, start=1):
        revision = f"{number:03d}" if line == "expand" else f"c{number:03d}"
        constants = {"revision": revision, "down_revision": before}
        constants |= {} if before else {"branch_labels": line}
        if not re.fullmatch(rf"{revision}_[a-z0-9_]+\.py", file.path.name):
            yield f"{file.path.name}: is not named {revision}_ and what it does"
        stated = {name: value for name, value in file.constants.items() if name not in {"requires", "floor"}}
        for name, value in constants.items():
            if name not in stated or stated[name] != value:
                yield f"{file.path.name}: {name} is not {value!r}"
        if before and "branch_labels" in stated:
            yield f"{file.path.name}: only the first revision of a line names it"
        yield from (f"{file.path.name}: {problem}" for problem in file.problems_of_form())
        if line == "expand" and {"requires", "floor"} & file.constants.keys():
            yield f"{file.path.name}: requires something or sets a floor, as only a contract revision may"
        before = revision


def _problems_of_deferred(found: dict[str, list[RevisionFile]]) -> Iterator[str]:
    deferred = {file.path.name.split("_")[0] for file in found["expand"] if "deferred" in file.constants}
    for line, files in found.items():
        for file in files:
            if line == "contract" and "deferred" in file.constants:
                yield f"{file.path.name}: is deferred, as only an expand revision may be"
            builds_on = file.constants.get("builds_on", ())
            if not isinstance(builds_on, tuple):
                yield f"{file.path.name}: builds_on is no tuple of revisions"
                continue
            for name in builds_on:
                if name not in deferred or (line == "expand" and name >= file.path.name.split("_")[0]):
                    yield f"{file.path.name}: builds on {name}, which is no deferred revision before it"


def _problems_of_contracts(files: list[RevisionFile], catalogues: Path, newest: int) -> Iterator[str]:
    requires_before = floor_before = 1
    for file in files:
        requires, floor = file.number("requires"), file.number("floor")
        if not 1 <= floor <= requires <= newest:
            yield f"{file.path.name}: not 1 <= floor <= requires <= SCHEMA_VERSION"
        if requires < requires_before:
            yield f"{file.path.name}: requires less than the revision before"
        if floor < floor_before:
            yield f"{file.path.name}: its floor is below that of the revision before"
        requires_before, floor_before = requires, floor
        recorded = catalogues / f"{file.path.name.split('_')[0]}.txt"
        stated = [f"requires = {requires}", f"floor = {floor}"]
        if recorded.exists() and recorded.read_text(encoding="utf-8").splitlines()[:2] != stated:
            yield f"{recorded.name}: does not repeat requires and floor"
