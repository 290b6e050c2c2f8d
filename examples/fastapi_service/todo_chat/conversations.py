"""Conversations of a user, and what was said in them."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, ConfigDict, Field
from sqlmodel import col, select

from todo_chat.dependencies import SessionDep, UserId
from todo_chat.paging import BeforeUuid, Limit, Page, page
from todo_schema import (
    Conversation,
    ConversationNotFoundError,
    Message,
    MessageCreate,
    append_messages,
    newest_conversations,
    newest_messages,
)

router = APIRouter(prefix="/conversations", tags=["conversations"])

# Also where it is another user's: whether that exists is nobody's business.
NOT_FOUND = HTTPException(404, "you have no such conversation")


class ConversationIn(BaseModel):
    """What a client says of a conversation."""

    model_config = ConfigDict(extra="forbid")

    title: str | None = None


class ConversationOut(BaseModel):
    """A conversation as clients see it."""

    id: UUID
    title: str | None
    created_at: datetime
    updated_at: datetime


class MessageOut(BaseModel):
    """A message as clients see it."""

    id: UUID
    role: Literal["user", "assistant", "system", "tool"]
    content: str
    payload: dict[str, Any] | None
    created_at: datetime


@router.post("", status_code=201, response_model=ConversationOut)
async def begin(body: ConversationIn, user_id: UserId, session: SessionDep) -> Conversation:
    """Begin a conversation."""
    conversation = Conversation(user_id=user_id, title=body.title)
    session.add(conversation)
    await session.commit()
    return conversation


@router.get("")
async def list_newest(
    user_id: UserId, session: SessionDep, before: BeforeUuid, limit: Limit = 20
) -> Page[ConversationOut]:
    """List the conversations by their last activity, newest first."""
    rows = await session.exec(newest_conversations(user_id, before=before, limit=limit + 1))
    return page(ConversationOut, rows.all(), limit, lambda shown: (shown.updated_at, shown.id))


@router.post("/{conversation_id}/messages", status_code=201, response_model=list[MessageOut])
async def append_turn(
    conversation_id: UUID,
    turn: Annotated[list[MessageCreate], Field(min_length=1, max_length=100)],
    user_id: UserId,
    session: SessionDep,
) -> list[Message]:
    """Append the messages of a turn, in this order, all or none."""
    try:
        messages = await append_messages(session, user_id, conversation_id, turn)
    except ConversationNotFoundError:
        raise NOT_FOUND from None
    await session.commit()
    return messages


@router.get("/{conversation_id}/messages")
async def history(
    conversation_id: UUID, user_id: UserId, session: SessionDep, before: BeforeUuid, limit: Limit = 50
) -> Page[MessageOut]:
    """List what was said, newest first. What is appended meanwhile changes no page that comes after."""
    newest = newest_messages(user_id, conversation_id, before=before, limit=limit + 1)
    rows = (await session.exec(newest)).all()
    if not rows:  # none yet, or no such conversation
        own = (col(Conversation.user_id) == user_id, col(Conversation.id) == conversation_id)
        if (await session.exec(select(Conversation.id).where(*own))).first() is None:
            raise NOT_FOUND
    return page(MessageOut, rows, limit, lambda shown: (shown.created_at, shown.id))
