"""The one right way to append messages to a conversation: in order, whoever else appends.

There is no `from __future__ import annotations` here: SQLModel reads the annotations as objects.
"""

import json
import uuid
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import field_validator
from sqlalchemy import func, inspect, update
from sqlalchemy.orm.attributes import set_committed_value
from sqlmodel import Field, SQLModel, col
from sqlmodel.ext.asyncio.session import AsyncSession

from todo_schema.errors import ConversationNotFoundError
from todo_schema.models import Conversation, Message

# Levels of a payload. Pydantic writes 255, with those of an answer around it: whoever stored more could not read back
# the history that has it.
_DEEPEST = 200


class MessageCreate(SQLModel):
    """What a client says of a message, checked; FastAPI can take it as a body. The rest is the server's to say.

    A field that it does not know is refused, not dropped: what else there is to a message goes into `payload`.

    Attributes:
        role: Who speaks.
        content: What was said, at most 10,485,760 characters.
        payload: Tool calls, attachments and the like, a JSON object of at most 200 levels; or None.

    """

    model_config = {"extra": "forbid"}

    role: Literal["user", "assistant", "system", "tool"]
    content: str = Field(max_length=10_485_760)
    payload: dict[str, Any] | None = None

    @field_validator("content")
    @classmethod
    def _is_text(cls, content: str) -> str:
        if "\0" in content:
            raise ValueError("PostgreSQL stores no U+0000 in a text")
        return content

    @field_validator("payload")
    @classmethod
    def _is_jsonb(cls, payload: dict[str, Any] | None) -> dict[str, Any] | None:
        try:
            text = json.dumps(payload, allow_nan=False, ensure_ascii=False)
            text.encode()  # half a surrogate pair is no character
        except (RecursionError, TypeError, ValueError) as error:
            raise ValueError(f"not JSON: {error}") from None
        if text.count("[") + text.count("{") > _DEEPEST and _is_deeper(payload, _DEEPEST):
            raise ValueError(f"nested deeper than {_DEEPEST} levels")
        # Without the backslashes that stand for one: what follows one is then an escape.
        if "\\u0000" in text.replace(r"\\", ""):
            raise ValueError("PostgreSQL stores no U+0000 in a jsonb")
        return payload


def _is_deeper(value: object, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else None
    return inner is not None and (levels == 0 or any(_is_deeper(one, levels - 1) for one in inner))


async def append_messages(
    session: AsyncSession,
    user_id: uuid.UUID,
    conversation_id: uuid.UUID,
    messages: Iterable[MessageCreate],
) -> list[Message]:
    """Append messages to a conversation, in the order given, behind all that are there. The caller commits.

    First it moves the conversation's `updated_at`, which locks its row until the transaction ends: whoever else appends
    waits, so that the messages become visible in the order of `(created_at, id)`, and a reader that polls with
    `messages_after` misses none. So commit soon: ask the model for its answer between transactions, not inside one. A
    transaction that appends to several conversations takes them in the order of their ids, or two may deadlock.

    Two statements, for up to 1,000 messages. What is pending in the session is flushed before, and may be the
    conversation itself; a Conversation in the session gets its new `updated_at`, and keeps it where a `begin_nested()`
    around this is rolled back: refresh it then. No messages are no activity: none are appended, and nothing is asked of
    the database.

    Args:
        session: A session of `session_factory`, or any on our tables. READ COMMITTED: above it, PostgreSQL refuses
            whoever had to wait ("could not serialize access").
        user_id: Whose conversation it is.
        conversation_id: The conversation.
        messages: What was said, in order.

    Returns:
        The messages as they were written, with their ids and the server's `created_at`.

    Raises:
        TypeError: A message is no MessageCreate.
        ConversationNotFoundError: The user has no such conversation. No message was written, and the transaction can
            go on.

    """
    messages = list(messages)
    if not messages:
        return []
    for message in messages:
        if not isinstance(message, MessageCreate):
            raise TypeError(
                f"found: a message of type {type(message).__name__}\n"
                "needed: MessageCreate, whose rest is the server's to say\n"
                'cure: MessageCreate(role="user", content="Hello")'
            )
    # Before anything is written: one that was made without a check may lack a field.
    said = [(message.role, message.content, message.payload) for message in messages]
    # Also where the session does not flush by itself, and a conversation that is pending could not be found.
    await session.flush()
    bump = (
        update(Conversation)
        .where(col(Conversation.user_id) == user_id, col(Conversation.id) == conversation_id)
        .values(updated_at=func.clock_timestamp())
        .returning(col(Conversation.updated_at))
    )
    # SQLAlchemy's own ways would expire `updated_at`, and reading it then raise MissingGreenlet.
    bumped = (await session.exec(bump, execution_options={"synchronize_session": False})).first()
    if bumped is None:
        raise ConversationNotFoundError(
            f"no conversation {conversation_id} of user {user_id}",
            "one that exists and is this user's",
            f"session.add(Conversation(id={conversation_id!r}, user_id={user_id!r})), or answer that there is none",
        )
    conversation = session.identity_map.get(session.identity_key(Conversation, conversation_id))
    if conversation is not None and "updated_at" not in inspect(conversation).unloaded:
        set_committed_value(conversation, "updated_at", bumped.updated_at)
    # Not before the lock is held: their keys are in the order of time too.
    written = [
        Message(user_id=user_id, conversation_id=conversation_id, role=role, content=content, payload=payload)
        for role, content, payload in said
    ]
    session.add_all(written)
    await session.flush()
    return written
