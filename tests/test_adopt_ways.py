"""Adoption from its ends: of every schema version, by command, and through a pooler up to our sessions on the rows."""

import asyncio
import json

from sqlmodel import select

from tests.support.big_table import fill
from tests.support.chatbots import rows_there
from tests.support.commands import call as command
from tests.support.pooler import Pooler
from tests.support.servers import Server, execute
from tests.support.thorough import series
from tests.support.unversioned import FORGET, ROWS, catalogue, unversioned
from tests.support.ways import Call, both_drivers
from todo_schema import (
    SCHEMA_VERSION,
    MessageCreate,
    Task,
    User,
    adopt,
    append_messages,
    contract,
    downgrade,
    newest_conversations,
    newest_messages,
    newest_tasks,
    session_factory,
    status,
    upgrade,
    user_by_email,
)
from todo_schema.exits import Exit


def test_each_schema_version_and_each_contract_step_is_recognised_by_its_tables(database: str):
    upgrade(database)
    contract(database)
    for to in (None, "c000", *range(SCHEMA_VERSION - 1, 1, -series(4, 1))):
        if to is not None:
            downgrade(database, to=to)
        version, step = status(database).database_version, status(database).contract
        execute(database, FORGET)
        adoption = adopt(database)
        assert (adoption.answer, adoption.version, adoption.changes) == ("recorded", version, ())
        assert status(database).contract == step


def test_the_command_adopts_when_it_is_told_to_and_exits_by_the_answer(server: Server):
    theirs = unversioned(server)

    def said(code: Exit, *arguments: str) -> str:
        answer = command("adopt", *arguments, "--schema", 'we"ird%1', url=theirs)
        assert answer.exit_code == code, answer.output
        return str(answer.stdout)

    execute(theirs, f"{ROWS['blank'][0]}; ALTER TABLE tasks ALTER id TYPE int")
    execute(theirs, 'ALTER SCHEMA public RENAME TO "we""ird%1"; CREATE SCHEMA public')
    before = catalogue(theirs)
    assert "mend these rows first" in said(Exit.PREFLIGHT)
    said(Exit.PREFLIGHT, "--apply")
    assert catalogue(theirs) == before
    execute(theirs, f'SET search_path = "we""ird%1"; {ROWS["blank"][2]}')
    assert "to do it: todo-schema adopt --apply" in said(Exit.OK)
    facts = json.loads(said(Exit.OK, "--widen-keys", "--json"))
    assert [one["rewrites"] for one in facts["changes"] if one["rewrites"]] == [["tasks"]]
    assert catalogue(theirs) == before
    assert json.loads(said(Exit.OK, "--apply", "--widen-keys", "--json"))["answer"] == "adopted"
    assert said(Exit.OK).startswith("schema 1 is recorded")
    execute(theirs, 'SET search_path = "we""ird%1"; ' + FORGET + "; ALTER TABLE tasks DROP completed")
    said(Exit.NOT_OURS, "--apply")
    server.drop_database(theirs)


@both_drivers
async def test_a_chatbot_is_adopted_through_a_pooler_and_its_rows_are_there_for_our_sessions(
    pooler: Pooler, chatbot_database: str, call: Call
):
    fill(chatbot_database, 1000)
    there, url = rows_there(chatbot_database), pooler.url(chatbot_database)
    assert (await asyncio.to_thread(call, "adopt", url, apply=True, pooler=True)).answer == "adopted"
    for name, options in (("upgrade", {}), ("contract", {"allow_unseen": True})):
        await asyncio.to_thread(call, name, url, pooler=True, **options)
    assert rows_there(chatbot_database) == there
    async with session_factory(url, pooler=True) as sessions, sessions.begin() as session:
        user = (await session.exec(select(User).limit(1))).one()
        assert (await session.exec(user_by_email(user.email.upper()))).one() is user
        talk = (await session.exec(newest_conversations(user.id, limit=1))).one()
        said = [MessageCreate(role="user", content="Are you still there?")]
        await append_messages(session, user.id, talk.id, said)
        newest = (await session.exec(newest_messages(user.id, talk.id))).all()
        assert newest[0].content == "Are you still there?"
        assert len(newest) > 1
        assert newest[1].created_at.tzinfo
        session.add(Task(user_id=user.id, title="Water the plants"))
        assert (await session.exec(newest_tasks(user.id, limit=1))).one().title == "Water the plants"
