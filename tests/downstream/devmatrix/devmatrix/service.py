"""What DevMatrix does, on a blocking session."""

import uuid
from collections.abc import Sequence
from datetime import date

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, joinedload

from devmatrix.models import Conversation, DiscoveryDocument, Masterplan, Quota, Usage, Verification
from todo_schema import Conversation as SharedConversation
from todo_schema import Message, Task, User, newest_messages, newest_tasks, user_by_email


class QuotaError(Exception):
    """The user has as many masterplans as the quota allows."""


def sign_up(session: Session, email: str, *, masterplans: int) -> User:
    """A user with a quota; the user may be there already, by another service."""
    user = session.scalars(user_by_email(email)).first() or User(email=email)
    session.add_all(
        [
            Verification(user=user, is_verified=False, verification_token=uuid.uuid4()),
            Quota(user=user, masterplans_limit=masterplans),
        ]
    )
    session.flush()
    return user


def verify(session: Session, token: uuid.UUID) -> User | None:
    """Whose token it is; it is used up."""
    found = session.scalars(
        select(Verification)
        .where(Verification.verification_token == token)
        .options(joinedload(Verification.user))
    ).first()
    if found is None:
        return None
    found.is_verified, found.verification_token = True, None
    return found.user


def discover(session: Session, user_id: uuid.UUID, title: str, body: str) -> DiscoveryDocument:
    """A conversation of the shared tables, with the document that came out of it."""
    document = DiscoveryDocument(
        user_id=user_id,
        body=body,
        conversation=Conversation(title=title, shared=SharedConversation(user_id=user_id, title=title[:255])),
    )
    session.add(document)
    session.flush()
    return document


def plan(session: Session, user_id: uuid.UUID, name: str, steps: Sequence[str]) -> Masterplan:
    """A masterplan, whose steps are tasks of the shared tables."""
    quota = session.scalars(select(Quota).where(Quota.user_id == user_id).with_for_update()).one()
    this_month = date.today().replace(day=1)  # noqa: DTZ011  # the month of the office
    count = (
        insert(Usage)
        .values(usage_id=uuid.uuid4(), user_id=user_id, month=this_month, masterplans_created=1)
        .on_conflict_do_update(
            constraint="uq_user_usage_user_month",
            set_={"masterplans_created": Usage.masterplans_created + 1},
        )
        .returning(Usage.masterplans_created)
    )
    made_this_month = session.scalars(count).one()
    if quota.masterplans_limit is not None and made_this_month > quota.masterplans_limit:
        raise QuotaError
    made = Masterplan(user_id=user_id, name=name)
    session.add(made)
    session.add_all([Task(user_id=user_id, title=step) for step in steps])
    session.flush()
    return made


def open_steps(session: Session, user_id: uuid.UUID) -> list[str]:
    """What is still to be done, newest first."""
    return [task.title for task in session.scalars(newest_tasks(user_id, open_only=True))]


def page(
    session: Session, user_id: uuid.UUID, conversation_id: uuid.UUID, after: Message | None = None
) -> list[Message]:
    """The newest messages of a conversation, or the page that comes after a message."""
    place = (after.created_at, after.id) if after else None
    return list(session.scalars(newest_messages(user_id, conversation_id, before=place)))
