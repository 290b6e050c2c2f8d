"""Databases whose tables are those of a chatbot without a version of ours, with rows, and ways in which they differ."""

from tests.support import releases
from tests.support.catalog_dump import CATALOGUE
from tests.support.servers import Server, execute
from todo_schema.compatibility import BOOKKEEPING_TABLES

FORGET = "; ".join(f"DROP TABLE IF EXISTS {table}" for table in sorted(BOOKKEEPING_TABLES))

# Each is one way in which real chains differ from ours, and leaves nothing once the tables are adopted.
DIFFERENCES = {
    "naive times": "; ".join(
        f"ALTER TABLE {table} ALTER {column} TYPE timestamp USING {column} AT TIME ZONE 'UTC'"
        for table in ("users", "conversations", "tasks", "messages")
        for column in ("created_at", "updated_at")
        if (table, column) != ("messages", "updated_at")
    ),
    "naive times in milliseconds with a default": """ALTER TABLE tasks ALTER created_at TYPE timestamp(6)
        USING created_at AT TIME ZONE 'UTC', ALTER created_at SET DEFAULT CURRENT_TIMESTAMP""",
    "times with a precision": "ALTER TABLE tasks ALTER created_at TYPE timestamptz(6)",
    "varchar": "ALTER TABLE users ALTER email TYPE varchar",
    "varchar of a length": """ALTER TABLE messages ALTER role TYPE varchar(20);
        ALTER TABLE tasks ALTER title TYPE varchar(200)""",
    "no defaults": """ALTER TABLE users ALTER id DROP DEFAULT, ALTER created_at DROP DEFAULT;
        ALTER TABLE tasks ALTER completed DROP DEFAULT""",
    "another default": "ALTER TABLE messages ALTER created_at SET DEFAULT '2026-01-01'",
    "no comments": "COMMENT ON TABLE users IS NULL; COMMENT ON COLUMN users.email IS NULL",
    "other comments": """COMMENT ON TABLE tasks IS 'what''s "to" do'; COMMENT ON COLUMN tasks.title IS 'x'""",
    "no checks": """ALTER TABLE messages DROP CONSTRAINT ck_messages_role_known;
        ALTER TABLE tasks DROP CONSTRAINT ck_tasks_title_not_blank""",
    "a check that was not validated": """ALTER TABLE tasks DROP CONSTRAINT ck_tasks_title_not_blank,
        ADD CONSTRAINT ck_tasks_title_not_blank CHECK (title ~ '\\S') NOT VALID""",
    "a check of another name": r"""ALTER TABLE tasks RENAME CONSTRAINT ck_tasks_title_not_blank TO "Title %";
        ALTER TABLE users RENAME CONSTRAINT ck_users_email_not_blank TO check_1""",
    "a check of our name that says something else": """ALTER TABLE tasks DROP CONSTRAINT ck_tasks_title_not_blank,
        ADD CONSTRAINT ck_tasks_title_not_blank CHECK (length(title) > 0)""",
    "the same check on varchar": """ALTER TABLE messages DROP CONSTRAINT ck_messages_role_known,
        ALTER role TYPE varchar(20),
        ADD CONSTRAINT ck_messages_role_known CHECK (role IN ('user', 'assistant', 'system', 'tool'))""",
    "another check on what ours checks": """ALTER TABLE messages DROP CONSTRAINT ck_messages_role_known,
        ADD CONSTRAINT valid_role CHECK (role IN ('user', 'assistant', 'system', 'tool', 'x'))""",
    "keys of PostgreSQL's names": """ALTER TABLE users RENAME CONSTRAINT pk_users TO users_pkey;
        ALTER TABLE tasks RENAME CONSTRAINT fk_tasks_user_id_users TO tasks_user_id_fkey;
        ALTER TABLE messages RENAME CONSTRAINT fk_messages_user_id_users TO fk_messages_user_id""",
    "keys that do not cascade": """ALTER TABLE tasks DROP CONSTRAINT fk_tasks_user_id_users,
        ADD CONSTRAINT tasks_user_id_fkey FOREIGN KEY (user_id) REFERENCES users""",
    "keys of our name that do not cascade": """ALTER TABLE tasks DROP CONSTRAINT fk_tasks_user_id_users,
        ADD CONSTRAINT fk_tasks_user_id_users FOREIGN KEY (user_id) REFERENCES users""",
    "a key that was not validated": """ALTER TABLE tasks DROP CONSTRAINT fk_tasks_user_id_users,
        ADD CONSTRAINT f FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE NOT VALID""",
    "no keys": """ALTER TABLE tasks DROP CONSTRAINT fk_tasks_user_id_users;
        ALTER TABLE messages DROP CONSTRAINT fk_messages_conversation_id_conversations""",
    "an index of ours by another name, and another by ours": """ALTER INDEX ix_users_email RENAME TO users_email_key;
        CREATE INDEX ix_users_email ON users (email)""",
    "a second unique index on a key": "CREATE UNIQUE INDEX ix_users_id ON users (id)",
    "a second index on a key": "CREATE INDEX ix_tasks_id ON tasks (id)",
    "an index twice": "CREATE INDEX idx_user ON tasks (user_id)",
    "indexes of other names": """ALTER INDEX ix_task_user_id RENAME TO ix_tasks_user_id;
        ALTER INDEX ix_users_email RENAME TO "Ix %";""",
    "no indexes": "DROP INDEX ix_users_email; DROP INDEX ix_message_created_at",
    "another index of our name": "DROP INDEX ix_users_email; CREATE INDEX ix_users_email ON users (email)",
    "a unique constraint beside the index": "ALTER TABLE users ADD UNIQUE (email)",
    "a unique constraint for the index": "DROP INDEX ix_users_email; ALTER TABLE users ADD UNIQUE (email)",
    "a sequence": """ALTER TABLE tasks ALTER id DROP IDENTITY; CREATE SEQUENCE tasks_id_seq OWNED BY tasks.id;
        ALTER TABLE tasks ALTER id SET DEFAULT nextval('tasks_id_seq');
        SELECT setval('tasks_id_seq', 14)""",
    "an identity that is always generated": "ALTER TABLE tasks ALTER id SET GENERATED ALWAYS",
    "numbers that the application chooses": "ALTER TABLE tasks ALTER id DROP IDENTITY",
    "null allowed": "ALTER TABLE tasks ALTER title DROP NOT NULL, ALTER updated_at DROP NOT NULL",
    "null forbidden": """UPDATE tasks SET description = 'none' WHERE description IS NULL;
        ALTER TABLE tasks ALTER description SET NOT NULL""",
    "what a call that died has left": """ALTER TABLE tasks ALTER title DROP NOT NULL,
        ADD CONSTRAINT todo_schema_not_null_tasks_title CHECK (title IS NOT NULL) NOT VALID;
        CREATE INDEX todo_schema_old_ix_task_user_id ON tasks (user_id, title)""",
}

# The four tables as `create_all` makes them of a tutorial's SQLModel classes: nothing cascades, and times are naive.
TUTORIAL = """
    CREATE TABLE users (id uuid PRIMARY KEY, email varchar NOT NULL, created_at timestamp NOT NULL,
        updated_at timestamp);
    CREATE UNIQUE INDEX ix_users_email ON users (email);
    CREATE TABLE conversations (id uuid PRIMARY KEY, user_id uuid NOT NULL REFERENCES users,
        created_at timestamp NOT NULL, updated_at timestamp NOT NULL);
    CREATE TABLE messages (id uuid PRIMARY KEY, conversation_id uuid NOT NULL REFERENCES conversations,
        user_id uuid REFERENCES users, role varchar NOT NULL, content varchar, created_at timestamp);
    CREATE TABLE tasks (id serial PRIMARY KEY, user_id uuid NOT NULL REFERENCES users, title varchar NOT NULL,
        description varchar, completed bool NOT NULL, created_at timestamp NOT NULL, updated_at timestamp NOT NULL);
    INSERT INTO users VALUES (gen_random_uuid(), 'ada@example.com', now(), now());
    INSERT INTO conversations SELECT gen_random_uuid(), id, now(), now() FROM users;
    INSERT INTO messages SELECT gen_random_uuid(), id, user_id, 'user', 'Hello', now() FROM conversations;
    INSERT INTO tasks SELECT 1, id, 'Water the plants', NULL, false, now(), now() FROM users"""

# What stays, each with the line that says so.
KEPT = {
    "CREATE INDEX idx_role ON messages (role)": "index messages.idx_role",
    "CREATE INDEX idx_title ON tasks (lower(title)) WHERE completed": "index tasks.idx_title",
    "ALTER TABLE users ADD full_name varchar(255)": "column users.full_name: character varying(255)",
    "ALTER TABLE users ADD is_active bool NOT NULL DEFAULT true": "column users.is_active",
    "ALTER TABLE messages ALTER role SET DEFAULT 'user'": "column messages.role: its default 'user'::text",
    "ALTER TABLE tasks ADD CHECK (description <> 'x')": "constraint tasks.tasks_description_check",
    "ALTER TABLE tasks ADD UNIQUE (user_id, title)": "constraint tasks.tasks_user_id_title_key",
    """CREATE SCHEMA auth; CREATE TABLE auth.users (id uuid PRIMARY KEY); INSERT INTO auth.users SELECT id FROM users;
    ALTER TABLE tasks ADD CONSTRAINT signed_in FOREIGN KEY (user_id) REFERENCES auth.users""": "constraint "
    "tasks.signed_in",
    "CREATE UNIQUE INDEX u ON tasks (id); ALTER TABLE tasks REPLICA IDENTITY USING INDEX u": "index tasks.u: "
    "CREATE UNIQUE INDEX u ON tasks USING btree (id), for the replica identity of tasks rests on it",
    "ALTER TABLE tasks ALTER id TYPE int": "column tasks.id: integer, whose numbers end at 2,147,483,647",
    """CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
    CREATE TRIGGER t BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch()""": "trigger users.t",
    """CREATE UNIQUE INDEX ix_users_id ON users (id);
    CREATE TABLE theirs (id uuid REFERENCES users (id));
    UPDATE pg_constraint SET conindid = 'ix_users_id'::regclass WHERE conrelid = 'theirs'::regclass""": "index "
    "users.ix_users_id",
}

# What cannot be changed beside others, each with the lines that say so.
OBSTACLES = {
    "keys that are text": (
        """ALTER TABLE tasks DROP CONSTRAINT fk_tasks_user_id_users, ALTER user_id TYPE varchar(100)""",
        ("column tasks.user_id: found character varying(100), needed uuid",),
    ),
    "missing columns": (
        "ALTER TABLE tasks DROP completed; ALTER TABLE users DROP updated_at",
        ("column tasks.completed: missing", "column users.updated_at: missing"),
    ),
    "a missing table": ("DROP TABLE messages", ("table messages: missing",)),
    "an enum": (
        """CREATE TYPE role AS ENUM ('user', 'assistant', 'system', 'tool'); ALTER TABLE messages DROP CONSTRAINT
        ck_messages_role_known, ALTER role TYPE role USING role::role""",
        ("column messages.role: found role, needed text",),
    ),
    "a view on a column that has to change": (
        """ALTER TABLE tasks ALTER title TYPE varchar; CREATE VIEW v AS SELECT title FROM tasks""",
        ("column tasks.title: view v reads it",),
    ),
    "a trigger on a column that has to change": (
        """ALTER TABLE tasks ALTER title TYPE varchar;
        CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
        CREATE TRIGGER t BEFORE UPDATE OF title ON tasks FOR EACH ROW EXECUTE FUNCTION f()""",
        ("column tasks.title: trigger t on table tasks reads it",),
    ),
    "a column that we would never fill": (
        """ALTER TABLE users ADD hashed_password text NOT NULL DEFAULT '';
        ALTER TABLE users ALTER hashed_password DROP DEFAULT""",
        ("column users.hashed_password: found text not null, which todo_schema never writes",),
    ),
    "a generated column": (
        "ALTER TABLE tasks DROP description, ADD description text GENERATED ALWAYS AS (title || '!') STORED",
        ("column tasks.description: found a generated column",),
    ),
    "another key": (
        "ALTER TABLE tasks DROP CONSTRAINT pk_tasks, ADD CONSTRAINT pk_tasks PRIMARY KEY (user_id, id)",
        ("constraint tasks.pk_tasks: missing, needed PRIMARY KEY (id)",),
    ),
    "a check of theirs on a column that has to change": (
        "ALTER TABLE messages ALTER content TYPE varchar, ADD CHECK (content <> 'x')",
        ("constraint messages.messages_content_check: found CHECK",),
    ),
    "a column that a later revision adds with another type": (
        "ALTER TABLE tasks ADD due_at text, ADD priority int",
        (
            "column tasks.due_at: found text, needed timestamp with time zone by the time of revision 014",
            "column tasks.priority: found integer, needed smallint by the time of revision 015",
        ),
    ),
    "an unlogged table": ("ALTER TABLE tasks SET UNLOGGED", ("table tasks: found table unlogged",)),
    "indexes that compute with a column that has to change": (
        """ALTER TABLE messages ALTER created_at TYPE timestamp USING created_at AT TIME ZONE 'UTC';
        CREATE INDEX i ON messages (date(created_at));
        CREATE INDEX j ON messages (user_id) WHERE created_at > '2024-01-01'""",
        ("index messages.i: found CREATE INDEX i", "index messages.j: found CREATE INDEX j"),
    ),
    "a unique index on a column that has to change": (
        """ALTER TABLE messages ALTER created_at TYPE timestamp USING created_at AT TIME ZONE 'UTC';
        CREATE UNIQUE INDEX i ON messages (id, created_at)""",
        ("index messages.i: found CREATE UNIQUE INDEX i",),
    ),
    "names of ours that something else has": (
        """ALTER TABLE users RENAME CONSTRAINT pk_users TO users_pkey; DROP INDEX ix_message_created_at;
        CREATE TABLE theirs (id int CONSTRAINT pk_users PRIMARY KEY);
        CREATE INDEX ix_message_created_at ON theirs (id)""",
        (
            "constraint users.pk_users: its name is that of index pk_users",
            "index messages.ix_message_created_at: its name is that of index ix_message_created_at",
        ),
    ),
    "a constraint that has the name of our index": (
        "DROP INDEX ix_users_email; ALTER TABLE users ADD CONSTRAINT ix_users_email UNIQUE (email)",
        ("index users.ix_users_email: its name is that of index ix_users_email of users",),
    ),
    "a key of ours by another name, and another by ours": (
        """ALTER TABLE tasks RENAME CONSTRAINT fk_tasks_user_id_users TO tasks_user_id_fkey;
        ALTER TABLE tasks ADD assigned_to uuid CONSTRAINT fk_tasks_user_id_users REFERENCES users""",
        (
            "constraint tasks.fk_tasks_user_id_users: found FOREIGN KEY (assigned_to) REFERENCES users(id), while",
        ),
    ),
    "a table that takes its columns from elsewhere": (
        """CREATE TABLE theirs (LIKE tasks) PARTITION BY LIST (completed); ALTER TABLE theirs ALTER id DROP NOT NULL;
        ALTER TABLE tasks ALTER id DROP IDENTITY; ALTER TABLE theirs ATTACH PARTITION tasks DEFAULT""",
        ("table tasks: found a partition of theirs, needed one by itself",),
    ),
    "a column of the row type": (
        "ALTER TABLE tasks ALTER title TYPE varchar; CREATE TABLE theirs (task tasks)",
        ("column tasks.title: column theirs.task reads it",),
    ),
    "a function on a column that has to change": (
        """ALTER TABLE tasks ALTER title TYPE varchar;
        CREATE FUNCTION f(task tasks) RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT task.title; END""",
        ("column tasks.title: function f(tasks) reads it",),
    ),
    "an inherited column that has to change": (
        """ALTER TABLE tasks ALTER title TYPE varchar; CREATE TABLE theirs (title varchar NOT NULL);
        ALTER TABLE tasks INHERIT theirs""",
        ("column tasks.title: the table that it is inherited from reads it",),
    ),
    "a collation": (
        'ALTER TABLE users ALTER email TYPE text COLLATE "C"',
        ("column users.email: found collation C",),
    ),
}

# Rows that ours do not allow: how they come in, the rule, how many, and what mends them.
ROWS = {
    "null": (
        "ALTER TABLE tasks ALTER title DROP NOT NULL; UPDATE tasks SET title = NULL WHERE id <= 3",
        ("tasks.title is not null", 3),
        "UPDATE tasks SET title = 'untitled' WHERE title IS NULL",
    ),
    "blank": (
        "ALTER TABLE tasks DROP CONSTRAINT ck_tasks_title_not_blank; UPDATE tasks SET title = ' ' WHERE id = 1",
        ("ck_tasks_title_not_blank", 1),
        "UPDATE tasks SET title = 'x' WHERE id = 1",
    ),
    "dangling": (
        """ALTER TABLE tasks DROP CONSTRAINT fk_tasks_user_id_users;
        UPDATE tasks SET user_id = gen_random_uuid() WHERE id = 1""",
        ("fk_tasks_user_id_users", 1),
        "DELETE FROM tasks WHERE id = 1",
    ),
    "twice": (
        """DROP INDEX ix_users_email;
        UPDATE users SET email = 'same@example.com' WHERE id IN (SELECT id FROM users ORDER BY id LIMIT 2)""",
        ("ix_users_email", 2),
        "UPDATE users SET email = id::text WHERE email = 'same@example.com'",
    ),
}


def unversioned(server: Server) -> str:
    """Make a database of the first schema version with rows, which has forgotten that it is ours."""
    url = releases.restore(server, releases.releases()[0])
    execute(url, FORGET)
    execute(url, "ANALYZE")
    return url


def catalogue(url: str) -> list[str]:
    """What a database has, without our bookkeeping, a line each."""
    ((text,),) = execute(url, CATALOGUE)
    return [
        line
        for line in str(text).splitlines()
        if "todo_schema_version" not in line and "todo_schema_history" not in line
    ]
