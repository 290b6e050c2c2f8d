"""Our tables, on those of todo_schema."""

import uuid
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import (
    BigInteger,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    Numeric,
    String,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlmodel import SQLModel

from todo_schema import Conversation as SharedConversation
from todo_schema import User


class Base(DeclarativeBase):
    # The MetaData of todo_schema's tables: "users.id" is found there.
    metadata = SQLModel.metadata


class Verification(Base):
    """Whether we know that the address is the user's, and how the user gets in again."""

    __tablename__ = "user_verifications"
    __table_args__ = (
        Index("idx_verification_token", "verification_token"),
        Index("idx_password_reset_token", "password_reset_token"),
    )

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    is_verified: Mapped[bool] = mapped_column(server_default=text("true"))
    verification_token: Mapped[uuid.UUID | None]
    verification_token_created_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    password_reset_token: Mapped[uuid.UUID | None]
    password_reset_expires: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))

    user: Mapped[User] = relationship(User)


class Quota(Base):
    __tablename__ = "user_quotas"
    __table_args__ = (
        UniqueConstraint("user_id", name="uq_user_quotas_user_id"),
        Index("ix_user_quotas_user_id", "user_id"),
    )

    quota_id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    llm_tokens_monthly_limit: Mapped[int | None] = mapped_column(Integer)
    masterplans_limit: Mapped[int | None] = mapped_column(Integer)
    storage_bytes_limit: Mapped[int | None] = mapped_column(BigInteger)
    api_calls_per_minute: Mapped[int] = mapped_column(Integer, server_default=text("30"))

    user: Mapped[User] = relationship(User)


class Usage(Base):
    __tablename__ = "user_usage"
    __table_args__ = (UniqueConstraint("user_id", "month", name="uq_user_usage_user_month"),)

    usage_id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    month: Mapped[date]
    llm_tokens_used: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    llm_cost_usd: Mapped[Decimal] = mapped_column(Numeric(10, 4), server_default=text("0"))
    masterplans_created: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    storage_bytes: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    api_calls: Mapped[int] = mapped_column(Integer, server_default=text("0"))

    user: Mapped[User] = relationship(User)


class Conversation(Base):
    """What DevMatrix calls a conversation: the shared one by the name that our clients use, with a title of ours."""

    __tablename__ = "discovery_conversations"

    conversation_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True
    )
    title: Mapped[str | None] = mapped_column(String(300))

    shared: Mapped[SharedConversation] = relationship(SharedConversation)
    documents: Mapped[list["DiscoveryDocument"]] = relationship(
        back_populates="conversation", passive_deletes="all"
    )


class DiscoveryDocument(Base):
    __tablename__ = "discovery_documents"

    discovery_id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    conversation_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("discovery_conversations.conversation_id", ondelete="CASCADE")
    )
    body: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())

    user: Mapped[User] = relationship(User)
    conversation: Mapped[Conversation | None] = relationship("Conversation", back_populates="documents")


class Masterplan(Base):
    __tablename__ = "masterplans"

    masterplan_id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(300))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())

    user: Mapped[User] = relationship(User)
