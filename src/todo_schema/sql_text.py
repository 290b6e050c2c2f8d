"""SQL as words, names, signs and constants: enough to see what form a statement has, not what it means."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_PART = r'(?:"(?:[^"]|"")+"|[^\W\d][\w$]*)'
# A name as `normal` writes it, and a list of them.
NAME = rf"{_PART}(?:\.{_PART})*"
NAMES = rf"{NAME}(?: , {NAME})*"

_LEXEME = re.compile(
    rf"""\s+ | --[^\n]* | /\*(?:(?!/\*).)*?\*/
      | \$(?P<tag>(?:[^\W\d]\w*)?)\$(?P<dollar>.*?)\$(?P=tag)\$
      | [eE]'(?P<escaped>(?:[^'\\]|''|\\.)*)' | '(?P<plain>(?:[^']|'')*)'
      | (?P<name>{_PART}(?:\s*\.\s*(?:{_PART}|\*))*) | (?P<other>\d[\w.]*|:=|[^\w'"$])""",
    re.DOTALL | re.VERBOSE,
)
_CONDITIONS = {"if": "then", "elsif": "then", "when": "then", "while": "loop", "for": "loop"}


class Token(NamedTuple):
    """A piece of a statement.

    Attributes:
        text: A word in lower case, a name without spaces, a sign, or `''` for any text constant.
        constant: What a text constant says.

    """

    text: str
    constant: str = ""


def tokens(sql: str) -> tuple[Token, ...]:
    """Return the pieces of a text, without its comments. Raises ValueError where it is none of SQL."""
    return tuple(_tokens(sql))


def _tokens(sql: str) -> Iterator[Token]:
    at = 0
    while at < len(sql):
        match = _LEXEME.match(sql, at)
        if match is None:
            raise ValueError(sql[at:])
        at = match.end()
        kind = match.lastgroup
        said = match[kind] if kind else ""
        match kind:
            case "name":
                parts = re.findall(rf"{_PART}|\*", said)
                yield Token(".".join(part if part[0] == '"' else part.lower() for part in parts))
            case "other":
                yield Token(said)
            case "dollar":
                yield Token("''", said)
            case "plain" | "escaped":
                said = re.sub(r"\\(.)", r"\1", said, flags=re.DOTALL) if kind == "escaped" else said
                yield Token("''", said.replace("''", "'"))


def _with_depth(pieces: Iterable[Token]) -> Iterator[tuple[Token, int]]:
    depth = 0
    for token in pieces:
        depth -= token.text in {")", "]"}
        yield token, depth
        depth += token.text in {"(", "["}


def split(pieces: Iterable[Token], separator: str) -> list[tuple[Token, ...]]:
    """Split at a sign that is in no parentheses; what is empty is left out."""
    parts: list[list[Token]] = [[]]
    for token, depth in _with_depth(pieces):
        if depth == 0 and token.text == separator:
            parts.append([])
        else:
            parts[-1].append(token)
    return [tuple(part) for part in parts if part]


def normal(pieces: Iterable[Token]) -> str:
    """Return the text with a space between any two pieces."""
    return " ".join(token.text for token in pieces)


def outline(pieces: Iterable[Token]) -> str:
    """Return the normal text with nothing in its parentheses: `create index ix_tasks on tasks ()`."""
    outer = normal(token for token, depth in _with_depth(pieces) if depth == 0)
    return outer.replace("( )", "()").replace("[ ]", "[]")


def until(pieces: Iterable[Token], *words: str) -> tuple[Token, ...]:
    """Return what comes before the first of some words that is in no parentheses."""
    before = []
    for token, depth in _with_depth(pieces):
        if depth == 0 and token.text in words:
            break
        before.append(token)
    return tuple(before)


def unquoted(names: str) -> list[str]:
    """Return each name of a list as it is: `todo."Users"` is `todo.Users`."""
    found = [re.findall(_PART, name) for name in re.findall(NAME, names)]
    return [".".join(p[1:-1].replace('""', '"') if p[0] == '"' else p for p in parts) for parts in found]


def block(body: str) -> list[tuple[tuple[Token, ...], tuple[Token, ...]]]:
    """Return the statements of a block of PL/pgSQL, each behind the conditions that decide whether it is run.

    Raises:
        ValueError: It is no such block.

    """
    pieces = tokens(body)
    declarations = until(pieces, "begin")
    if len(declarations) == len(pieces):
        raise ValueError(body)
    return [(declarations, ()), *map(_decided, split(pieces[len(declarations) :], ";"))]


def _decided(part: tuple[Token, ...]) -> tuple[tuple[Token, ...], tuple[Token, ...]]:
    start = 0
    while start < len(part) and part[start].text in {"begin", "else", "loop", "exception", *_CONDITIONS}:
        end = _CONDITIONS.get(part[start].text)
        start += len(until(part[start:], end)) + 1 if end else 1
    return part[:start], part[start:]
