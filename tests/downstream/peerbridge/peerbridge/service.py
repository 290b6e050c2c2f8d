"""What PeerBridge does, on an async session."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import joinedload, selectinload
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from peerbridge.models import Account, AuthSession, Message, Role, Session
from todo_schema import (
    Conversation,
    MessageCreate,
    User,
    append_messages,
    newest_conversations,
    newest_messages,
    user_by_email,
)
from todo_schema import Message as ChatMessage


async def register(session: AsyncSession, email: str, hashed_password: str, name: str, role: Role) -> Account:
    """An account for whoever has the address; the user may be there already, by another service."""
    user = (await session.exec(user_by_email(email))).first()
    if user is None:
        user = User(email=email)
        session.add(user)
    account = Account(user=user, hashed_password=hashed_password, full_name=name, role=role)
    session.add(account)
    await session.flush()
    return account


async def sign_in(session: AsyncSession, email: str, hashed_token: str) -> AuthSession | None:
    """A session for an active account."""
    user = (await session.exec(user_by_email(email))).first()
    account = await session.get(Account, user.id) if user else None
    if account is None or not account.is_active:
        return None
    opened = AuthSession(
        user_id=account.user_id, refresh_token=hashed_token, expires_at=datetime.now(UTC) + timedelta(days=30)
    )
    session.add(opened)
    await session.flush()
    return opened


async def signed_in(session: AsyncSession, hashed_token: str) -> User | None:
    """Whose session it is."""
    found = (
        await session.exec(
            select(AuthSession)
            .where(AuthSession.refresh_token == hashed_token, col(AuthSession.is_revoked).is_(False))
            .options(joinedload(AuthSession.user))
        )
    ).first()
    return found.user if found else None


async def therapy(session: AsyncSession, session_id: uuid.UUID) -> Session:
    """A session of therapy with its people, and what they wrote."""
    return (
        await session.exec(
            select(Session)
            .where(Session.id == session_id)
            .options(
                joinedload(Session.therapist),
                joinedload(Session.patient),
                selectinload(Session.messages).joinedload(Message.author),
            )
        )
    ).one()


async def ask_assistant(session: AsyncSession, user_id: uuid.UUID, text: str) -> list[ChatMessage]:
    """Add to the user's newest conversation, and return its newest page."""
    found = (await session.exec(newest_conversations(user_id, limit=1))).first()
    if found is None:
        found = Conversation(user_id=user_id)
        session.add(found)
    await append_messages(session, user_id, found.id, [MessageCreate(role="user", content=text)])
    page: Sequence[ChatMessage] = (await session.exec(newest_messages(user_id, found.id))).all()
    return list(page)


async def older(session: AsyncSession, user_id: uuid.UUID, message: ChatMessage) -> list[ChatMessage]:
    """Return the page of the user's conversation that comes after a message."""
    place = (message.created_at, message.id)
    asked = newest_messages(user_id, message.conversation_id, before=place)
    return list((await session.exec(asked)).all())
