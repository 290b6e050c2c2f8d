"""What the chat schemas of other packages do, by each package's own public interface; run by `far_end`.

Each works as a role of its own, whose search_path is a schema of its own. Its tables are made as the package makes
them, or as its documentation says to; then it writes a turn, and `fill` makes a row of that form of each message.
"""

from typing import NamedTuple

from benchmarks.peers import Peer

# What of a sample row stands for what was said.
CONTENT = "What was said."


class ChatPeer(NamedTuple):
    """A package that keeps conversations.

    Attributes:
        peer: What is installed, and how.
        role: Its role, and its schema.
        source: What `far_end` runs; its `prepare` makes the tables, and writes the sample turn into the first talk.
        fill: SQL that replaces the sample by all messages of `public.messages`.
        written: The table that a turn adds two rows to.
        newest: What its interface gives for the newest 50 messages.

    """

    peer: Peer
    role: str
    source: str
    fill: str
    written: str
    newest: str


# The same conversations as ours, from where the rows come from. What is said is as long as it is in ours.
_TALKS = f"""
CONTENT, ASKED, ANSWERED = "{CONTENT}", "Buy milk and bread. " * 3, "Done. " * 9

async def talks_of(fetch):
    talks = "SELECT conversation_id::text FROM public.messages GROUP BY 1 "
    long = await fetch(talks + "ORDER BY count(*) DESC, 1 LIMIT {{long}}")
    short = await fetch(talks + "HAVING count(*) = 11 ORDER BY 1 LIMIT 20")
    some = await fetch("SELECT id::text FROM public.conversations ORDER BY md5(id::text) LIMIT 2000")
    return long, short, some
"""

_AGENTS = (
    _TALKS
    + """
from contextlib import asynccontextmanager
from agents.extensions.memory import SQLAlchemySession
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

@asynccontextmanager
async def operations(url):
    engine = create_async_engine(url)

    async def fetch(query):
        async with engine.connect() as connection:
            return (await connection.execute(text(query))).scalars().all()

    long, short, some = await talks_of(fetch)

    async def prepare(number):
        session = SQLAlchemySession(some[0], engine=engine, create_tables=True)
        await session.add_items([{"role": "user", "content": CONTENT}, {"role": "assistant", "content": CONTENT}])

    async def append_turn(number):
        session = SQLAlchemySession(some[number % len(some)], engine=engine)
        await session.add_items([{"role": "user", "content": ASKED}, {"role": "assistant", "content": ANSWERED}])

    async def newest(talk):
        return len(await SQLAlchemySession(talk, engine=engine).get_items(limit=50))

    yield {
        "prepare": prepare,
        "append a turn": append_turn,
        "newest of long": lambda number: newest(long[number % len(long)]),
        "newest of short": lambda number: newest(short[number % len(short)]),
    }
    await engine.dispose()
"""
)
_AGENTS_FILL = f"""
CREATE TEMPORARY TABLE sample AS SELECT message_data AS kept, message_data::json ->> 'role' AS role FROM agent_messages;
TRUNCATE agent_sessions, agent_messages RESTART IDENTITY;
INSERT INTO agent_sessions
SELECT id::text, created_at AT TIME ZONE 'UTC', updated_at AT TIME ZONE 'UTC' FROM public.conversations;
INSERT INTO agent_messages (session_id, message_data, created_at)
SELECT conversation_id::text, replace(sample.kept, '{CONTENT}', content), created_at AT TIME ZONE 'UTC'
FROM public.messages JOIN sample USING (role) ORDER BY created_at, messages.id;
"""

_LANGCHAIN = (
    _TALKS
    + """
from contextlib import asynccontextmanager
import psycopg
from langchain_core.messages import AIMessage, HumanMessage
from langchain_postgres import PostgresChatMessageHistory

@asynccontextmanager
async def operations(url):
    async with await psycopg.AsyncConnection.connect(url) as connection:

        async def fetch(query):
            rows = await (await connection.execute(query)).fetchall()
            await connection.commit()
            return [value for (value,) in rows]

        long, short, some = await talks_of(fetch)

        def history(talk):
            return PostgresChatMessageHistory("chat_history", talk, async_connection=connection)

        async def prepare(number):
            await PostgresChatMessageHistory.acreate_tables(connection, "chat_history")
            await history(some[0]).aadd_messages([HumanMessage(CONTENT), AIMessage(CONTENT)])

        async def append_turn(number):
            talk = history(some[number % len(some)])
            await talk.aadd_messages([HumanMessage(ASKED), AIMessage(ANSWERED)])

        async def newest(talk):
            messages = await history(talk).aget_messages()
            # It leaves the transaction open.
            await connection.commit()
            return len(messages)

        yield {
            "prepare": prepare,
            "append a turn": append_turn,
            "newest of long": lambda number: newest(long[number % len(long)]),
            "newest of short": lambda number: newest(short[number % len(short)]),
        }
"""
)
_LANGCHAIN_FILL = f"""
CREATE TEMPORARY TABLE sample AS
SELECT message::text AS kept, CASE message ->> 'type' WHEN 'human' THEN 'user' ELSE 'assistant' END AS role
FROM chat_history;
TRUNCATE chat_history RESTART IDENTITY;
INSERT INTO chat_history (session_id, message, created_at)
SELECT conversation_id, replace(sample.kept, '{CONTENT}', content)::jsonb, created_at
FROM public.messages JOIN sample USING (role) ORDER BY created_at, messages.id;
"""

# The tables are those of its documentation, which makes no index but the keys'.
_CHAINLIT = (
    _TALKS
    + '''
import uuid
from contextlib import asynccontextmanager
from chainlit.context import init_http_context
from chainlit.data.sql_alchemy import SQLAlchemyDataLayer
from sqlalchemy import text

TABLES = """
CREATE TABLE users (
    "id" UUID PRIMARY KEY, "identifier" TEXT NOT NULL UNIQUE, "metadata" JSONB NOT NULL, "createdAt" TEXT
);
CREATE TABLE threads (
    "id" UUID PRIMARY KEY, "createdAt" TEXT, "name" TEXT, "userId" UUID, "userIdentifier" TEXT, "tags" TEXT[],
    "metadata" JSONB, FOREIGN KEY ("userId") REFERENCES users("id") ON DELETE CASCADE
);
CREATE TABLE steps (
    "id" UUID PRIMARY KEY, "name" TEXT NOT NULL, "type" TEXT NOT NULL, "threadId" UUID NOT NULL, "parentId" UUID,
    "streaming" BOOLEAN NOT NULL, "waitForAnswer" BOOLEAN, "isError" BOOLEAN, "metadata" JSONB, "tags" TEXT[],
    "input" TEXT, "output" TEXT, "createdAt" TEXT, "command" TEXT, "start" TEXT, "end" TEXT, "generation" JSONB,
    "showInput" TEXT, "language" TEXT, "indent" INT, "defaultOpen" BOOLEAN, "modes" JSONB,
    FOREIGN KEY ("threadId") REFERENCES threads("id") ON DELETE CASCADE
);
CREATE TABLE elements (
    "id" UUID PRIMARY KEY, "threadId" UUID, "type" TEXT, "url" TEXT, "chainlitKey" TEXT, "name" TEXT NOT NULL,
    "display" TEXT, "objectKey" TEXT, "size" TEXT, "page" INT, "language" TEXT, "forId" UUID, "mime" TEXT,
    "props" JSONB, FOREIGN KEY ("threadId") REFERENCES threads("id") ON DELETE CASCADE
);
CREATE TABLE feedbacks (
    "id" UUID PRIMARY KEY, "forId" UUID NOT NULL, "threadId" UUID NOT NULL, "value" INT NOT NULL, "comment" TEXT,
    FOREIGN KEY ("threadId") REFERENCES threads("id") ON DELETE CASCADE
);
"""

@asynccontextmanager
async def operations(url):
    init_http_context()
    layer = SQLAlchemyDataLayer(url)

    async def fetch(query):
        async with layer.engine.connect() as connection:
            return (await connection.execute(text(query))).scalars().all()

    long, short, some = await talks_of(fetch)

    async def turn(talk, *said):
        for type_, output in zip(("user_message", "assistant_message"), said, strict=True):
            at = await layer.get_current_timestamp()
            step = {
                "id": str(uuid.uuid4()), "threadId": talk, "createdAt": at, "start": at, "end": at, "output": output,
                "name": type_, "type": type_, "streaming": False, "isError": False, "waitForAnswer": False,
                "metadata": {},
            }
            await layer.create_step(step)

    async def prepare(number):
        async with layer.engine.begin() as connection:
            for statement in TABLES.split(";")[:-1]:
                await connection.execute(text(statement))
        await turn(some[0], CONTENT, CONTENT)

    async def newest(talk):
        return len((await layer.get_thread(talk))["steps"])

    yield {
        "prepare": prepare,
        "append a turn": lambda number: turn(some[number % len(some)], ASKED, ANSWERED),
        "newest of long": lambda number: newest(long[number % len(long)]),
        "newest of short": lambda number: newest(short[number % len(short)]),
    }
    await layer.engine.dispose()
'''
)
_AT = "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
_CHAINLIT_FILL = f"""
CREATE TEMPORARY TABLE sample AS
SELECT steps AS kept, CASE type WHEN 'user_message' THEN 'user' ELSE 'assistant' END AS role FROM steps;
TRUNCATE users, threads, steps, elements, feedbacks;
INSERT INTO users SELECT id, email, '{{}}', {_AT.format("created_at")} FROM public.users;
INSERT INTO threads ("id", "createdAt", "userId", "userIdentifier", "metadata")
SELECT conversations.id, {_AT.format("conversations.created_at")}, user_id, email, '{{}}'
FROM public.conversations JOIN public.users ON users.id = user_id;
INSERT INTO steps SELECT (jsonb_populate_record(sample.kept, jsonb_build_object('id', messages.id,
    'threadId', conversation_id, 'output', content, 'createdAt', at, 'start', at, 'end', at))).*
FROM public.messages JOIN sample USING (role), LATERAL (SELECT {_AT.format("created_at")} AS at) AS written
ORDER BY created_at, messages.id;
"""

CHAT_PEERS = (
    ChatPeer(
        Peer("openai-agents", ("openai-agents[sqlalchemy]", "asyncpg"), "", "", scheme="postgresql+asyncpg"),
        "agents",
        _AGENTS,
        _AGENTS_FILL,
        "agent_messages",
        "`SQLAlchemySession.get_items(limit=50)`",
    ),
    ChatPeer(
        Peer("langchain-postgres", ("langchain-postgres",), "", "", scheme="postgresql"),
        "langchain",
        _LANGCHAIN,
        _LANGCHAIN_FILL,
        "chat_history",
        "`PostgresChatMessageHistory.aget_messages()`, which gives all",
    ),
    ChatPeer(
        Peer(
            "chainlit", ("chainlit", "sqlalchemy", "asyncpg", "greenlet"), "", "", scheme="postgresql+asyncpg"
        ),
        "chainlit",
        _CHAINLIT,
        _CHAINLIT_FILL,
        "steps",
        "`SQLAlchemyDataLayer.get_thread()`, which gives all",
    ),
)
