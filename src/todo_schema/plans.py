"""What `plan` returns: what each revision would do, to which tables, and how others would notice."""

import re
from dataclasses import dataclass

from todo_schema.compatibility import Line, State, line_of
from todo_schema.reports import Report
from todo_schema.violations import Violation

_OLDER = re.compile(r"^Older packages: (.*?)(?=^[A-Z][a-z ]+: |\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class PlannedPart(Report):
    """One part of a revision.

    Attributes:
        about: What it does.
        kind: `transaction`, `concurrent` (an index, outside of a transaction), `validation` or `backfill`.
        locks: The lock that it takes on each table: `ACCESS EXCLUSIVE on tasks`. In a transaction it is queued for in
            short tries, and held for a moment; the others leave readers and writers alone while they run.
        scans: The tables that it reads from end to end.
        rewrites: The tables that it writes anew.
        known: Whether all of it was understood; if not, it may do more than is said here.

    """

    about: str
    kind: str
    locks: tuple[str, ...]
    scans: tuple[str, ...] = ()
    rewrites: tuple[str, ...] = ()
    known: bool = True

    def __str__(self) -> str:
        said = [", ".join(self.locks) or "no lock that anybody notices"]
        said += [f"reads {', '.join(self.scans)}"] if self.scans else []
        said += [f"rewrites {', '.join(self.rewrites)}"] if self.rewrites else []
        said += [] if self.known else ["and perhaps more: not all of it was understood"]
        return f"{self.kind}: {self.about} ({'; '.join(said)})"


@dataclass(frozen=True)
class TableSize(Report):
    """How large a table is now, as the server's statistics tell.

    Attributes:
        table: The table.
        rows: About how many rows it has; None where nobody has counted yet.
        bytes: How much it takes, with its indexes, in bytes.

    """

    table: str
    rows: int | None
    bytes: int

    def __str__(self) -> str:
        rows = "not counted yet" if self.rows is None else f"about {self.rows:,} rows"
        return f"{self.table}: {rows}, {self.bytes / 2**20:,.1f} MiB"


@dataclass(frozen=True)
class PlannedStep(Report):
    """A revision that `upgrade` or `contract` would apply.

    Attributes:
        revision: The revision, `001` or `c001`.
        summary: The first line of its docstring.
        details: The rest of its docstring: gain, locks, older packages, going back.
        sql: The statements that it runs.
        deferred: What it costs to leave it for later; None where the package needs it.
        parts: What it does, in order.
        tables: The tables that it works on, and how large they are now.

    """

    revision: str
    summary: str
    details: str
    sql: str
    deferred: str | None = None
    parts: tuple[PlannedPart, ...] = ()
    tables: tuple[TableSize, ...] = ()

    @property
    def older_packages(self) -> str:
        """What packages from before the revision notice of it, in its author's words."""
        told = _OLDER.search(self.details)
        return " ".join(told[1].split()) if told else ""

    def __str__(self) -> str:
        need = f" (deferred; left undone: {self.deferred})" if self.deferred else " (required)"
        lines = [f"{self.revision} {self.summary}{'' if line_of(self.revision) is Line.CONTRACT else need}"]
        lines += [f"  {part}" for part in self.parts]
        lines += [f"  {table}" for table in self.tables]
        lines += [f"  older packages: {self.older_packages}"] if self.older_packages else []
        return "\n".join(lines)


@dataclass(frozen=True)
class Plan(Report):
    """What `upgrade` would do to a database now, and what `contract` could do then.

    Attributes:
        state: How the database stands to this package.
        steps: The revisions that `upgrade` would apply, in order.
        contract: The contract revisions that `contract` would apply after them; no boot ever does.
        deferred: The revisions that an earlier call has left for later, in order.
        violations: The rows that one of them would fail on; None where nobody looked.
        unasked: The revisions whose preflight can be asked only once those before it are applied, and what it misses.

    """

    state: State
    steps: tuple[PlannedStep, ...]
    contract: tuple[PlannedStep, ...] = ()
    deferred: tuple[PlannedStep, ...] = ()
    violations: tuple[Violation, ...] | None = None
    unasked: tuple[str, ...] = ()

    def __str__(self) -> str:
        count = f"{len(self.steps)} to apply" if self.steps else "nothing to apply"
        lines = [f"{self.state}: {count}", *_indented(self.steps)]
        if self.deferred:
            lines += ["todo-schema upgrade --deferred-only would finish:", *_indented(self.deferred)]
        if self.contract:
            lines += ["todo-schema contract would then apply:", *_indented(self.contract)]
        if self.violations is not None:
            lines += [
                f"{self._consequence(violation)}  {violation.revision} {violation}"
                for violation in self.violations
            ]
            lines += [] if self.violations else ["no rows were found that a revision would fail on"]
        lines += [f"not asked yet  {revision}" for revision in self.unasked]
        return "\n".join(lines)

    def _consequence(self, violation: Violation) -> str:
        """Say what rows that are in the way come to: a boot needs no deferred revision."""
        deferred = [step.revision for step in (*self.steps, *self.deferred) if step.deferred]
        if violation.revision in deferred:
            return "stays undone"
        return "stops contract" if line_of(violation.revision) is Line.CONTRACT else "stops upgrade"


def _indented(steps: tuple[PlannedStep, ...]) -> list[str]:
    return [f"  {line}" for step in steps for line in str(step).splitlines()]
