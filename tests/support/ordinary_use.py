"""What a service does with the tables on an ordinary day, and what the database does with it."""

import uuid

from sqlalchemy import Engine, NullPool, create_engine
from sqlmodel import Session, select

from tests.support.servers import execute
from todo_schema import Conversation, Message, Task, User


def engine_of(url: str) -> Engine:
    """An engine that keeps no connection, so that the database can be dropped."""
    return create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool)


def use_each_table(url: str, key: uuid.UUID | None = None) -> None:
    """Write, refer to, change and delete rows as a service does; the keys are Python's, or from the one given."""
    given = [{"id": uuid.UUID(int=key.int + number)} if key else {} for number in range(3)]
    with Session(engine_of(url)) as session:
        user = User(email="ann@example.com", **given[0])
        talk = Conversation(user_id=user.id, **given[1])
        message = Message(conversation_id=talk.id, user_id=user.id, role="user", content="x", **given[2])
        task = Task(user_id=user.id, title="x")
        session.add_all([user, talk, message, task])
        session.commit()
        written = task.updated_at
        task.completed = True
        talk.title = "plans"
        session.commit()
        assert task.completed_at >= written
        execute(url, f"UPDATE {Task.__table__.fullname} SET title = 'y'")
        session.refresh(task)
        assert task.updated_at > task.completed_at
        for row in (user, talk, message):
            assert row.id.version == (key.version if key else 7)
        assert session.exec(select(Message.id).where(Message.conversation_id == talk.id)).one() == message.id
        owner = user.id
        session.delete(user)
        session.commit()
        for entity in (Conversation, Message, Task):
            assert session.exec(select(entity).where(entity.user_id == owner)).all() == []
