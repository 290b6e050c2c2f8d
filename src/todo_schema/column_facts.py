"""What a catalogue says of a column, taken apart, and which of it can be changed while others read and write."""

import re
from dataclasses import dataclass, replace

_FACT = re.compile(
    r"(?P<type>.*?)(?: collate (?P<collation>.+?))?(?P<not_null> not null)?"
    r"(?: generated (?P<identity>by default|always) as identity| generated as (?P<generated>.*)"
    r"| default (?P<default>.*))?",
    re.DOTALL,
)
_VARCHAR = re.compile(r"character varying(?:\(\d+\))?")
_NAIVE = re.compile(r"timestamp(?:\(\d\))? without time zone")
_ROUNDED = re.compile(r"timestamp\(\d\) with time zone")
_AWARE = "timestamp with time zone"


@dataclass(frozen=True)
class Column:
    """A column as its fact in a catalogue describes it.

    Attributes:
        type: The type in PostgreSQL's words: `character varying(20)`.
        collation: A collation other than the type's own; None for none.
        not_null: Whether NULL is forbidden.
        identity: `by default` or `always`; None where it is no identity.
        generated: The expression of a generated column; None for none.
        default: The default as SQL; None for none.

    """

    type: str
    collation: str | None
    not_null: bool
    identity: str | None
    generated: str | None
    default: str | None

    @property
    def is_serial(self) -> bool:
        """Whether a sequence of its own numbers it."""
        return self.default is not None and self.default.startswith("nextval(")

    @property
    def filled(self) -> bool:
        """Whether a row may be written that says nothing of it."""
        filled = self.default or self.identity or self.generated
        return filled is not None or not self.not_null


def column_of(fact: str) -> Column:
    """Return what the fact of a column says: `text not null default 'x'::text`."""
    told = _FACT.fullmatch(fact)
    assert told is not None  # noqa: S101  # each part of it may be absent
    return Column(
        told["type"],
        told["collation"],
        told["not_null"] is not None,
        told["identity"],
        told["generated"],
        told["default"],
    )


def is_naive(found: str, wanted: str) -> bool:
    """Tell whether times without a zone are to become times with one."""
    return wanted == _AWARE and _NAIVE.fullmatch(found) is not None


def converts(found: str, wanted: str) -> bool:
    """Tell whether a type becomes another without a row being written anew, and every value keeps its meaning.

    From `varchar` to `text` nothing is rewritten; nor from `timestamp` to `timestamptz` where the session's time zone
    is UTC: https://www.postgresql.org/docs/release/12.0/.
    """
    if wanted == "text":
        return _VARCHAR.fullmatch(found) is not None
    return is_naive(found, wanted) or (wanted == _AWARE and _ROUNDED.fullmatch(found) is not None)


def is_narrow_key(found: str, wanted: str) -> bool:
    """Tell whether a number has half the width that is wanted: all that fits is right, and there is room for years."""
    return (found, wanted) == ("integer", "bigint")


def serves(found: str, wanted: str) -> bool:
    """Tell whether a column does all that our packages need of the one that is wanted, though it is not the same.

    It may have a default where ours has none, or be a number of half the width; adopted tables have such columns.
    """
    here, there = column_of(found), column_of(wanted)
    default = here.default if there.default is None and not here.is_serial else there.default
    kind = here.type if there.identity and is_narrow_key(here.type, there.type) else there.type
    return here == replace(there, default=default, type=kind)
