"""Fills a database, at schema 1 or at any later one, with the rows that the schema was designed by, at any scale."""

import argparse
import time
from typing import NamedTuple
from uuid import UUID

import psycopg

# At scale 1.
USERS = 20_000
TASKS = 1_000_000
CONVERSATIONS = 200_000
MESSAGES = 3_000_000

# At scale 1 ten users have 12,000 tasks and 2,000 conversations each, and twenty conversations are never left. On a
# smaller scale there are fewer of them, of the same size for as long as that leaves the others most of the rows.
_HEAVY_USERS = 10
_TASKS_OF_HEAVY_USERS = 0.12
_TASKS_OF_A_HEAVY_USER = 12_000
_CONVERSATIONS_OF_HEAVY_USERS = 0.1
_CONVERSATIONS_OF_A_HEAVY_USER = 2_000
_HEAVY_CONVERSATIONS = 20
_HEAVY_CONVERSATION = 6_000
_MESSAGES_OF_A_HEAVY_CONVERSATION = 0.2

# How many of each kind `Filled` names.
_NAMED = 20

# These spread what they multiply evenly, in any number: so nothing is left to chance, nor to an order. There are two,
# because how long a conversation is must not depend on when it began.
_GOLDEN = "({} * 0.6180339887498949) %% 1"
_SILVER = "({} * 0.4142135623730951) %% 1"
# Half of the conversations have at most 11 messages, and one in a hundred has more than 73.
_SIZE = "greatest(1, round(11 * power(spread / (1 - spread), 0.412)))::int"

_ID = "md5('{} ' || {})::uuid"
_USER = _ID.format("user", "{}")
_AT = f"timestamptz '2024-01-01 00:00:00+00' + ({_SILVER}) * interval '700 days'"
_PAUSE = "interval '10 min'"

_INSERT_USERS = f"""
INSERT INTO users (id, email, created_at, updated_at)
SELECT {_USER.format("n")}, 'person-' || n || '@example.com', at, at
FROM generate_series(1, %(users)s) AS n, LATERAL (SELECT {_AT.format("n")} AS at) AS joined
"""
# The last conversations are cut off, or left empty, so that the messages are as many as they are to be.
_PLAN_CONVERSATIONS = f"""
CREATE TEMPORARY TABLE planned ON COMMIT DROP AS
SELECT n, is_long, {_ID.format("conversation", "n")} AS id, {_USER.format("owner")} AS user_id, {_AT.format("n")} AS at,
    least(size, greatest(0, %(messages)s - (sum(size) OVER (ORDER BY n) - size)))::int AS size
FROM (
    SELECT n, is_long, CASE WHEN is_long THEN %(long)s + 10 * (n - %(of_heavy)s) ELSE {_SIZE} END AS size,
        CASE WHEN n <= %(of_heavy)s THEN 1 + n %% %(heavy)s
            ELSE 1 + %(heavy)s + n %% (%(users)s - %(heavy)s) END AS owner
    FROM (
        SELECT n, n > %(of_heavy)s AND n <= %(of_heavy)s + %(longs)s AS is_long, {_GOLDEN.format("n")} AS spread
        FROM generate_series(1, %(conversations)s) AS n
    ) AS spread
) AS sized
"""
_INSERT_CONVERSATIONS = f"""
INSERT INTO conversations (id, user_id, created_at, updated_at)
SELECT id, user_id, at, at + size * {_PAUSE} FROM planned ORDER BY at
"""
# In the order of time, as they came: neighbours in the table are of different conversations.
_INSERT_MESSAGES = f"""
INSERT INTO messages (id, conversation_id, user_id, role, content, created_at)
SELECT {_ID.format("message", "n || ' ' || turn")}, id, user_id, CASE turn %% 2 WHEN 1 THEN 'user' ELSE 'assistant' END,
    repeat('Buy milk and bread. ', 1 + (n + turn) %% 10), at
FROM (
    SELECT n, turn, id, user_id, at + turn * {_PAUSE} AS at FROM planned, generate_series(1, size) AS turn
    ORDER BY 5, n
) AS turns
"""
# A fifth is open, of anybody's.
_INSERT_TASKS = f"""
INSERT INTO tasks (user_id, title, description, completed, created_at, updated_at)
SELECT {_USER.format("owner")}, 'Task ' || n, CASE n %% 3 WHEN 0 THEN NULL ELSE 'More about task ' || n END,
    get_byte(decode(md5('open ' || n), 'hex'), 0) >= 51, at, at
FROM (
    SELECT n, {_AT.format("n")} AS at,
        CASE WHEN n <= %(of_heavy)s THEN 1 + n %% %(heavy)s
            ELSE 1 + %(heavy)s + n %% (%(users)s - %(heavy)s) END AS owner
    FROM generate_series(1, %(tasks)s) AS n
    ORDER BY 2, n
) AS tasks
"""
_TYPICAL_CONVERSATIONS = """
SELECT user_id, id FROM planned WHERE size = 11 AND n > %(of_heavy)s ORDER BY md5(n::text) LIMIT %(named)s
"""
_LONG_CONVERSATIONS = "SELECT user_id, id FROM planned WHERE is_long ORDER BY n LIMIT %(named)s"
_USERS_FROM = f"SELECT {_USER.format('n')} FROM generate_series(%s, %s) AS n"


class Chat(NamedTuple):
    """A conversation, and whose it is."""

    user_id: UUID
    conversation_id: UUID


class Filled(NamedTuple):
    """How many rows each table has got, and some of them by name: typical ones, and the heaviest."""

    users: int
    conversations: int
    messages: int
    tasks: int
    typical_users: tuple[UUID, ...]
    heavy_users: tuple[UUID, ...]
    typical_conversations: tuple[Chat, ...]
    heavy_conversations: tuple[Chat, ...]


def fill(url: str, scale: float = 0.01) -> Filled:
    """Fill the empty tables of a database at any of our schema versions; the role has to be a superuser.

    The same scale gives the same rows, at every version and on every server. They are rows of before: what later
    versions added has its default, or is null.

    Args:
        url: The database.
        scale: 1 is 20,000 users, 1,000,000 tasks, 200,000 conversations and 3,000,000 messages.

    """
    users, tasks, conversations, messages = (
        max(round(rows * scale), 20) for rows in (USERS, TASKS, CONVERSATIONS, MESSAGES)
    )
    heavy, longs = (max(round(number * scale), 1) for number in (_HEAVY_USERS, _HEAVY_CONVERSATIONS))
    numbers = {"users": users, "heavy": heavy, "longs": longs, "named": _NAMED}
    in_tasks = {
        "tasks": tasks,
        "of_heavy": min(_TASKS_OF_A_HEAVY_USER * heavy, round(tasks * _TASKS_OF_HEAVY_USERS)),
    }
    in_conversations = {
        "conversations": conversations,
        "of_heavy": min(
            _CONVERSATIONS_OF_A_HEAVY_USER * heavy, round(conversations * _CONVERSATIONS_OF_HEAVY_USERS)
        ),
        "messages": messages,
        "long": min(_HEAVY_CONVERSATION, round(messages * _MESSAGES_OF_A_HEAVY_CONVERSATION / longs)),
    }
    with psycopg.connect(url, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
        # VACUUM leaves rows alone for as long as their commit, or one beside it, has not been written.
        connection.execute("SET synchronous_commit = on")
        with connection.transaction():
            # What refers to a row is right by the way it is made: to look up each would double the time.
            connection.execute("SET LOCAL session_replication_role = replica")
            connection.execute("SET LOCAL work_mem = '256MB'")
            connection.execute(_INSERT_USERS, numbers)
            connection.execute(_INSERT_TASKS, {**numbers, **in_tasks})
            for statement in (_PLAN_CONVERSATIONS, _INSERT_CONVERSATIONS, _INSERT_MESSAGES):
                connection.execute(statement, {**numbers, **in_conversations})
            typical, long = (
                tuple(Chat(*row) for row in connection.execute(statement, {**numbers, **in_conversations}))
                for statement in (_TYPICAL_CONVERSATIONS, _LONG_CONVERSATIONS)
            )
            some = (users - heavy) // 2
            typical_users, heavy_users = (
                tuple(user for (user,) in connection.execute(_USERS_FROM, bounds))
                for bounds in ((some, min(some + _NAMED - 1, users)), (1, heavy))
            )
        # The first to read a page would write to it as well, and the server would do this at a moment of its own.
        connection.execute("VACUUM (ANALYZE) users, conversations, messages, tasks")
    return Filled(users, conversations, messages, tasks, typical_users, heavy_users, typical, long)


def main() -> None:
    """Fill a database that the command line names."""
    parser = argparse.ArgumentParser(description=fill.__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--scale", type=float, default=0.01, help="default: %(default)s")
    arguments = parser.parse_args()
    started = time.monotonic()
    filled = fill(arguments.url, arguments.scale)
    print(f"{filled.messages:,} messages and {filled.tasks:,} tasks in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
