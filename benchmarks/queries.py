"""What a service asks for, as one who uses 0.1 writes it, and as 0.2 gives it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from sqlalchemy import Select, func, tuple_
from sqlalchemy.dialects.postgresql import asyncpg
from sqlmodel import col, select

from benchmarks.dataset import Filled
from todo_schema import (
    Conversation,
    Message,
    Task,
    User,
    messages_after,
    newest_conversations,
    newest_messages,
    newest_tasks,
    user_by_email,
)

# What schema 1 does not have.
_LATER = {"payload", "title of conversations", "due_at", "priority", "completed_at"}

_MIDDLE = """
SELECT created_at, id FROM messages WHERE conversation_id = %(conversation)s ORDER BY created_at, id
OFFSET (SELECT count(*) / 2 FROM messages WHERE conversation_id = %(conversation)s) LIMIT 1
"""
_EMAIL = "SELECT email FROM users WHERE id = %s"


class Subject(NamedTuple):
    """A user, with a conversation where the query is about one: `at` is in the middle of it."""

    user: UUID
    conversation: UUID
    at: tuple[datetime, UUID]
    email: str


@dataclass(frozen=True)
class Query:
    """The same question in both versions.

    Attributes:
        name: What the tables call it.
        old: As one who uses 0.1 writes it.
        new: As 0.2 gives it.
        of_conversations: Whether heavy means a long conversation, not a busy user.

    """

    name: str
    old: Callable[[Subject], Select[Any]]
    new: Callable[[Subject], Select[Any]]
    of_conversations: bool = False


def sent(statement: Select[Any]) -> tuple[str, tuple[object, ...]]:
    """Return what SQLAlchemy sends by asyncpg, and its parameters in the order of their numbers."""
    compiled = statement.compile(dialect=asyncpg.dialect())
    return str(compiled), tuple(compiled.params[name] for name in compiled.positiontup or ())


def subjects(url: str, filled: Filled) -> dict[tuple[bool, bool], Sequence[Subject]]:
    """Return whom to ask about, by `of_conversations`, and by whether they are heavy."""
    of_users = {False: filled.typical_users, True: filled.heavy_users}
    of_chats = {False: filled.typical_conversations, True: filled.heavy_conversations}
    with psycopg.connect(url) as connection:

        def subject(user: UUID, conversation: UUID) -> Subject:
            middle = connection.execute(_MIDDLE, {"conversation": conversation}).fetchone()
            email = connection.execute(_EMAIL, (user,)).fetchone()
            assert middle
            assert email
            return Subject(user, conversation, (middle[0], middle[1]), email[0])

        any_chat = filled.heavy_conversations[0].conversation_id
        return {
            **{(True, heavy): [subject(*chat) for chat in chats] for heavy, chats in of_chats.items()},
            **{
                (False, heavy): [subject(user, any_chat) for user in users]
                for heavy, users in of_users.items()
            },
        }


def _old(entity: type[Any]) -> Select[Any]:
    """Select what the entity of 0.1 has."""
    table = entity.__table__
    return select(*(c for c in table.c if not {c.name, f"{c.name} of {table.name}"} & _LATER))


def _old_newest(about: Subject) -> Select[Any]:
    found = _old(Message).where(col(Message.conversation_id) == about.conversation)
    return found.order_by(col(Message.created_at).desc()).limit(50)


def _old_newest_of_user(about: Subject) -> Select[Any]:
    return _old_newest(about).where(col(Message.user_id) == about.user)


def _old_before(about: Subject) -> Select[Any]:
    place = tuple_(Message.created_at, Message.id)
    found = _old(Message).where(col(Message.conversation_id) == about.conversation, place < about.at)
    return found.order_by(col(Message.created_at).desc(), col(Message.id).desc()).limit(50)


def _old_after(about: Subject) -> Select[Any]:
    place = tuple_(Message.created_at, Message.id)
    found = _old(Message).where(col(Message.conversation_id) == about.conversation, place > about.at)
    return found.order_by(col(Message.created_at), col(Message.id)).limit(50)


def _old_tasks(about: Subject) -> Select[Any]:
    found = _old(Task).where(col(Task.user_id) == about.user)
    return found.order_by(col(Task.created_at).desc()).limit(50)


def _old_open_tasks(about: Subject) -> Select[Any]:
    return _old_tasks(about).where(col(Task.completed).is_(False))


def _count_open(about: Subject) -> Select[Any]:
    return select(func.count()).select_from(Task).where(col(Task.user_id) == about.user, ~col(Task.completed))


def _old_conversations(about: Subject) -> Select[Any]:
    found = _old(Conversation).where(col(Conversation.user_id) == about.user)
    return found.order_by(col(Conversation.updated_at).desc()).limit(20)


def _old_by_email(about: Subject) -> Select[Any]:
    return _old(User).where(col(User.email) == about.email)


def _new_newest(about: Subject) -> Select[Any]:
    return newest_messages(about.user, about.conversation)


NEWEST = Query("newest 50 messages of a conversation", _old_newest, _new_newest, of_conversations=True)
QUERIES = (
    NEWEST,
    Query("the same, 0.1 asking for the user too", _old_newest_of_user, _new_newest, of_conversations=True),
    Query(
        "50 messages before a cursor",
        _old_before,
        lambda about: newest_messages(about.user, about.conversation, before=about.at),
        of_conversations=True,
    ),
    Query(
        "50 messages after a cursor",
        _old_after,
        lambda about: messages_after(about.user, about.conversation, after=about.at),
        of_conversations=True,
    ),
    Query("open tasks, newest 50", _old_open_tasks, lambda about: newest_tasks(about.user, open_only=True)),
    Query("all tasks, newest 50", _old_tasks, lambda about: newest_tasks(about.user)),
    Query("count of open tasks", _count_open, _count_open),
    Query(
        "conversations by last activity, 20",
        _old_conversations,
        lambda about: newest_conversations(about.user),
    ),
    Query("user by email", _old_by_email, lambda about: user_by_email(about.email)),
)
