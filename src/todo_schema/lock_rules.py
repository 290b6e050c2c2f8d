"""What statements of each form do to the tables that others use: the first form that fits tells.

Compared with what the server does, statement by statement, in the tests.
"""

from typing import NamedTuple

from todo_schema.parts import Lock
from todo_schema.sql_text import NAME, NAMES


class Rule(NamedTuple):
    """What the statements of one form do.

    Attributes:
        act: What they are called.
        pattern: What their whole outline matches. It calls a table that they change `table`, or a column of it
            `column`, a part of that table `of`, a table that they create `new`, and a mode that they name `mode`.
        lock: The lock on that table.
        also: The lock on what only a database knows to be related to those names.
        scans: Whether the tables may be read from end to end.
        rewrites: Whether they may be written anew.
        reads: What they read of the tables behind FROM and JOIN: `rows`, or their `definition`.

    """

    act: str
    pattern: str
    lock: Lock | None = None
    also: Lock | None = None
    scans: bool = False
    rewrites: bool = False
    reads: str = ""


_READ, _ROWS, _WRITE = Lock.ACCESS_SHARE, Lock.ROW_SHARE, Lock.ROW_EXCLUSIVE
_LIGHT, _SHARE, _STRONG, _FULL = (
    Lock.SHARE_UPDATE_EXCLUSIVE,
    Lock.SHARE,
    Lock.SHARE_ROW_EXCLUSIVE,
    Lock.ACCESS_EXCLUSIVE,
)
_IF, _IFN, _ANY = "(?:if exists )?", "(?:if not exists )?", "(?: .*)?"
_ONE, _SOME, _COLUMN = rf"(?P<table>{NAME})", rf"(?P<table>{NAMES})", rf"(?P<column>{NAME})"
_NEW = rf"create (?:temp |temporary |unlogged )?table {_IFN}(?P<new>{NAME})"
_INDEX = rf"{_IFN}(?:(?!concurrently ){NAME} )?on (?:only )?{_ONE} (?:using {NAME} )?\(\){_ANY}"
_TRIGGER = rf"(?:constraint )?trigger {NAME} .* on {_ONE} .*"
_ROUTINE = "(?:function|procedure)"
_OTHER = rf"(?:{_ROUTINE}|type|domain|schema|database|language|extension|role|statistics|all)"

_STATEMENTS = (
    Rule("CREATE TABLE AS", rf"{_NEW}(?: \(\))? as .*", reads="rows"),
    Rule("CREATE TABLE", rf"{_NEW} \(\)(?: (?:with|using|tablespace|on commit|partition by) .*)?"),
    Rule("CREATE INDEX CONCURRENTLY", rf"create (?:unique )?index concurrently {_INDEX}", _LIGHT, scans=True),
    Rule("CREATE INDEX", rf"create (?:unique )?index {_INDEX}", _SHARE, scans=True),
    Rule("CREATE OR REPLACE TRIGGER", rf"create or replace {_TRIGGER}", _STRONG, reads="definition"),
    Rule("CREATE TRIGGER", rf"create {_TRIGGER}", _STRONG, reads="definition"),
    Rule("CREATE OR REPLACE FUNCTION", rf"create or replace {_ROUTINE} .*"),
    Rule("CREATE FUNCTION", rf"create {_ROUTINE} .*"),
    Rule("CREATE SEQUENCE", rf"create sequence {_IFN}{NAME}{_ANY} owned by (?!none){_COLUMN}{_ANY}", _READ),
    Rule("CREATE SEQUENCE", rf"create sequence {_IFN}{NAME}{_ANY}"),
    Rule("CREATE TYPE", rf"create (?:type|domain) {NAME}{_ANY}"),
    Rule("CREATE SCHEMA", rf"create schema {_IFN}{NAME}"),
    Rule("CREATE VIEW", rf"create view {NAME} (?:\(\) )?as .*", reads="definition"),
    Rule(
        "CREATE OR REPLACE VIEW", rf"create or replace view {_ONE} (?:\(\) )?as .*", _FULL, reads="definition"
    ),
    Rule("CREATE STATISTICS", rf"create statistics {_IFN}(?:{NAME} )?(?:\(\) )?on .* from {_ONE}", _LIGHT),
    Rule("CREATE POLICY", rf"create policy {NAME} on {_ONE}{_ANY}", _FULL, reads="definition"),
    Rule("DROP TABLE", rf"drop table {_IF}{_SOME}", _FULL, _FULL),
    Rule("DROP INDEX CONCURRENTLY", rf"drop index concurrently {_IF}{_SOME}", _LIGHT, _LIGHT),
    Rule("DROP INDEX", rf"drop index {_IF}{_SOME}", _FULL, _FULL),
    Rule("DROP TRIGGER", rf"drop trigger {_IF}{NAME} on {_ONE}", _FULL),
    Rule("DROP POLICY", rf"drop policy {_IF}{NAME} on {_ONE}", _FULL),
    Rule("DROP VIEW", rf"drop view {_IF}{_SOME}", _FULL),
    Rule("DROP SEQUENCE", rf"drop sequence {_IF}{_SOME}", _FULL),
    Rule("DROP STATISTICS", rf"drop statistics {_IF}(?P<of>{NAMES})", None, _LIGHT),
    Rule("DROP FUNCTION", rf"drop {_ROUTINE} {_IF}{NAME}(?: \(\))?"),
    Rule("DROP TYPE", rf"drop (?:type|domain) {_IF}{NAMES}"),
    Rule("ALTER INDEX", rf"alter index {_IF}{_ONE} (?:rename to {NAME}|(?:re)?set \(\))", _LIGHT),
    Rule("ALTER SEQUENCE", rf"alter sequence {_IF}{_ONE} (?!.*\bowned\b).*", _STRONG),
    Rule("ALTER VIEW", rf"alter view {_IF}{_ONE} .*", _FULL),
    Rule("ALTER TRIGGER", rf"alter trigger {NAME} on {_ONE} rename to {NAME}", _FULL),
    Rule("ALTER POLICY", rf"alter policy {NAME} on {_ONE} .*", _FULL, reads="definition"),
    Rule("ALTER FUNCTION", rf"alter {_ROUTINE} .*"),
    Rule("ALTER TYPE", rf"alter type {NAME} (?:add value|rename value|rename to) .*"),
    Rule("COMMENT", rf"comment on (?:table|view|index|sequence) {_ONE} is .*", _LIGHT),
    Rule("COMMENT", rf"comment on column {_COLUMN} is .*", _LIGHT),
    Rule("COMMENT", rf"comment on (?:constraint|trigger|policy) {NAME} on {_ONE} is .*", _READ),
    Rule("COMMENT", rf"comment on {_OTHER} .*"),
    Rule("INSERT", rf"insert into {_ONE} .*", _WRITE, reads="rows"),
    Rule("UPDATE", rf"update (?:only )?{_ONE} .*", _WRITE, scans=True, reads="rows"),
    Rule("DELETE", rf"delete from (?:only )?{_ONE}{_ANY}", _WRITE, reads="rows"),
    Rule("LOCK TABLE", rf"lock (?:table )?{_SOME}(?: in (?P<mode>[a-z ]+) mode)?(?: nowait)?", _FULL),
    Rule(
        "TRUNCATE",
        rf"truncate (?:table )?(?:only )?{_SOME}(?: (?:restart|continue) identity)?",
        _FULL,
        rewrites=True,
    ),
    Rule(
        "VACUUM FULL", rf"vacuum full (?:freeze |verbose |analyze )*{_ONE}", _FULL, scans=True, rewrites=True
    ),
    Rule("VACUUM", rf"vacuum (?:freeze |verbose |analyze )*{_ONE}", _LIGHT, scans=True),
    Rule("ANALYZE", rf"analyze (?:verbose )?{_ONE}(?: \(\))?", _LIGHT),
    Rule("CLUSTER", rf"cluster (?:verbose )?{_ONE}(?: using {NAME})?", _FULL, scans=True, rewrites=True),
    Rule("REINDEX CONCURRENTLY", rf"reindex (?:table|index) concurrently {_ONE}", _LIGHT, _LIGHT, scans=True),
    Rule("REINDEX", rf"reindex table {_ONE}", _SHARE, scans=True),
    Rule("REINDEX", rf"reindex index {_ONE}", _FULL, _SHARE, scans=True),
    Rule("GRANT", rf"(?:grant|revoke) .* on {_OTHER} .*"),
    Rule("GRANT", rf"(?:grant|revoke) .* on (?:table |sequence )?{_SOME} (?:to|from) .*", _READ),
    Rule("SET", r"(?:set|reset) .*"),
)

_NAMED = rf"add (?:constraint {NAME} )?"
_OF = rf"(?P<of>{NAME})"
_ALTER = rf"alter (?:column )?{NAME}"
_NO_COLUMN = "(?!(?:constraint|check|unique|primary|foreign|exclude|not|column|if) )"
_ACTIONS = (
    Rule("ADD CHECK NOT VALID", rf"{_NAMED}check \(\) not valid", _FULL),
    Rule("ADD CHECK", rf"{_NAMED}check \(\){_ANY}", _FULL, scans=True),
    Rule("ADD NOT NULL", rf"{_NAMED}not null .*", _FULL, scans=True),
    Rule("ADD FOREIGN KEY NOT VALID", rf"{_NAMED}foreign key \(\) references .* not valid", _STRONG),
    Rule("ADD FOREIGN KEY", rf"{_NAMED}foreign key \(\) references .*", _STRONG, scans=True),
    Rule("ADD UNIQUE USING INDEX", rf"{_NAMED}unique using index .*", _FULL),
    Rule("ADD UNIQUE", rf"{_NAMED}unique (?:nulls (?:not )?distinct )?\(\){_ANY}", _FULL, scans=True),
    # It reads the table only where a column of the index is not NOT NULL yet.
    Rule("ADD PRIMARY KEY", rf"{_NAMED}primary key (?:\(\)|using index .*){_ANY}", _FULL, scans=True),
    Rule("ADD EXCLUDE", rf"{_NAMED}exclude .*", _FULL, scans=True),
    Rule("ADD COLUMN", rf"add (?:column )?{_IFN}{_NO_COLUMN}{NAME} .*", _FULL),
    Rule("VALIDATE CONSTRAINT", rf"validate constraint {_OF}", _LIGHT, _ROWS, scans=True),
    Rule("ALTER COLUMN TYPE", rf"{_ALTER} (?:set data )?type .*", _FULL, scans=True, rewrites=True),
    Rule("SET NOT NULL", rf"{_ALTER} set not null", _FULL, scans=True),
    Rule("SET STATISTICS", rf"{_ALTER} (?:set statistics (?:- )?\d+|(?:re)?set \(\))", _LIGHT),
    Rule("SET DEFAULT", rf"{_ALTER} (?:set default .*|drop default)", _FULL),
    Rule("DROP NOT NULL", rf"{_ALTER} drop not null", _FULL),
    Rule("SET STORAGE", rf"{_ALTER} set (?:storage|compression) {NAME}", _FULL),
    Rule(
        "SET IDENTITY",
        rf"{_ALTER} (?:(?:add|set) generated (?:always|by default)|drop identity){_ANY}",
        _FULL,
    ),
    Rule("DROP COLUMN", rf"drop (?:column )?{_IF}(?!(?:constraint|if) ){_OF}", _FULL, _FULL),
    Rule("DROP CONSTRAINT", rf"drop constraint {_IF}{_OF}", _FULL, _FULL),
    Rule("RENAME CONSTRAINT", rf"rename constraint {NAME} to {NAME}", _FULL),
    Rule("RENAME TABLE", rf"rename to {NAME}", _FULL),
    Rule("RENAME COLUMN", rf"rename (?:column )?{NAME} to {NAME}", _FULL),
    Rule("SET SCHEMA", rf"set schema {NAME}", _FULL),
    Rule("ROW LEVEL SECURITY", r"(?:enable|disable|force|no force) row level security", _FULL),
    Rule("ENABLE TRIGGER", rf"(?:enable|disable) (?:always |replica )?trigger {NAME}", _STRONG),
    Rule("SET STORAGE PARAMETERS", r"(?:re)?set \(\)", _LIGHT),
    Rule("SET LOGGED", r"set (?:un)?logged", _FULL, scans=True, rewrites=True),
    Rule("CLUSTER ON", rf"(?:cluster on {NAME}|set without cluster)", _LIGHT),
    Rule("REPLICA IDENTITY", r"replica identity .*", _FULL),
    Rule("OWNER TO", rf"owner to {NAME}", _FULL),
)
RULES = _STATEMENTS + tuple(r._replace(pattern=rf"alter table {_ONE} {r.pattern}") for r in _ACTIONS)
