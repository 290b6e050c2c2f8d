"""A conversation to append to, and what to append."""

import uuid

from todo_schema import Conversation, MessageCreate, SessionFactory, User


async def new_talk(factory: SessionFactory) -> Conversation:
    """A conversation without messages, of a user of its own."""
    async with factory.begin() as session:
        session.add(user := User(email=f"{uuid.uuid4()}@example.com"))
        await session.flush()
        session.add(talk := Conversation(user_id=user.id))
    return talk


def said(*contents: str) -> list[MessageCreate]:
    """Messages of the user, in this order."""
    return [MessageCreate(role="user", content=content) for content in contents]
