"""What has to become of the columns of tables that are to be adopted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from todo_schema import operations
from todo_schema.adoption_changes import Change, Findings, Phase
from todo_schema.catalog import Catalog
from todo_schema.collecting import transact
from todo_schema.column_facts import Column, column_of, converts, is_naive, is_narrow_key
from todo_schema.parts import do_statement
from todo_schema.quoting import identifier, literal
from todo_schema.surroundings import Surroundings

if TYPE_CHECKING:
    from alembic.operations import Operations

_PREFIX = "column "


def compare(
    existing: Catalog,
    wanted: Catalog,
    later: Mapping[str, tuple[str, str]],
    around: Surroundings,
    *,
    widen_keys: bool,
) -> Findings:
    """Compare the columns of all tables.

    Args:
        existing: The catalogue of the tables.
        wanted: That of the schema version.
        later: Of columns that a later revision adds: which revision, and the fact.
        around: What stands around the tables.
        widen_keys: Whether keys of 32 bits are to become those of 64, which writes their table anew.

    """
    findings = Findings()
    for fact in sorted({*existing, *wanted}):
        if not fact.startswith(_PREFIX):
            continue
        name = fact.removeprefix(_PREFIX)
        if fact not in existing:
            findings.obstacles.append(f"{fact}: missing, needed {wanted[fact]}")
            continue
        found = column_of(existing[fact])
        if fact in wanted:
            compared = _Compared(name, found, column_of(wanted[fact]), around, widen_keys=widen_keys)
        elif fact in later:
            revision, added = later[fact]
            compared = _Compared(name, found, column_of(added), around, revision=revision)
        else:
            _beyond(findings, fact, existing[fact])
            continue
        compared.into(findings)
    return findings


def _beyond(findings: Findings, fact: str, value: str) -> None:
    """Say of a column that is none of ours whether rows can be written that know nothing of it."""
    if column_of(value).filled:
        findings.kept.append(f"{fact}: {value}")
    else:
        findings.obstacles.append(
            f"{fact}: found {value}, which todo_schema never writes: allow null in it, or give it a default"
        )


class _Compared:
    """A column beside the one that is wanted."""

    def __init__(
        self,
        name: str,
        found: Column,
        wanted: Column,
        around: Surroundings,
        *,
        revision: str = "",
        widen_keys: bool = False,
    ) -> None:
        self._name = name
        self._found = found
        self._wanted = wanted
        self._around = around
        # A column that a later revision adds becomes what that revision, and the catalogue after it, would accept.
        self._revision = revision
        self._widen = widen_keys
        self._table, _, self._column = name.partition(".")

    @property
    def _is_retyped(self) -> bool:
        """Whether its type becomes another."""
        return converts(self._found.type, self._wanted.type) or self._is_widened

    @property
    def _is_widened(self) -> bool:
        return self._widen and is_narrow_key(self._found.type, self._wanted.type)

    def into(self, findings: Findings) -> None:
        """Say what is in the way, what stays, and what is to be changed."""
        obstacles = list(self._obstacles())
        findings.obstacles += [f"column {self._name}: {obstacle}" for obstacle in obstacles]
        if obstacles:
            return
        findings.kept += [f"column {self._name}: {kept}" for kept in self._kept()]
        findings.changes += self._changes()
        if self._is_retyped:
            findings.retyped.add(self._name)
        if self._is_retyped and self._wanted.type != "text":
            findings.resorted.add(self._name)

    def _obstacles(self) -> Iterator[str]:
        found, wanted = self._found, self._wanted
        cure = f" by the time of revision {self._revision}: rename it" if self._revision else ""
        narrow = is_narrow_key(found.type, wanted.type) and wanted.identity is not None
        if found.type != wanted.type and not narrow and not converts(found.type, wanted.type):
            yield f"found {found.type}, needed {wanted.type}{cure}"
        if found.collation != wanted.collation:
            yield f"found collation {found.collation or 'of the type'}, needed {wanted.collation or 'of the type'}"
        if found.generated != wanted.generated:
            yield "found a generated column, needed one that is written"
        if found.identity and not wanted.identity:
            yield f"found generated {found.identity} as identity, needed one that is written"
        if wanted.identity and found.default and not found.is_serial:
            yield f"found default {found.default}, needed an identity or a sequence"
        yield from self._bound()

    def _bound(self) -> Iterator[str]:
        """Yield what around the column is in the way."""
        if self._wanted.identity and not self._found.identity:
            for sequence in self._around.lent.get(self._name, ()):
                if sequence in self._around.unread:
                    yield f"numbered by {sequence}, which this role may not read: GRANT SELECT ON SEQUENCE {sequence}"
        if self._is_retyped:
            for what in self._around.bound.get(self._name, ()):
                yield f"{what} reads it, whose type has to become another: drop it before, and make it again afterwards"

    def _kept(self) -> Iterator[str]:
        if is_narrow_key(self._found.type, self._wanted.type) and not self._widen:
            yield "integer, whose numbers end at 2,147,483,647; --widen-keys makes it bigint, and rewrites the table"
        if self._found.default and not self._found.is_serial and not self._wanted.default:
            yield f"its default {self._found.default}"

    def _changes(self) -> Iterator[Change]:
        if self._is_widened:
            yield self._change(
                Phase.WIDEN,
                f"{self._found.type} to {self._wanted.type}, which rewrites the table",
                self._widened,
            )
        statements = [*self._retyped(), *self._default(), *self._nullable(), *self._identity()]
        if statements:
            about = "; ".join(said for said, _ in statements)
            run = [statement for _, several in statements for statement in several]
            yield self._change(Phase.MOMENT, about, lambda op: self._transact(op, about, run))
        is_proven = self._found.not_null and self._name not in self._around.unproven
        if self._wanted.not_null and not is_proven:
            yield self._change(
                Phase.RULES,
                "not null",
                lambda op: operations.set_not_null(op, self._table, self._column),
                rule=f"{self._name} is not null",
                violating=f"{identifier(self._column)} IS NULL",
            )

    def _change(self, phase: Phase, about: str, make: Callable[[Operations], None], **rows: Any) -> Change:
        return Change(phase, self._table, f"column {self._name}: {about}", make, **rows)

    def _transact(self, op: Operations, about: str, statements: list[str]) -> None:
        transact(op, f"column {self._name}: {about}", *statements, locks=self._table)

    def _alter(self, action: str) -> str:
        return f"ALTER TABLE {identifier(self._table)} ALTER COLUMN {identifier(self._column)} {action}"

    def _widened(self, op: Operations) -> None:
        op.execute(self._alter(f"TYPE {self._wanted.type}"))
        if self._name in self._around.sequences:
            op.execute(f"ALTER SEQUENCE {self._around.sequences[self._name]} AS {self._wanted.type}")

    def _retyped(self) -> Iterator[tuple[str, list[str]]]:
        """Yield what is said, and the statements. A default would have to be cast: it goes, and comes again."""
        found, wanted = self._found, self._wanted
        if not converts(found.type, wanted.type):
            return
        drop = [self._alter("DROP DEFAULT")] if found.default else []
        change = self._alter(f"TYPE {wanted.type}")
        again = [self._alter(f"SET DEFAULT {found.default}")] if found.default and not wanted.default else []
        if is_naive(found.type, wanted.type):
            # With any other zone each row would be written anew.
            utc = "SELECT set_config('TimeZone', 'UTC', true)"
            yield f"{found.type} to {wanted.type}, the times said to be UTC", [utc, *drop, change, *again]
        else:
            yield f"{found.type} to {wanted.type}", [*drop, change, *again]

    def _default(self) -> Iterator[tuple[str, list[str]]]:
        found, wanted = self._found, self._wanted
        if wanted.default and (found.default != wanted.default or self._is_retyped):
            before = found.default if found.default not in (None, wanted.default) else None
            instead = f" instead of {before}" if before else ""
            yield f"default {wanted.default}{instead}", [self._alter(f"SET DEFAULT {wanted.default}")]

    def _nullable(self) -> Iterator[tuple[str, list[str]]]:
        if self._found.not_null and not self._wanted.not_null:
            yield "null allowed", [self._alter("DROP NOT NULL")]

    def _identity(self) -> Iterator[tuple[str, list[str]]]:
        found, wanted = self._found, self._wanted
        if not wanted.identity or found.identity == wanted.identity:
            return
        said = f"generated {wanted.identity} as identity"
        if found.identity:
            yield said, [self._alter(f"SET GENERATED {wanted.identity.upper()}")]
            return
        add = f"ADD GENERATED {wanted.identity.upper()} AS IDENTITY"
        sequence = self._around.sequences.get(self._name)
        lock = f"LOCK TABLE {identifier(self._table)} IN ACCESS EXCLUSIVE MODE"
        new = f"pg_get_serial_sequence({literal(identifier(self._table))}, {literal(self._column)})"
        if sequence is None:
            key, table = identifier(self._column), identifier(self._table)
            # What numbers were drawn there are not drawn again, whether their rows are there or not.
            lent = self._around.lent.get(self._name, ())
            drawn = "".join(f", (SELECT last_value FROM {name})" for name in lent)
            go_on = f"SELECT setval({new}, greatest(coalesce(max({key}), 0){drawn}) + 1, false) FROM {table}"
            drop = [self._alter("DROP DEFAULT")] if found.default else []
            # Or the new one would not be known as the column's.
            owned = self._around.owned.get(self._name, ())
            drop += [f"ALTER SEQUENCE {name} OWNED BY NONE" for name in owned]
            beyond = f", its numbers go on after those of {', '.join(lent)}" if lent else ""
            if not found.default:
                beyond = ", its numbers go on after the highest: who chooses them has to leave that to it from now on"
            yield f"{said}{beyond}", [lock, *drop, self._alter(add), go_on]
            return
        # The numbers go on where the sequence was, and its name stays.
        old = "todo_schema_old_sequence"
        yield (
            f"{said}, its numbers go on from {sequence}",
            [
                lock,
                self._alter("DROP DEFAULT"),
                f"ALTER SEQUENCE {sequence} OWNED BY NONE",
                f"ALTER SEQUENCE {sequence} RENAME TO {old}",
                self._alter(f"{add} (SEQUENCE NAME {sequence})"),
                _as_before(sequence, old),
                f"SELECT setval({new}, last_value, is_called) FROM {old}",
                f"DROP SEQUENCE {old}",
            ],
        )


def _as_before(sequence: str, old: str) -> str:
    """Return the statement that gives a sequence what another one had: its steps, its comment, and who may use it."""
    alter = "ALTER SEQUENCE %s INCREMENT %s %s MAXVALUE %s START %s RESTART %s CACHE %s %s"
    return do_statement(
        f"""SELECT was.*, least(was.seqmax, now.seqmax) AS highest, last_value, relacl,
           obj_description(was.seqrelid, 'pg_class') AS said INTO STRICT todo_old
    FROM {old}, pg_sequence was JOIN pg_class ON oid = was.seqrelid, pg_sequence now
    WHERE was.seqrelid = {literal(old)}::regclass AND now.seqrelid = {literal(sequence)}::regclass;
    EXECUTE format({literal(alter)}, {literal(sequence)}, todo_old.seqincrement,
        CASE WHEN todo_old.seqmin < -2147483648 THEN 'NO MINVALUE' ELSE 'MINVALUE ' || todo_old.seqmin END,
        todo_old.highest, todo_old.seqstart, todo_old.last_value, todo_old.seqcache,
        CASE WHEN todo_old.seqcycle THEN 'CYCLE' ELSE 'NO CYCLE' END);
    EXECUTE format('COMMENT ON SEQUENCE %s IS %L', {literal(sequence)}, todo_old.said);
    FOR todo_right IN SELECT privilege_type AS may, is_grantable,
            CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS who
        FROM aclexplode(todo_old.relacl) LOOP
        EXECUTE format('GRANT %s ON SEQUENCE %s TO %s%s', todo_right.may, {literal(sequence)}, todo_right.who,
            CASE WHEN todo_right.is_grantable AND todo_right.who <> 'PUBLIC' THEN ' WITH GRANT OPTION' ELSE '' END);
    END LOOP;""",
        declare="todo_old record;\n    todo_right record;",
    )
