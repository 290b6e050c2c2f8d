"""What a statement does to the tables that others use: how it locks them, and which it reads or writes anew in whole.

It is read off the text. Where the text does not tell, the worse is said: SET NOT NULL reads the table, although a
validated CHECK would spare it that, and ALTER COLUMN TYPE writes it anew.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import dropwhile
from types import MappingProxyType

from todo_schema.lock_rules import RULES, Rule
from todo_schema.parts import Lock
from todo_schema.quoting import literal
from todo_schema.sql_text import NAME, Token, block, normal, outline, split, tokens, unquoted, until

Related = Mapping[str, Collection[str]]
_NOTHING_RELATED: Related = MappingProxyType({})


@dataclass(frozen=True)
class Effect:
    """What a statement does, as far as other sessions notice.

    A table is named as the statement names it, without quotes: `tasks`, or `todo.tasks`.

    Attributes:
        known: Whether all of the statement was understood; if not, it may do anything.
        acts: What it does, in PostgreSQL's words: `CREATE INDEX`, `SET NOT NULL`. `DO` comes before those of a block.
        locks: The strongest lock on each table, view, sequence or index, but for what it creates.
        scans: The tables that it may read from end to end.
        rewrites: The tables that it may write anew.
        creates: The tables that it creates.
        drops: The tables that it drops.

    """

    known: bool = True
    acts: tuple[str, ...] = ()
    locks: tuple[tuple[str, Lock], ...] = ()
    scans: tuple[str, ...] = ()
    rewrites: tuple[str, ...] = ()
    creates: tuple[str, ...] = ()
    drops: tuple[str, ...] = ()


def effect_of(sql: str, *, related: Related = _NOTHING_RELATED) -> Effect:
    """Return what a statement does, also a `DO` block, or several statements with `;` between them.

    Args:
        sql: The text.
        related: What only a database knows, the answer to `related_query`.

    """
    return _sum(effects_of(sql, related=related))


def effects_of(sql: str, *, related: Related = _NOTHING_RELATED) -> tuple[Effect, ...]:
    """Return the same of each statement, and of each action of ALTER TABLE and each step of a block, in order."""
    try:
        return tuple(effect for part in split(tokens(sql), ";") for effect in _effects(part, related))
    except ValueError:
        return (Effect(known=False),)


def related_query(schema: str) -> str:
    """Return the query for names in a schema, each with a table that the database locks together with it.

    An index or a statistics object belongs to a table. What has a foreign key is a table, and a constraint and columns
    of it, `tasks.user_id`, which the table that they refer to is locked with.
    """
    of_schema = f"(SELECT oid FROM pg_namespace WHERE nspname = {literal(schema)})"
    return f"""
        SELECT i.relname, t.relname FROM pg_index x JOIN pg_class i ON i.oid = indexrelid
            JOIN pg_class t ON t.oid = indrelid WHERE t.relnamespace = {of_schema}
        UNION SELECT stxname, relname FROM pg_statistic_ext JOIN pg_class t ON t.oid = stxrelid
            WHERE stxnamespace = {of_schema}
        UNION SELECT t.relname || part, target.relname FROM pg_constraint c
            JOIN pg_class t ON t.oid = conrelid JOIN pg_class target ON target.oid = confrelid
            CROSS JOIN LATERAL (
                SELECT '.' || attname FROM pg_attribute WHERE attrelid = conrelid AND attnum = ANY (conkey)
                UNION VALUES (''), ('.' || conname)) AS parts (part)
            WHERE contype = 'f' AND conrelid <> confrelid AND connamespace = {of_schema}"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Types that no domain's rule hides behind; and functions that are computed once for all the rows that are there.
_TYPES = _words("""bigint bool boolean bytea char character date decimal double float4 float8 inet int int2 int4 int8
    integer interval json jsonb numeric real smallint text time timestamp timestamptz tsvector uuid varchar""")
_ONCE = _words("""now transaction_timestamp statement_timestamp current_setting timezone date_trunc make_interval lower
    upper coalesce nullif concat jsonb_build_object jsonb_build_array cast""")
# What may stand before a parenthesis where a block decides: words, and functions that do nothing but look.
_LOOKS = _words("""all and any as case count else elsif exists for format from if in join max min not obj_description on
    or random return row select substring then to_regclass to_regnamespace to_regprocedure to_regtype when where
    while""")
# What a block does beside its statements: nothing that others notice.
_STEPS = frozenset({"", "end", "null", "return", "raise", "exit", "continue"})
# FROM without a table behind it, and tables behind it, of which a function is none.
_NO_FROM = re.compile(r"\b(?:extract|substring|trim|overlay) \( [^()]*? from |\bdistinct from ")
_ITEM = rf"(?:only |lateral )?{NAME}(?![\w$.]| \()(?: (?:as )?{NAME})?"
_FROM = re.compile(rf"\b(?:from|join) (?=({_ITEM}(?: , {_ITEM})*))")
_USING = re.compile(rf"\busing (?=({_ITEM}(?: , {_ITEM})*))")


def _effects(pieces: tuple[Token, ...], related: Related) -> Iterator[Effect]:
    text = outline(pieces)
    if re.fullmatch("do (?:language plpgsql )?''(?: language plpgsql)?", text):
        (body,) = (token.constant for token in pieces if token.text == "''")
        yield Effect(acts=("DO",))
        for part in block(body):
            yield from _step(*part, related)
    elif text.startswith("alter table "):
        table, *actions = dropwhile(lambda token: token.text in {"if", "exists", "only"}, pieces[2:])
        yield from (_by_rule((*pieces[:2], table, *action), related) for action in split(actions, ","))
    else:
        yield _by_rule(pieces, related)


def _step(conditions: tuple[Token, ...], pieces: tuple[Token, ...], related: Related) -> Iterator[Effect]:
    """Yield what a step of a block does, after the conditions in front of it."""
    yield _looking(conditions)
    first, second, *_ = (*(token.text for token in pieces), "", "")
    if first in _STEPS or second == ":=":
        yield _looking(pieces)
    elif first == "execute":
        known = second == "''"
        yield from effects_of(pieces[1].constant, related=related) if known else [Effect(known=False)]
    else:
        yield from _effects(pieces, related)


def _by_rule(pieces: tuple[Token, ...], related: Related) -> Effect:
    text = outline(pieces)
    for rule in RULES:
        if match := re.fullmatch(rule.pattern, text):
            named = _of_names(rule, defaultdict(str, match.groupdict("")), related)
            return _sum([named, _reading(pieces, rule.reads), *_of_details(rule, pieces, related)])
    return Effect(known=False)


def _of_names(rule: Rule, found: Mapping[str, str], related: Related) -> Effect:
    """Return what a rule says of the names that its pattern has found."""
    tables = [*unquoted(found["table"]), *(column.rpartition(".")[0] for column in unquoted(found["column"]))]
    parts = [f"{tables[0]}.{part}" if tables else part for part in unquoted(found["of"])]
    others = [other for name in parts or tables for other in related.get(name, ()) if rule.also]
    lock = Lock(found["mode"].upper()) if found["mode"] else rule.lock
    locks = [(table, lock) for table in tables] + [(other, rule.also) for other in others]
    return Effect(
        acts=(rule.act,),
        locks=tuple((table, lock) for table, lock in locks if lock),
        scans=(*tables, *others) if rule.scans else (),
        rewrites=(*tables, *others) if rule.rewrites else (),
        creates=tuple(unquoted(found["new"])),
        drops=tuple(tables) if rule.act == "DROP TABLE" else (),
    )


def _of_details(rule: Rule, pieces: tuple[Token, ...], related: Related) -> Iterator[Effect]:
    """Yield what only the inside of a statement tells."""
    text = normal(pieces)
    default = pieces[len(until(pieces, "default")) + 1 :] if rule.act == "ADD COLUMN" else ()
    if rule.act.startswith(("CREATE TABLE", "ADD ")):
        for target in unquoted(" , ".join(re.findall(rf"\breferences ({NAME})", text))):
            scanned = (target,) if rule.scans or default else ()
            yield Effect(locks=((target, Lock.SHARE_ROW_EXCLUSIVE),), scans=scanned)
        for model in unquoted(" , ".join(re.findall(rf"[(,] like ({NAME})", text))):
            yield Effect(locks=((model, Lock.ACCESS_SHARE),))
    if rule.act == "ADD COLUMN":
        yield _column(unquoted(pieces[2].text)[0], outline(pieces), default)
    if rule.act.endswith("FUNCTION") and "language sql" in text:
        for body in (body for token in pieces for body in split(tokens(token.constant), ";")):
            yield Effect(locks=_sum([_reading(body, "definition"), *_effects(body, related)]).locks)
    if "user_catalog_table" in text:
        yield Effect(known=False)


def _column(table: str, text: str, default: tuple[Token, ...]) -> Effect:
    """Return whether a new column reads or writes all rows of its table: each of them, unless they share one value."""
    value = default[:1] + until(default[1:], "not", "null", "check", "references", "unique", "primary")
    called = set(re.findall(rf"({NAME}) \(", normal(value)))
    kind = re.match(rf"alter table {NAME} add (?:column )?(?:if not exists )?{NAME} ({NAME})", text)
    shared = called <= _ONCE | _TYPES and kind is not None and kind[1] in _TYPES
    rewrites = not shared or re.search(r" as identity\b| stored\b", text) is not None
    compared = rf" (?:check|unique|primary key|{'references' if default else 'not null'})\b"
    scans = rewrites or re.search(compared, text) is not None
    return Effect(scans=(table,) if scans else (), rewrites=(table,) if rewrites else ())


def _reading(pieces: tuple[Token, ...], what: str) -> Effect:
    """Return what it does to the tables behind FROM and JOIN to read their `rows`, or only their `definition`."""
    text = _NO_FROM.sub(" ", normal(pieces)) if what else ""
    lists = _FROM.findall(text) + (_USING.findall(text) if text.startswith("delete ") else [])
    items = [item.removeprefix("only ") for found in lists for item in found.split(" , ")]
    tables = [table for item in items for table in unquoted(item)[:1]]
    ours = tuple(table for table in tables if not table.startswith(("pg_", "information_schema.")))
    return Effect(
        locks=tuple((table, Lock.ACCESS_SHARE) for table in ours), scans=ours if what == "rows" else ()
    )


def _looking(pieces: tuple[Token, ...]) -> Effect:
    """Return what it does to evaluate a condition or a value."""
    known = set(re.findall(rf"({NAME}) \(", normal(pieces))) <= _ONCE | _TYPES | _LOOKS
    return _sum([Effect(known=known), _reading(pieces, "rows")])


def _sum(effects: Iterable[Effect]) -> Effect:
    """Return what several do together."""
    every = list(effects)
    created = {table for effect in every for table in effect.creates}
    locks: dict[str, Lock] = {}
    for table, lock in (pair for effect in every for pair in effect.locks if pair[0] not in created):
        locks[table] = max(locks.get(table, lock), lock, key=tuple(Lock).index)

    def union(field: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for effect in every for name in getattr(effect, field)))

    return Effect(
        known=all(effect.known for effect in every),
        acts=union("acts"),
        locks=tuple(locks.items()),
        scans=union("scans"),
        rewrites=union("rewrites"),
        creates=union("creates"),
        drops=union("drops"),
    )
