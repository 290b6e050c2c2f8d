"""What services ask for, as statements for `session.exec`: each by an index, and each for one user.

A page ends where the next begins: the cursor is the time and the key of the last row that was shown, as they are, so
that a page costs the same however far back it is, and none is shown twice. `None` begins at the newest, or the first.

    page = (await session.exec(newest_messages(user_id, conversation_id))).all()
    cursor = (page[-1].created_at, page[-1].id)  # where page is not empty
    older = (await session.exec(newest_messages(user_id, conversation_id, before=cursor))).all()

They are select statements like any other: `.options(...)` and `.where(...)` add to them.
"""

import uuid
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import false, func, not_, tuple_
from sqlmodel import col, select
from sqlmodel.sql.expression import SelectOfScalar

from todo_schema.models import Conversation, Message, Task, User

_LARGEST_PAGE = 1000
_Entity = TypeVar("_Entity")


def newest_messages(
    user_id: uuid.UUID,
    conversation_id: uuid.UUID,
    *,
    before: tuple[datetime, uuid.UUID] | None = None,
    limit: int = 50,
) -> SelectOfScalar[Message]:
    """Select the newest messages of a conversation, newest first, or those before a cursor.

    Served by `ix_messages_conversation_created`: it reads as many rows as it returns.

    Args:
        user_id: Whose conversation it is; another user's is empty.
        conversation_id: The conversation.
        before: `(created_at, id)` of the oldest message that was already shown; None for the newest page.
        limit: At most so many messages, 1 to 1000.

    Raises:
        TypeError: The cursor is no pair.
        ValueError: `limit` is no int from 1 to 1000, or the cursor's time has no time zone.

    """
    place = (col(Message.created_at), col(Message.id))
    return _newest(_messages(user_id, conversation_id), place, before, limit)


def messages_after(
    user_id: uuid.UUID,
    conversation_id: uuid.UUID,
    *,
    after: tuple[datetime, uuid.UUID] | None = None,
    limit: int = 50,
) -> SelectOfScalar[Message]:
    """Select the messages of a conversation that came after a cursor, oldest first: what a reader polls for.

    Misses none that `append_messages` wrote: it lets the writers of a conversation in one after the other. What was
    written past it, by whoever inserts messages without it, may become visible behind the cursor.

    Served by `ix_messages_conversation_created`, backwards: it reads as many rows as it returns.

    Args:
        user_id: Whose conversation it is; another user's is empty.
        conversation_id: The conversation.
        after: `(created_at, id)` of the newest message that was already seen; None for the first page.
        limit: At most so many messages, 1 to 1000.

    Raises:
        TypeError: The cursor is no pair.
        ValueError: `limit` is no int from 1 to 1000, or the cursor's time has no time zone.

    """
    place = (col(Message.created_at), col(Message.id))
    found = _messages(user_id, conversation_id).order_by(*place)
    if after is not None:
        found = found.where(tuple_(*place) > _row(after))
    return _page(found, limit)


def newest_tasks(
    user_id: uuid.UUID,
    *,
    open_only: bool = False,
    before: tuple[datetime, int | None] | None = None,
    limit: int = 50,
) -> SelectOfScalar[Task]:
    """Select the newest tasks of a user, newest first, or those before a cursor.

    Served by `ix_tasks_user_created`, and for the open ones by `ix_tasks_user_created_open`: it reads as many rows as
    it returns.

    Args:
        user_id: Whose tasks.
        open_only: Leave out those that are done.
        before: `(created_at, id)` of the oldest task that was already shown; None for the newest page.
        limit: At most so many tasks, 1 to 1000.

    Raises:
        TypeError: The cursor is no pair.
        ValueError: `limit` is no int from 1 to 1000, the cursor's time has no time zone, or its task no number yet.

    """
    found = select(Task).where(col(Task.user_id) == user_id)
    if open_only:
        # As the index says it: `IS FALSE` is not known to be the same.
        found = found.where(not_(col(Task.completed)))
    return _newest(found, (col(Task.created_at), col(Task.id)), before, limit)


def newest_conversations(
    user_id: uuid.UUID,
    *,
    before: tuple[datetime, uuid.UUID] | None = None,
    limit: int = 20,
) -> SelectOfScalar[Conversation]:
    """Select the conversations of a user by their last activity, newest first, or those before a cursor.

    One in which something happens between two pages moves to the first, and is not on the second.

    Served by `uq_conversations_user_id_id`: it reads all conversations of the user and sorts them, about 1 ms for
    2,000. An index on `updated_at` would be written anew with every message.

    Args:
        user_id: Whose conversations.
        before: `(updated_at, id)` of the last conversation that was already shown; None for the newest page.
        limit: At most so many conversations, 1 to 1000.

    Raises:
        TypeError: The cursor is no pair.
        ValueError: `limit` is no int from 1 to 1000, or the cursor's time has no time zone.

    """
    found = select(Conversation).where(col(Conversation.user_id) == user_id)
    return _newest(found, (col(Conversation.updated_at), col(Conversation.id)), before, limit)


def user_by_email(email: str) -> SelectOfScalar[User]:
    """Select the user who has an address, however its letters are written: one, or none.

    Served by `ix_users_email_lower`: it reads that row. A text that PostgreSQL cannot hold is nobody's address.

    Args:
        email: The address.

    """
    # Whoever signs in may send anything: to each service it is then an unknown address, and no error of its own.
    if not _is_text(email):
        return select(User).where(false())
    # Both by the server: Python and a database's collation differ about some letters.
    return select(User).where(func.lower(col(User.email)) == func.lower(email))


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    return "\0" not in value


def _messages(user_id: uuid.UUID, conversation_id: uuid.UUID) -> SelectOfScalar[Message]:
    return select(Message).where(
        col(Message.user_id) == user_id, col(Message.conversation_id) == conversation_id
    )


def _newest(
    found: SelectOfScalar[_Entity], place: tuple[Any, Any], before: tuple[datetime, Any] | None, limit: int
) -> SelectOfScalar[_Entity]:
    """Return a page of what was found, the last by its time and key first."""
    if before is not None:
        found = found.where(tuple_(*place) < _row(before))
    return _page(found.order_by(*(column.desc() for column in place)), limit)


def _row(cursor: tuple[datetime, Any]) -> Any:
    if not isinstance(cursor, tuple | list) or len(cursor) != 2:  # noqa: PLR2004  # a time and a key
        raise TypeError(
            f"found: a cursor of type {type(cursor).__name__}\n"
            "needed: a time and a key\n"
            "cure: (page[-1].created_at, page[-1].id); of conversations (page[-1].updated_at, page[-1].id)"
        )
    at, key = cursor
    # Either is None in an object that the database has not seen yet.
    if getattr(at, "tzinfo", None) is None or key is None:
        raise ValueError(
            f"found: the cursor {cursor!r}\n"
            "needed: a time with its time zone, and a key\n"
            "cure: take both as they are from a row that was read, or from its JSON with datetime.fromisoformat"
        )
    return cursor


def _page(found: SelectOfScalar[_Entity], limit: int) -> SelectOfScalar[_Entity]:
    # `True` is an int, and what a query string says is none.
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= _LARGEST_PAGE:
        raise ValueError(
            f"found: limit={limit!r}\n"
            f"needed: an int from 1 to {_LARGEST_PAGE}\n"
            "cure: int(...) of what a client sent; ask for the next page with a cursor"
        )
    return found.limit(limit)
