"""What `adopt` returns: what it found, what it would change, or has changed."""

from dataclasses import dataclass
from typing import Literal

from todo_schema.plans import TableSize
from todo_schema.quoting import option
from todo_schema.reports import Report
from todo_schema.violations import Violation


@dataclass(frozen=True)
class PlannedChange(Report):
    """One change that makes tables those of a schema version.

    Attributes:
        about: What becomes of what.
        table: The table.
        rows: About how many rows the table has; None where nobody has counted yet.
        locks: The locks that it takes: `ACCESS EXCLUSIVE on tasks`. Such a one is queued for in short tries and held
            for a moment, unless the table is rewritten; the others leave readers and writers alone.
        scans: The tables that it reads from end to end.
        rewrites: The tables that it writes anew while nobody can use them.

    """

    about: str
    table: str
    rows: int | None
    locks: tuple[str, ...]
    scans: tuple[str, ...] = ()
    rewrites: tuple[str, ...] = ()

    def __str__(self) -> str:
        rows = f"{self.table} not counted yet" if self.rows is None else f"about {self.rows:,} rows"
        said = [", ".join(self.locks) or "no lock that anybody notices"]
        said += [f"reads {', '.join(self.scans)}"] if self.scans else []
        said += [f"rewrites {', '.join(self.rewrites)}"] if self.rewrites else []
        return f"{self.table}: {self.about} ({'; '.join([*said, rows])})"


@dataclass(frozen=True)
class Adoption(Report):
    """What `adopt` found, and what it did.

    Attributes:
        answer: `recorded`: the tables have a version of ours, by this call or an earlier one. `convergeable`: `changes`
            would make them those of a schema version; nothing was done. `adopted`: they were made, and it is recorded.
        schema: The PostgreSQL schema.
        version: The schema version that the tables are, or would be, of.
        changes: What would be changed, or has been, in order.
        kept: What is somebody else's beside ours, and stays as it is.
        notes: What a person should know before.
        tables: The tables, and how large they are.
        violations: The rows that a change would fail on; while there are any, none is made.
        later: The rows that a revision would fail on which `upgrade` applies afterwards, as far as can be asked now.
        waited_seconds: How long the call waited for other processes, in seconds.

    """

    answer: Literal["recorded", "convergeable", "adopted"]
    schema: str
    version: int
    changes: tuple[PlannedChange, ...] = ()
    kept: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    tables: tuple[TableSize, ...] = ()
    violations: tuple[Violation, ...] = ()
    later: tuple[Violation, ...] = ()
    waited_seconds: float = 0.0

    def __str__(self) -> str:
        count = f"{len(self.changes)} change{'s' * (len(self.changes) != 1)}"
        said = {
            "recorded": f"schema {self.version} is recorded: nothing to change",
            "convergeable": f"convergeable to schema {self.version} by {count}; nothing was done",
            "adopted": f"adopted as schema {self.version} by {count}",
        }
        lines = [said[self.answer], *(f"  {change}" for change in self.changes)]
        lines += [f"  {table}" for table in self.tables]
        lines += [f"stays as it is  {kept}" for kept in self.kept]
        lines += [f"note  {note}" for note in self.notes]
        lines += [f"in the way  {violation}" for violation in self.violations]
        lines += [f"in the way of upgrade  {row.revision} {row}" for row in self.later]
        if self.answer == "convergeable":
            widen = " --widen-keys" if any(change.rewrites for change in self.changes) else ""
            do_it = f"to do it: todo-schema adopt --apply{widen}{option(self.schema)}"
            lines += ["mend these rows first" if self.violations else do_it]
        elif self.answer == "adopted":
            lines += [f"next: todo-schema upgrade{option(self.schema)}"]
        return "\n".join(lines)
