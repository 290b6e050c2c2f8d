"""Something that happens once, at a chosen moment of what a proxy passes on."""

from collections.abc import Callable

from tests.support.proxy import Moment

WAITING_FOR_A_LOCK = (
    "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


class Fault:
    """Does something once, at one moment of one statement, known by its number or its text."""

    def __init__(self, statement: int | str, moment: Moment, act: Callable[[int], None]) -> None:
        """Take what to do, to be called with the number of the connection."""
        self.statement = statement
        self.moment = moment
        self.act = act
        self.happened = False

    def __call__(self, connection: int, number: int, sql: str, moment: Moment) -> None:
        """Do it, if this is the moment."""
        is_it = self.statement in sql if isinstance(self.statement, str) else self.statement == number
        if is_it and moment == self.moment and not self.happened:
            self.happened = True
            self.act(connection)


_ENDS = ("COMMIT", "ROLLBACK")


def moments_of(statements: dict[int, str]) -> list[tuple[int, Moment]]:
    """Before and inside each statement, and after each that ends a transaction.

    After any other is, for the server, before the next one.
    """
    moments: list[tuple[int, Moment]] = []
    for number, sql in statements.items():
        moments += [(number, "before"), (number, "inside")]
        if sql.startswith(_ENDS):
            moments.append((number, "after"))
    return moments


def some_moments_of(statements: dict[int, str], every: int) -> list[tuple[int, Moment]]:
    """One of so many moments, all those of what ends a transaction, and at least one of each kind of statement.

    Statements whose first two words are the same are of a kind: in one transaction no table is unlike another. A prime
    number meets different moments of those that come again.
    """
    moments = [
        (number, moment)
        for place, (number, moment) in enumerate(moments_of(statements))
        if place % every == 0 or statements[number].startswith(_ENDS)
    ]
    met = {_kind(statements[number]) for number, _ in moments}
    for number, sql in statements.items():
        if _kind(sql) not in met:
            met.add(_kind(sql))
            moments.append((number, "inside"))
    return moments


def _kind(sql: str) -> str:
    return " ".join(sql.split()[:2])
