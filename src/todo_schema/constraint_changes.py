"""What has to become of the constraints of a table that is to be adopted."""

from __future__ import annotations

import re
from functools import partial

from todo_schema import operations
from todo_schema.adoption_changes import Phase
from todo_schema.collecting import collector_of
from todo_schema.compatibility import ENTITY_TABLES
from todo_schema.parts import Validation
from todo_schema.quoting import identifier
from todo_schema.relations import OURS, Relations, repeated, unique_columns

_FOREIGN_KEY = re.compile(
    r"FOREIGN KEY \((?P<columns>.*?)\) REFERENCES (?P<target>[^(]+)\((?P<key>.*?)\)"
    r"(?: ON DELETE (?P<ondelete>[A-Z ]+))?"
)
_CHECK = "CHECK "
_NOT_VALID = " NOT VALID"


def compare(relations: Relations) -> None:
    """Compare constraints, and add what is found out."""
    left = dict(relations.their_rules)
    for name, rule in relations.rules.items():
        like = [other for other in left if left[other].removesuffix(_NOT_VALID) == rule]
        twin = name if name in like else next((other for other in like if other not in relations.rules), None)
        if twin is not None and name in left and twin != name:
            relations.obstacle(
                "constraint", name, f"found {left.pop(name)}, while {twin} is {rule}: rename that of our name"
            )
            del left[twin]
        elif twin is not None:
            _take_over(relations, twin, name, rule, is_valid=left.pop(twin) == rule)
        elif name in left and _kind(left[name]) != _kind(rule):
            relations.obstacle("constraint", name, f"found {left[name]}, needed {rule}")
            del left[name]
        else:
            _replace(relations, name, left.pop(name, None))
            _add(relations, name, rule)
    for name, rule in left.items():
        _other(relations, name, rule)


def _kind(rule: str) -> str:
    return rule.split(" ", 1)[0]


def _take_over(relations: Relations, found: str, name: str, rule: str, *, is_valid: bool) -> None:
    """Give a constraint that is ours its name, and compare the rows with it where that was not done."""
    if found != name:
        alter = f"ALTER TABLE {identifier(relations.table)}"
        rename = f"{alter} RENAME CONSTRAINT {identifier(found)} TO {identifier(name)}"
        relations.moment(f"constraint {found} is called {name}", rename)
    if not is_valid:
        told = _FOREIGN_KEY.match(rule)
        part = Validation(relations.table, name, told["target"] if told else None)
        relations.change(
            Phase.RULES, f"constraint {name} is validated", lambda op: collector_of(op).add(part)
        )


def _replace(relations: Relations, name: str, found: str | None) -> None:
    """Make room for a constraint of ours, where another of its name and kind is there.

    What adds ours drops that one first. But one that reads a column which becomes another type has to go before, or all
    rows would be compared with it while nobody can write.
    """
    if found is not None and relations.columns(name) & relations.retyped:
        drop = partial(operations.drop_constraint, name=name, table=relations.table)
        relations.change(Phase.MOMENT, f"constraint {name} makes room for ours: {found}", drop)


def _add(relations: Relations, name: str, rule: str) -> None:
    """Say how a constraint is made, and which rows would break it."""
    table = relations.table
    add = partial(relations.change, Phase.RULES, f"constraint {name}: {rule}", rule=name)
    columns = unique_columns(rule)
    if rule.startswith(_CHECK):
        condition = rule.removeprefix(_CHECK)
        add(lambda op: operations.add_check(op, name, table, condition), violating=f"NOT {condition}")
    elif told := _FOREIGN_KEY.fullmatch(rule):
        keys, target, ondelete = _pairs(told), told["target"], told["ondelete"]
        here, there = [pair[0] for pair in keys], [pair[1] for pair in keys]
        add(
            lambda op: operations.add_foreign_key(op, name, table, here, target, there, ondelete=ondelete),
            violating=_dangling(table, target, keys),
        )
    elif columns and rule.startswith("UNIQUE "):
        listed = columns[1:-1].split(", ")
        add(lambda op: operations.add_unique(op, name, table, listed), violating=repeated(table, columns))
    else:
        relations.obstacle("constraint", name, f"missing, needed {rule}")


def _pairs(told: re.Match[str]) -> list[tuple[str, str]]:
    return list(zip(told["columns"].split(", "), told["key"].split(", "), strict=True))


def _dangling(table: str, target: str, keys: list[tuple[str, str]]) -> str:
    """Return the condition of rows that refer to none."""
    refers = " AND ".join(f"{identifier(column)} IS NOT NULL" for column, _ in keys)
    same = " AND ".join(
        f"key.{identifier(other)} = {identifier(table)}.{identifier(column)}" for column, other in keys
    )
    return f"{refers} AND NOT EXISTS (SELECT FROM {identifier(target)} AS key WHERE {same})"


def _other(relations: Relations, name: str, rule: str) -> None:
    """Say what becomes of a constraint that is none of ours."""
    columns = relations.columns(name)
    drop = partial(operations.drop_constraint, name=name, table=relations.table)
    told = _FOREIGN_KEY.match(rule)
    unique = unique_columns(rule)
    is_check = rule.startswith(_CHECK)
    if name.startswith(OURS):
        relations.change(Phase.LEFTOVERS, f"constraint {name} of an earlier call is dropped", drop)
    elif told and _is_superseded(relations, told):
        # A table of another schema is none that we lock, nor does anybody write to it and ours in circles.
        target = None if "." in told["target"] else told["target"]
        relations.change(
            Phase.LEFTOVERS, f"constraint {name} is replaced by ours: {rule}", partial(drop, target=target)
        )
    elif is_check and columns and columns <= _checked(relations):
        relations.change(Phase.MOMENT, f"constraint {name} is replaced by ours: {rule}", drop)
    elif unique and relations.keeps_unique(unique):
        relations.leftover("constraint", name, rule, drop)
    elif columns & (relations.retyped if is_check else relations.resorted):
        what = "a column of it has to become another type: drop it before, and make it again afterwards"
        relations.obstacle("constraint", name, f"found {rule}, and {what}")
    else:
        relations.keep("constraint", name, rule)


def _is_superseded(relations: Relations, told: re.Match[str]) -> bool:
    """Tell whether a foreign key of ours is there for theirs: of the same columns, or of these and more.

    Beside one of more columns theirs may stay, unless it would keep a row from being deleted that ours would not.
    """
    keyed = {ours["columns"] for ours in map(_FOREIGN_KEY.match, relations.rules.values()) if ours}
    if told["columns"] in keyed:
        # Beside ours there may be another that leads elsewhere, to the users of a service for signing in.
        return told["target"] in ENTITY_TABLES
    columns = set(told["columns"].split(", "))
    holds = told["ondelete"] != "CASCADE" and told["target"] in ENTITY_TABLES
    return holds and any(columns <= set(ours.split(", ")) for ours in keyed)


def _checked(relations: Relations) -> set[str]:
    """Return the columns that CHECKs of ours speak of."""
    checks = " ".join(rule for rule in relations.rules.values() if rule.startswith(_CHECK))
    return set(re.findall(r"\w+", re.sub(r"'[^']*'", "", checks))) & relations.ours
