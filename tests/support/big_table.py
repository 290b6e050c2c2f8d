"""Fills a database at the head as a chat of some years has filled it: much, quickly, and always the same."""

from typing import NamedTuple

import psycopg

# What a message is one of: on the average a conversation has 15, and a user 150 and 50 tasks.
_IN_A_CONVERSATION = 15
_OF_A_USER = 150
_FOR_A_TASK = 3
# One conversation among so many messages is never left, and one user among so many others writes everything down.
_FOR_A_HEAVY_CONVERSATION = 150_000
_FOR_A_HEAVY_USER = 2_000
_HEAVY_CONVERSATION = 6_000
_HEAVY_USER = 12_000

# The golden ratio spreads what it multiplies evenly, in any number: so no size is left to chance, nor to an order.
_SPREAD = "({} * 0.6180339887498949) %% 1"
# Half of the conversations have at most 11 messages, and one in a hundred has more than 73.
_SIZE = "greatest(1, round(11 * power(spread / (1 - spread), 0.412)))::int"

_ID = "md5('{} ' || {})::uuid"
_USER = _ID.format("user", "{}")
_CONVERSATION = _ID.format("conversation", "{}")
_START = "timestamptz '2024-01-01 00:00:00+00'"

_USERS = f"""
INSERT INTO users (id, email, created_at, updated_at)
SELECT {_USER.format("n")}, 'person-' || n || '@example.com', {_START}, {_START}
FROM generate_series(1, %(users)s) AS n
"""
_CONVERSATIONS = f"""
INSERT INTO conversations (id, user_id, created_at, updated_at)
SELECT {_CONVERSATION.format("n")}, {_USER.format("1 + n %% %(users)s")}, {_START} + n * interval '5 min',
    {_START} + n * interval '5 min'
FROM generate_series(1, %(conversations)s) AS n
"""
# In the order of time, as they came: neighbours in the table are of different conversations.
_MESSAGES = f"""
INSERT INTO messages (id, conversation_id, user_id, role, content, created_at)
SELECT {_ID.format("message", "n || ' ' || turn")}, {_CONVERSATION.format("n")}, {_USER.format("1 + n %% %(users)s")},
    CASE turn %% 2 WHEN 1 THEN 'user' ELSE 'assistant' END, repeat('Buy milk and bread. ', 1 + (n + turn) %% 10), at
FROM (
    SELECT n, turn, {_START} + n * interval '5 min' + turn * interval '17 s' AS at
    FROM (
        SELECT n, CASE WHEN n <= %(heavy_conversations)s THEN %(heavy_conversation)s ELSE {_SIZE} END AS size
        FROM (SELECT n, {_SPREAD.format("n")} AS spread FROM generate_series(1, %(conversations)s) AS n) AS spread
    ) AS sized, generate_series(1, size) AS turn
    LIMIT %(messages)s
) AS turns
ORDER BY at
"""
_TASKS = f"""
INSERT INTO tasks (user_id, title, description, completed, created_at, updated_at)
SELECT {_USER.format("CASE WHEN n <= %(heavy_tasks)s THEN 1 + n %% %(heavy_users)s ELSE 1 + n %% %(users)s END")},
    'Task ' || n, CASE n %% 3 WHEN 0 THEN NULL ELSE 'More about task ' || n END, n %% 5 <> 0,
    {_START} + n * interval '3 min', {_START} + n * interval '3 min'
FROM generate_series(1, %(tasks)s) AS n
"""


class Filled(NamedTuple):
    """How many rows each table has got."""

    users: int
    conversations: int
    messages: int
    tasks: int


def fill(url: str, messages: int = 1_000_000, *, tasks: int | None = None) -> Filled:
    """Fill the empty tables of a database at the head; the role has to be a superuser.

    Half of the conversations have at most 11 messages, one in a hundred more than 73, and a few thousands of them; a
    fifth of the tasks is open. The same numbers give the same rows, on every server.

    Args:
        url: The database.
        messages: How many, from a thousand up; the conversations and users are in proportion.
        tasks: How many; None is a third of the messages.

    """
    tasks = messages // _FOR_A_TASK if tasks is None else tasks
    filled = Filled(messages // _OF_A_USER, messages // _IN_A_CONVERSATION, messages, tasks)
    heavy_users = 1 + filled.users // _FOR_A_HEAVY_USER
    numbers = {
        **filled._asdict(),
        "heavy_conversations": 1 + messages // _FOR_A_HEAVY_CONVERSATION,
        "heavy_conversation": min(_HEAVY_CONVERSATION, messages // 25),
        "heavy_users": heavy_users,
        "heavy_tasks": min(_HEAVY_USER * heavy_users, tasks // 10),
    }
    with psycopg.connect(url, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
        # VACUUM leaves rows alone for as long as their commit, or one beside it, has not been written.
        connection.execute("SET synchronous_commit = on")
        with connection.transaction():
            # What refers to a row is right by the way it is made: to look up each would double the time.
            connection.execute("SET LOCAL session_replication_role = replica")
            connection.execute("SET LOCAL work_mem = '256MB'")
            for statement in (_USERS, _CONVERSATIONS, _MESSAGES, _TASKS):
                connection.execute(statement, numbers)
        # The first to read a page would write to it as well, and the server would do this at a moment of its own.
        connection.execute("VACUUM (ANALYZE) users, conversations, messages, tasks")
    return filled
