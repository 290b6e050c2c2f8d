"""Tasks that another sequence has numbered than a column of its own would: no number is drawn twice."""

from tests.support.servers import execute
from tests.support.ways import Call, drivers_by_turns
from todo_schema import check, upgrade

# What numbers the tasks, each with the number that comes next: the sequence of the column has drawn 3 of them.
NUMBERED = {
    'ALTER SEQUENCE tasks_id_seq RENAME TO "their\'%s; ""seq"': 4,
    """CREATE SEQUENCE theirs; SELECT setval('theirs', 5000);
    ALTER TABLE tasks ALTER id SET DEFAULT nextval('theirs')""": 5001,
    """ALTER TABLE tasks ALTER id DROP DEFAULT; DROP SEQUENCE tasks_id_seq; CREATE SCHEMA elsewhere;
    CREATE SEQUENCE elsewhere."Their Seq"; SELECT setval('elsewhere."Their Seq"', 5000);
    ALTER TABLE tasks ALTER id SET DEFAULT nextval('elsewhere."Their Seq"')""": 5001,
    """CREATE TABLE theirs (id int PRIMARY KEY DEFAULT nextval('tasks_id_seq'));
    SELECT setval('tasks_id_seq', 5000)""": 5001,
    "ALTER TABLE tasks ALTER id DROP DEFAULT; SELECT setval('tasks_id_seq', 2)": 4,
    "SELECT setval('tasks_id_seq', 5000); DELETE FROM tasks": 5001,
}


@drivers_by_turns("statement", NUMBERED)
def test_tasks_are_numbered_where_their_sequence_was(chatbot_database: str, call: Call, statement: str):
    execute(chatbot_database, "INSERT INTO users VALUES (gen_random_uuid(), 'ann@example.com', now(), now())")
    add = """INSERT INTO tasks (user_id, title, completed, created_at, updated_at)
        SELECT id, 'milk', false, now(), now() FROM users RETURNING id"""
    assert [execute(chatbot_database, add)[0][0] for _ in range(3)] == [1, 2, 3]
    execute(chatbot_database, statement)
    call("adopt", chatbot_database, apply=True)
    assert execute(chatbot_database, add) == [(NUMBERED[statement],)]
    upgrade(chatbot_database)
    check(chatbot_database, deep=True)
    assert execute(chatbot_database, add) == [(NUMBERED[statement] + 1,)]
