-- As todo-schema 0.2.0 made and filled it.
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
CREATE FUNCTION public.todo_schema_complete() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF NOT NEW.completed THEN
        NEW.completed_at := NULL;
    ELSIF TG_OP = 'INSERT' OR NOT OLD.completed THEN
        NEW.completed_at := coalesce(NEW.completed_at, clock_timestamp());
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION public.todo_schema_complete() IS 'todo_schema 016';
CREATE FUNCTION public.todo_schema_touch() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF current_setting('todo_schema.backfill', true) = 'on' THEN
        RETURN NEW;
    END IF;
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION public.todo_schema_touch() IS 'todo_schema 010';
CREATE FUNCTION public.todo_schema_uuid7() RETURNS uuid
    LANGUAGE plpgsql PARALLEL SAFE
    AS $$
DECLARE
    micros bigint;
BEGIN
    IF current_setting('server_version_num')::int >= 180000 THEN
        RETURN uuidv7();
    END IF;
    micros := floor(extract(epoch FROM clock_timestamp()) * 1000000);
    RETURN encode(
        overlay(
            uuid_send(gen_random_uuid())
            PLACING int8send(((micros / 1000) << 16) | (7 << 12) | (micros % 1000 * 4096 / 1000))
            FROM 1 FOR 8),
        'hex')::uuid;
END
$$;
COMMENT ON FUNCTION public.todo_schema_uuid7() IS 'todo_schema 007';
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public.conversations (
    id uuid DEFAULT public.todo_schema_uuid7() NOT NULL,
    user_id uuid NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    title text,
    CONSTRAINT ck_conversations_title_length CHECK (((length(title) >= 1) AND (length(title) <= 255)))
);
COMMENT ON TABLE public.conversations IS 'Threads of messages between one user and the assistant.';
COMMENT ON COLUMN public.conversations.id IS 'UUID of version 7; of version 4 in rows of before.';
COMMENT ON COLUMN public.conversations.user_id IS 'User that the conversation belongs to.';
COMMENT ON COLUMN public.conversations.created_at IS 'When the row was written.';
COMMENT ON COLUMN public.conversations.updated_at IS 'When the row was last changed.';
COMMENT ON COLUMN public.conversations.title IS 'What the conversation is about, or null.';
CREATE TABLE public.messages (
    id uuid DEFAULT public.todo_schema_uuid7() NOT NULL,
    conversation_id uuid NOT NULL,
    user_id uuid NOT NULL,
    role text NOT NULL,
    content text NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    payload jsonb,
    CONSTRAINT ck_messages_content_length CHECK ((length(content) <= 10485760)),
    CONSTRAINT ck_messages_payload_object CHECK ((jsonb_typeof(payload) = 'object'::text)),
    CONSTRAINT ck_messages_role_known CHECK ((role = ANY (ARRAY['user'::text, 'assistant'::text, 'system'::text, 'tool'::text])))
);
COMMENT ON TABLE public.messages IS 'Turns of the conversations; written once and not changed.';
COMMENT ON COLUMN public.messages.id IS 'UUID of version 7; of version 4 in rows of before.';
COMMENT ON COLUMN public.messages.conversation_id IS 'Conversation that the message is part of.';
COMMENT ON COLUMN public.messages.user_id IS 'User whose conversation it is, also for what the assistant said.';
COMMENT ON COLUMN public.messages.role IS 'Who speaks: user, assistant, system or tool.';
COMMENT ON COLUMN public.messages.content IS 'What was said.';
COMMENT ON COLUMN public.messages.created_at IS 'When the row was written.';
COMMENT ON COLUMN public.messages.payload IS 'Tool calls, attachments and the like; or null.';
CREATE TABLE public.tasks (
    id bigint NOT NULL,
    user_id uuid NOT NULL,
    title text NOT NULL,
    description text,
    completed boolean DEFAULT false NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    due_at timestamp with time zone,
    priority smallint DEFAULT 0 NOT NULL,
    completed_at timestamp with time zone,
    CONSTRAINT ck_tasks_description_length CHECK ((length(description) <= 16384)),
    CONSTRAINT ck_tasks_priority_known CHECK (((priority >= 0) AND (priority <= 9))),
    CONSTRAINT ck_tasks_title_length CHECK ((length(title) <= 1024)),
    CONSTRAINT ck_tasks_title_not_blank CHECK ((title ~ '\S'::text))
);
COMMENT ON TABLE public.tasks IS 'Things to do, with a number short enough to say in a chat.';
COMMENT ON COLUMN public.tasks.id IS 'Small number that the database assigns.';
COMMENT ON COLUMN public.tasks.user_id IS 'User whose task it is.';
COMMENT ON COLUMN public.tasks.title IS 'What is to be done; not blank.';
COMMENT ON COLUMN public.tasks.description IS 'More about it, or null.';
COMMENT ON COLUMN public.tasks.completed IS 'Whether it is done.';
COMMENT ON COLUMN public.tasks.created_at IS 'When the row was written.';
COMMENT ON COLUMN public.tasks.updated_at IS 'When the row was last changed.';
COMMENT ON COLUMN public.tasks.due_at IS 'When it is to be done, or null.';
COMMENT ON COLUMN public.tasks.priority IS '1 is the highest, 9 the lowest; 0 says nothing.';
COMMENT ON COLUMN public.tasks.completed_at IS 'When it was done, kept by the database; null where it is not, or nobody knows.';
ALTER TABLE public.tasks ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.tasks_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.todo_schema_history (
    id bigint NOT NULL,
    revision text NOT NULL,
    line text NOT NULL,
    ordinal integer NOT NULL,
    action text NOT NULL,
    floor integer NOT NULL,
    package_version text NOT NULL,
    checksum text,
    applied_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    duration interval NOT NULL,
    host text NOT NULL,
    role text DEFAULT CURRENT_USER NOT NULL,
    application_name text NOT NULL,
    CONSTRAINT ck_todo_schema_history_floor_positive CHECK ((floor >= 1)),
    CONSTRAINT ck_todo_schema_history_line_known CHECK ((line = ANY (ARRAY['expand'::text, 'contract'::text])))
);
COMMENT ON TABLE public.todo_schema_history IS 'Revisions of todo_schema as they were applied here; only ever added to.';
COMMENT ON COLUMN public.todo_schema_history.id IS 'Order of the rows.';
COMMENT ON COLUMN public.todo_schema_history.revision IS 'Revision, or base where everything was undone.';
COMMENT ON COLUMN public.todo_schema_history.line IS 'Line of revisions: expand or contract.';
COMMENT ON COLUMN public.todo_schema_history.ordinal IS 'Number of the revision in its line.';
COMMENT ON COLUMN public.todo_schema_history.action IS 'What was done: upgrade, downgrade, stamp or adopt.';
COMMENT ON COLUMN public.todo_schema_history.floor IS 'Oldest schema version whose package may use the database since then.';
COMMENT ON COLUMN public.todo_schema_history.package_version IS 'Version of the package that did it.';
COMMENT ON COLUMN public.todo_schema_history.checksum IS 'SHA-256 of the revision file.';
COMMENT ON COLUMN public.todo_schema_history.applied_at IS 'When.';
COMMENT ON COLUMN public.todo_schema_history.duration IS 'How long it took.';
COMMENT ON COLUMN public.todo_schema_history.host IS 'Machine that did it.';
COMMENT ON COLUMN public.todo_schema_history.role IS 'Database role that did it.';
COMMENT ON COLUMN public.todo_schema_history.application_name IS 'Name that its connection carried.';
ALTER TABLE public.todo_schema_history ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.todo_schema_history_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.todo_schema_version (
    version_num text NOT NULL
);
COMMENT ON TABLE public.todo_schema_version IS 'Revision of todo_schema that this database is at; kept by the package.';
COMMENT ON COLUMN public.todo_schema_version.version_num IS 'Newest revision applied.';
CREATE TABLE public.users (
    id uuid DEFAULT public.todo_schema_uuid7() NOT NULL,
    email text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT ck_users_email_length CHECK ((length(email) <= 320)),
    CONSTRAINT ck_users_email_not_blank CHECK ((email ~ '\S'::text))
);
COMMENT ON TABLE public.users IS 'People who talk to the assistant; the owners of everything else.';
COMMENT ON COLUMN public.users.id IS 'UUID of version 7; of version 4 in rows of before.';
COMMENT ON COLUMN public.users.email IS 'Address that the person signs in with; unique.';
COMMENT ON COLUMN public.users.created_at IS 'When the row was written.';
COMMENT ON COLUMN public.users.updated_at IS 'When the row was last changed.';
INSERT INTO public.conversations (id, user_id, created_at, updated_at, title) VALUES ('01a1fe39-172a-714b-b46b-bc6143820ac9', '00000000-0000-0000-0000-000000000001', '2026-11-21 13:08:36.775022+00', '2024-02-29 23:59:59.999999+00', 'a title: é 🦄');
INSERT INTO public.conversations (id, user_id, created_at, updated_at, title) VALUES ('01a1fe39-172a-714b-b46b-bc62670af58a', '00000000-0000-0000-0000-000000000001', '2026-11-21 13:08:36.775022+00', '2024-02-29 23:59:59.999999+00', NULL);
INSERT INTO public.conversations (id, user_id, created_at, updated_at, title) VALUES ('01a1fe39-172a-714b-b46b-bc637969c649', '01a1fe39-16f4-7730-8d88-05087a04d0d5', '2026-11-21 13:08:36.775022+00', '2024-02-29 23:59:59.999999+00', NULL);
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-172f-712b-b40b-443d99781139', '01a1fe39-172a-714b-b46b-bc6143820ac9', '00000000-0000-0000-0000-000000000001', 'user', '', '2026-11-21 13:08:36.79163+00', NULL);
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-172f-712b-b40b-443e42a928cb', '01a1fe39-172a-714b-b46b-bc62670af58a', '00000000-0000-0000-0000-000000000001', 'assistant', '', '2026-11-21 13:08:36.791939+00', '{}');
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-172f-712b-b40b-443ffd7f3986', '01a1fe39-172a-714b-b46b-bc637969c649', '01a1fe39-16f4-7730-8d88-05087a04d0d5', 'system', '', '2026-11-21 13:08:36.791946+00', NULL);
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-172f-712b-b40b-44409689a5d9', '01a1fe39-172a-714b-b46b-bc6143820ac9', '00000000-0000-0000-0000-000000000001', 'tool', '', '2026-11-21 13:08:36.79195+00', '{"tool_calls": [{"text": "it''s ''''quoted'''' and \"quoted\""}]}');
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-172f-712b-b40b-4441c1648231', '01a1fe39-172a-714b-b46b-bc62670af58a', '00000000-0000-0000-0000-000000000001', 'user', ' 	 leading and trailing 	 ', '2026-11-21 13:08:36.791954+00', NULL);
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-172f-712b-b40b-4442d16ab6c0', '01a1fe39-172a-714b-b46b-bc637969c649', '01a1fe39-16f4-7730-8d88-05087a04d0d5', 'assistant', ' 	 leading and trailing 	 ', '2026-11-21 13:08:36.791957+00', '{}');
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-172f-712b-b40b-44439f83fb0a', '01a1fe39-172a-714b-b46b-bc6143820ac9', '00000000-0000-0000-0000-000000000001', 'system', ' 	 leading and trailing 	 ', '2026-11-21 13:08:36.79196+00', NULL);
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-172f-712b-b40b-444435971055', '01a1fe39-172a-714b-b46b-bc62670af58a', '00000000-0000-0000-0000-000000000001', 'tool', ' 	 leading and trailing 	 ', '2026-11-21 13:08:36.791962+00', '{"tool_calls": [{"text": "it''s ''''quoted'''' and \"quoted\""}]}');
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-172f-712b-b40b-44454b1b9b50', '01a1fe39-172a-714b-b46b-bc637969c649', '01a1fe39-16f4-7730-8d88-05087a04d0d5', 'user', 'it''s ''''quoted'''' and "quoted"', '2026-11-21 13:08:36.791965+00', NULL);
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-1730-7578-bcbd-421609054e96', '01a1fe39-172a-714b-b46b-bc6143820ac9', '00000000-0000-0000-0000-000000000001', 'assistant', 'it''s ''''quoted'''' and "quoted"', '2026-11-21 13:08:36.791967+00', '{}');
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-1730-7578-bcbd-421788946f89', '01a1fe39-172a-714b-b46b-bc62670af58a', '00000000-0000-0000-0000-000000000001', 'system', 'it''s ''''quoted'''' and "quoted"', '2026-11-21 13:08:36.79197+00', NULL);
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-1730-7578-bcbd-42187e68806a', '01a1fe39-172a-714b-b46b-bc637969c649', '01a1fe39-16f4-7730-8d88-05087a04d0d5', 'tool', 'it''s ''''quoted'''' and "quoted"', '2026-11-21 13:08:36.791973+00', '{"tool_calls": [{"text": "it''s ''''quoted'''' and \"quoted\""}]}');
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-1730-7578-bcbd-421959c5b202', '01a1fe39-172a-714b-b46b-bc6143820ac9', '00000000-0000-0000-0000-000000000001', 'user', '100 %, %s, %(name)s, %%, :name, $1, {braces}', '2026-11-21 13:08:36.791975+00', NULL);
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-1730-7578-bcbd-421a57e591ba', '01a1fe39-172a-714b-b46b-bc62670af58a', '00000000-0000-0000-0000-000000000001', 'assistant', '100 %, %s, %(name)s, %%, :name, $1, {braces}', '2026-11-21 13:08:36.791981+00', '{}');
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-1730-7578-bcbd-421be4a7369d', '01a1fe39-172a-714b-b46b-bc637969c649', '01a1fe39-16f4-7730-8d88-05087a04d0d5', 'system', '100 %, %s, %(name)s, %%, :name, $1, {braces}', '2026-11-21 13:08:36.791984+00', NULL);
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-1730-7578-bcbd-421cace65684', '01a1fe39-172a-714b-b46b-bc6143820ac9', '00000000-0000-0000-0000-000000000001', 'tool', '100 %, %s, %(name)s, %%, :name, $1, {braces}', '2026-11-21 13:08:36.791986+00', '{"tool_calls": [{"text": "it''s ''''quoted'''' and \"quoted\""}]}');
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-1730-7578-bcbd-421df706a3b8', '01a1fe39-172a-714b-b46b-bc62670af58a', '00000000-0000-0000-0000-000000000001', 'user', 'back\slash, \n, \\, \''; DROP TABLE users; --', '2026-11-21 13:08:36.791989+00', NULL);
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-1730-7578-bcbd-421e8f3a3f82', '01a1fe39-172a-714b-b46b-bc637969c649', '01a1fe39-16f4-7730-8d88-05087a04d0d5', 'assistant', 'back\slash, \n, \\, \''; DROP TABLE users; --', '2026-11-21 13:08:36.791992+00', '{}');
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-1730-7578-bcbd-421fe0c7e4d0', '01a1fe39-172a-714b-b46b-bc6143820ac9', '00000000-0000-0000-0000-000000000001', 'system', 'back\slash, \n, \\, \''; DROP TABLE users; --', '2026-11-21 13:08:36.791994+00', NULL);
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-1730-7578-bcbd-4220e3cfa320', '01a1fe39-172a-714b-b46b-bc62670af58a', '00000000-0000-0000-0000-000000000001', 'tool', 'back\slash, \n, \\, \''; DROP TABLE users; --', '2026-11-21 13:08:36.791997+00', '{"tool_calls": [{"text": "it''s ''''quoted'''' and \"quoted\""}]}');
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-1730-7578-bcbd-422121b660a3', '01a1fe39-172a-714b-b46b-bc637969c649', '01a1fe39-16f4-7730-8d88-05087a04d0d5', 'user', 'a line
and
anotherone', '2026-11-21 13:08:36.791999+00', NULL);
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-1730-7578-bcbd-422202597dce', '01a1fe39-172a-714b-b46b-bc6143820ac9', '00000000-0000-0000-0000-000000000001', 'assistant', 'a line
and
anotherone', '2026-11-21 13:08:36.792002+00', '{}');
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-1731-7378-b07a-5a3298c1a237', '01a1fe39-172a-714b-b46b-bc62670af58a', '00000000-0000-0000-0000-000000000001', 'system', 'a line
and
anotherone', '2026-11-21 13:08:36.792004+00', NULL);
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-1731-7378-b07a-5a3303c8e5cf', '01a1fe39-172a-714b-b46b-bc637969c649', '01a1fe39-16f4-7730-8d88-05087a04d0d5', 'tool', 'a line
and
anotherone', '2026-11-21 13:08:36.792007+00', '{"tool_calls": [{"text": "it''s ''''quoted'''' and \"quoted\""}]}');
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-1731-7378-b07a-5a3417c8bbc0', '01a1fe39-172a-714b-b46b-bc6143820ac9', '00000000-0000-0000-0000-000000000001', 'user', 'first
-- not a comment


\restrict nothing
\.
SET transaction_timeout = 0;
$$ $a$ /* */', '2026-11-21 13:08:36.792011+00', NULL);
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-1731-7378-b07a-5a3590d33585', '01a1fe39-172a-714b-b46b-bc62670af58a', '00000000-0000-0000-0000-000000000001', 'assistant', 'first
-- not a comment


\restrict nothing
\.
SET transaction_timeout = 0;
$$ $a$ /* */', '2026-11-21 13:08:36.792014+00', '{}');
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-1731-7378-b07a-5a36f154c04a', '01a1fe39-172a-714b-b46b-bc637969c649', '01a1fe39-16f4-7730-8d88-05087a04d0d5', 'system', 'first
-- not a comment


\restrict nothing
\.
SET transaction_timeout = 0;
$$ $a$ /* */', '2026-11-21 13:08:36.792017+00', NULL);
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-1731-7378-b07a-5a373ffe971f', '01a1fe39-172a-714b-b46b-bc6143820ac9', '00000000-0000-0000-0000-000000000001', 'tool', 'first
-- not a comment


\restrict nothing
\.
SET transaction_timeout = 0;
$$ $a$ /* */', '2026-11-21 13:08:36.79202+00', '{"tool_calls": [{"text": "it''s ''''quoted'''' and \"quoted\""}]}');
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-1731-7378-b07a-5a38ca615fbe', '01a1fe39-172a-714b-b46b-bc62670af58a', '00000000-0000-0000-0000-000000000001', 'user', 'äßé 日本語 🦄 é ​  ', '2026-11-21 13:08:36.792023+00', NULL);
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-1731-7378-b07a-5a397c078b2b', '01a1fe39-172a-714b-b46b-bc637969c649', '01a1fe39-16f4-7730-8d88-05087a04d0d5', 'assistant', 'äßé 日本語 🦄 é ​  ', '2026-11-21 13:08:36.792025+00', '{}');
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-1731-7378-b07a-5a3ad34be471', '01a1fe39-172a-714b-b46b-bc6143820ac9', '00000000-0000-0000-0000-000000000001', 'system', 'äßé 日本語 🦄 é ​  ', '2026-11-21 13:08:36.792028+00', NULL);
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-1731-7378-b07a-5a3b63e676d1', '01a1fe39-172a-714b-b46b-bc62670af58a', '00000000-0000-0000-0000-000000000001', 'tool', 'äßé 日本語 🦄 é ​  ', '2026-11-21 13:08:36.792031+00', '{"tool_calls": [{"text": "it''s ''''quoted'''' and \"quoted\""}]}');
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-1731-7378-b07a-5a3cc3cea58f', '01a1fe39-172a-714b-b46b-bc637969c649', '01a1fe39-16f4-7730-8d88-05087a04d0d5', 'user', 'long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long ', '2026-11-21 13:08:36.792033+00', NULL);
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-1731-7378-b07a-5a3d52b4b9e8', '01a1fe39-172a-714b-b46b-bc6143820ac9', '00000000-0000-0000-0000-000000000001', 'assistant', 'long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long ', '2026-11-21 13:08:36.792121+00', '{}');
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-1731-7378-b07a-5a3ea950a370', '01a1fe39-172a-714b-b46b-bc62670af58a', '00000000-0000-0000-0000-000000000001', 'system', 'long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long ', '2026-11-21 13:08:36.792142+00', NULL);
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-1731-7378-b07a-5a3f76190623', '01a1fe39-172a-714b-b46b-bc637969c649', '01a1fe39-16f4-7730-8d88-05087a04d0d5', 'tool', 'long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long ', '2026-11-21 13:08:36.792162+00', '{"tool_calls": [{"text": "it''s ''''quoted'''' and \"quoted\""}]}');
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-1732-72e8-bfc2-cfe2f6446f8a', '01a1fe39-172a-714b-b46b-bc6143820ac9', '00000000-0000-0000-0000-000000000001', 'user', 'NULL', '2026-11-21 13:08:36.792184+00', NULL);
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-1732-72e8-bfc2-cfe3355e64dc', '01a1fe39-172a-714b-b46b-bc62670af58a', '00000000-0000-0000-0000-000000000001', 'assistant', 'NULL', '2026-11-21 13:08:36.792187+00', '{}');
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-1732-72e8-bfc2-cfe4fd3f708f', '01a1fe39-172a-714b-b46b-bc637969c649', '01a1fe39-16f4-7730-8d88-05087a04d0d5', 'system', 'NULL', '2026-11-21 13:08:36.79219+00', NULL);
INSERT INTO public.messages (id, conversation_id, user_id, role, content, created_at, payload) VALUES ('01a1fe39-1732-72e8-bfc2-cfe5ce68a357', '01a1fe39-172a-714b-b46b-bc6143820ac9', '00000000-0000-0000-0000-000000000001', 'tool', 'NULL', '2026-11-21 13:08:36.792192+00', '{"tool_calls": [{"text": "it''s ''''quoted'''' and \"quoted\""}]}');
INSERT INTO public.tasks (id, user_id, title, description, completed, created_at, updated_at, due_at, priority, completed_at) VALUES (1, '00000000-0000-0000-0000-000000000001', '0 ', '', true, '2026-11-21 13:08:36.775022+00', '2026-11-21 13:08:36.775022+00', '9999-12-31 23:59:59+00', 9, '2026-11-21 13:08:36.798155+00');
INSERT INTO public.tasks (id, user_id, title, description, completed, created_at, updated_at, due_at, priority, completed_at) VALUES (2, '00000000-0000-0000-0000-000000000001', '1  	 leading and trailing 	 ', ' 	 leading and trailing 	 ', false, '2026-11-21 13:08:36.775022+00', '2026-11-21 13:08:36.775022+00', '9999-12-31 23:59:59+00', 9, NULL);
INSERT INTO public.tasks (id, user_id, title, description, completed, created_at, updated_at, due_at, priority, completed_at) VALUES (3, '00000000-0000-0000-0000-000000000001', '2 it''s ''''quoted'''' and "quoted"', 'it''s ''''quoted'''' and "quoted"', true, '2026-11-21 13:08:36.775022+00', '2026-11-21 13:08:36.775022+00', '9999-12-31 23:59:59+00', 9, '2026-11-21 13:08:36.798409+00');
INSERT INTO public.tasks (id, user_id, title, description, completed, created_at, updated_at, due_at, priority, completed_at) VALUES (4, '00000000-0000-0000-0000-000000000001', '3 100 %, %s, %(name)s, %%, :name, $1, {braces}', '100 %, %s, %(name)s, %%, :name, $1, {braces}', false, '2026-11-21 13:08:36.775022+00', '2026-11-21 13:08:36.775022+00', NULL, 0, NULL);
INSERT INTO public.tasks (id, user_id, title, description, completed, created_at, updated_at, due_at, priority, completed_at) VALUES (5, '00000000-0000-0000-0000-000000000001', '4 back\slash, \n, \\, \''; DROP TABLE users; --', 'back\slash, \n, \\, \''; DROP TABLE users; --', true, '2026-11-21 13:08:36.775022+00', '2026-11-21 13:08:36.775022+00', NULL, 0, '2026-11-21 13:08:36.798421+00');
INSERT INTO public.tasks (id, user_id, title, description, completed, created_at, updated_at, due_at, priority, completed_at) VALUES (6, '00000000-0000-0000-0000-000000000001', '5 a line
and
anotherone', 'a line
and
anotherone', false, '2026-11-21 13:08:36.775022+00', '2026-11-21 13:08:36.775022+00', NULL, 0, NULL);
INSERT INTO public.tasks (id, user_id, title, description, completed, created_at, updated_at, due_at, priority, completed_at) VALUES (7, '00000000-0000-0000-0000-000000000001', '6 first
-- not a comment


\restrict nothing
\.
SET transaction_timeout = 0;
$$ $a$ /* */', 'first
-- not a comment


\restrict nothing
\.
SET transaction_timeout = 0;
$$ $a$ /* */', true, '2026-11-21 13:08:36.775022+00', '2026-11-21 13:08:36.775022+00', NULL, 0, '2026-11-21 13:08:36.798432+00');
INSERT INTO public.tasks (id, user_id, title, description, completed, created_at, updated_at, due_at, priority, completed_at) VALUES (8, '00000000-0000-0000-0000-000000000001', '7 äßé 日本語 🦄 é ​  ', 'äßé 日本語 🦄 é ​  ', false, '2026-11-21 13:08:36.775022+00', '2026-11-21 13:08:36.775022+00', NULL, 0, NULL);
INSERT INTO public.tasks (id, user_id, title, description, completed, created_at, updated_at, due_at, priority, completed_at) VALUES (9, '00000000-0000-0000-0000-000000000001', '8 long long long long long long long long long long long long long long long long long long long long', 'long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long ', true, '2026-11-21 13:08:36.775022+00', '2026-11-21 13:08:36.775022+00', NULL, 0, '2026-11-21 13:08:36.798442+00');
INSERT INTO public.tasks (id, user_id, title, description, completed, created_at, updated_at, due_at, priority, completed_at) VALUES (10, '00000000-0000-0000-0000-000000000001', '9 NULL', 'NULL', false, '2026-11-21 13:08:36.775022+00', '2026-11-21 13:08:36.775022+00', NULL, 0, NULL);
INSERT INTO public.tasks (id, user_id, title, description, completed, created_at, updated_at, due_at, priority, completed_at) VALUES (11, '01a1fe39-16f4-7730-8d88-05087a04d0d5', 'done', NULL, true, '2026-11-21 13:08:36.775022+00', '2026-11-21 13:08:36.775022+00', NULL, 0, '2024-02-29 23:59:59.999999+00');
INSERT INTO public.tasks (id, user_id, title, description, completed, created_at, updated_at, due_at, priority, completed_at) VALUES (12, '01a1fe39-16f4-7730-8d88-05087a04d0d5', 'no description', NULL, false, '2024-02-29 23:59:59.999999+00', '2026-11-21 13:08:36.775022+00', NULL, 0, NULL);
INSERT INTO public.todo_schema_history (id, revision, line, ordinal, action, floor, package_version, checksum, applied_at, duration, host, role, application_name) VALUES (1, '001', 'expand', 1, 'upgrade', 1, '0.2.0', 'a6781566a36137ac29057d99a7569546baab4c4c537f3f5d8d359996d270dbbe', '2026-11-21 13:08:36.636258+00', '00:00:00.019338', 'localhost', 'postgres', 'todo-schema 0.2.0');
INSERT INTO public.todo_schema_history (id, revision, line, ordinal, action, floor, package_version, checksum, applied_at, duration, host, role, application_name) VALUES (2, '002', 'expand', 2, 'upgrade', 1, '0.2.0', '7524b67534d584904c08debc8a5fd4e67ecc879911659d8b585d576a5a3bd0a2', '2026-11-21 13:08:36.639193+00', '00:00:00.002382', 'localhost', 'postgres', 'todo-schema 0.2.0');
INSERT INTO public.todo_schema_history (id, revision, line, ordinal, action, floor, package_version, checksum, applied_at, duration, host, role, application_name) VALUES (3, '003', 'expand', 3, 'upgrade', 1, '0.2.0', '02a442e92e72c0b794a93b7b12169f1437fe53da5ff2c8f336bd6dffda9ee516', '2026-11-21 13:08:36.641645+00', '00:00:00.001914', 'localhost', 'postgres', 'todo-schema 0.2.0');
INSERT INTO public.todo_schema_history (id, revision, line, ordinal, action, floor, package_version, checksum, applied_at, duration, host, role, application_name) VALUES (4, '004', 'expand', 4, 'upgrade', 1, '0.2.0', 'bfda0562d05b9d9aad6054bc41d9b2c78890f952d56a27f988f4cb3a6d7dc108', '2026-11-21 13:08:36.643973+00', '00:00:00.001828', 'localhost', 'postgres', 'todo-schema 0.2.0');
INSERT INTO public.todo_schema_history (id, revision, line, ordinal, action, floor, package_version, checksum, applied_at, duration, host, role, application_name) VALUES (5, '005', 'expand', 5, 'upgrade', 1, '0.2.0', '9d7457f67c8beb620261d9aea85477c60ad2c3bd9a7cb1a78719b5c694e99bc7', '2026-11-21 13:08:36.647729+00', '00:00:00.003275', 'localhost', 'postgres', 'todo-schema 0.2.0');
INSERT INTO public.todo_schema_history (id, revision, line, ordinal, action, floor, package_version, checksum, applied_at, duration, host, role, application_name) VALUES (6, '006', 'expand', 6, 'upgrade', 1, '0.2.0', '2de4f1f5a06ef86bb7e02f1785904bc7c5daf3fb029a49f6da55be71b408c7ee', '2026-11-21 13:08:36.650096+00', '00:00:00.001838', 'localhost', 'postgres', 'todo-schema 0.2.0');
INSERT INTO public.todo_schema_history (id, revision, line, ordinal, action, floor, package_version, checksum, applied_at, duration, host, role, application_name) VALUES (7, '007', 'expand', 7, 'upgrade', 1, '0.2.0', 'eaaf05c9825abf98544a59d58981e5be2db0d1adcfd67125c6595c28352dc236', '2026-11-21 13:08:36.653661+00', '00:00:00.003083', 'localhost', 'postgres', 'todo-schema 0.2.0');
INSERT INTO public.todo_schema_history (id, revision, line, ordinal, action, floor, package_version, checksum, applied_at, duration, host, role, application_name) VALUES (8, '008', 'expand', 8, 'upgrade', 1, '0.2.0', '100580a9407422ff45ab69173d5861031bfcd6bf83f75c0787af402463f8beca', '2026-11-21 13:08:36.656103+00', '00:00:00.001942', 'localhost', 'postgres', 'todo-schema 0.2.0');
INSERT INTO public.todo_schema_history (id, revision, line, ordinal, action, floor, package_version, checksum, applied_at, duration, host, role, application_name) VALUES (9, '009', 'expand', 9, 'upgrade', 1, '0.2.0', 'ca54a8290329ff22d107d4317670b452d5889fe6a9e54d79fddf2f24a429bdfe', '2026-11-21 13:08:36.658372+00', '00:00:00.001764', 'localhost', 'postgres', 'todo-schema 0.2.0');
INSERT INTO public.todo_schema_history (id, revision, line, ordinal, action, floor, package_version, checksum, applied_at, duration, host, role, application_name) VALUES (10, '010', 'expand', 10, 'upgrade', 1, '0.2.0', '149299654966cb2830c658f2f0c26b3a538d65fd258c5751e5522f24d5888442', '2026-11-21 13:08:36.661701+00', '00:00:00.002821', 'localhost', 'postgres', 'todo-schema 0.2.0');
INSERT INTO public.todo_schema_history (id, revision, line, ordinal, action, floor, package_version, checksum, applied_at, duration, host, role, application_name) VALUES (11, '011', 'expand', 11, 'upgrade', 1, '0.2.0', '46eb27055693cbd4b4e4f8abfc421d3a27b98aeb4562435d46f67e186b952ff5', '2026-11-21 13:08:36.666241+00', '00:00:00.004042', 'localhost', 'postgres', 'todo-schema 0.2.0');
INSERT INTO public.todo_schema_history (id, revision, line, ordinal, action, floor, package_version, checksum, applied_at, duration, host, role, application_name) VALUES (12, '012', 'expand', 12, 'upgrade', 1, '0.2.0', '795a910129bfbafe1651e32b4d4a664d20ccdcbaa7e3cac0d1280823a3e039f0', '2026-11-21 13:08:36.669984+00', '00:00:00.003202', 'localhost', 'postgres', 'todo-schema 0.2.0');
INSERT INTO public.todo_schema_history (id, revision, line, ordinal, action, floor, package_version, checksum, applied_at, duration, host, role, application_name) VALUES (13, '013', 'expand', 13, 'upgrade', 1, '0.2.0', '2c3df0468482627e5495969281b4a01bf495a3709bd4a7b38a0a2990d2486a67', '2026-11-21 13:08:36.674116+00', '00:00:00.003603', 'localhost', 'postgres', 'todo-schema 0.2.0');
INSERT INTO public.todo_schema_history (id, revision, line, ordinal, action, floor, package_version, checksum, applied_at, duration, host, role, application_name) VALUES (14, '014', 'expand', 14, 'upgrade', 1, '0.2.0', '2ceb044541d578db92aa28e385f01b4cba06e6a60a22e413a0136617af3c9d16', '2026-11-21 13:08:36.676532+00', '00:00:00.001874', 'localhost', 'postgres', 'todo-schema 0.2.0');
INSERT INTO public.todo_schema_history (id, revision, line, ordinal, action, floor, package_version, checksum, applied_at, duration, host, role, application_name) VALUES (15, '015', 'expand', 15, 'upgrade', 1, '0.2.0', '35b24dd5d0eb12c37015c1935cc2015483fd28caf3242f23a1c5e469758ed9d0', '2026-11-21 13:08:36.699467+00', '00:00:00.022433', 'localhost', 'postgres', 'todo-schema 0.2.0');
INSERT INTO public.todo_schema_history (id, revision, line, ordinal, action, floor, package_version, checksum, applied_at, duration, host, role, application_name) VALUES (16, '016', 'expand', 16, 'upgrade', 1, '0.2.0', '2f2878c6fc8f3e4344e3259b87f2b00b4ecdaa168e11497b96ec98ec903b1706', '2026-11-21 13:08:36.704895+00', '00:00:00.004835', 'localhost', 'postgres', 'todo-schema 0.2.0');
INSERT INTO public.todo_schema_version (version_num) VALUES ('016');
INSERT INTO public.users (id, email, created_at, updated_at) VALUES ('00000000-0000-0000-0000-000000000001', 'ann@example.com', '1970-01-01 00:00:00+00', '9999-12-31 23:59:59+00');
INSERT INTO public.users (id, email, created_at, updated_at) VALUES ('01a1fe39-16f4-7730-8d88-05087a04d0d5', 'b''e"n+%s\@exämple.com', '2026-11-21 13:08:36.775022+00', '2026-11-21 13:08:36.775022+00');
SELECT pg_catalog.setval('public.tasks_id_seq', 15, true);
SELECT pg_catalog.setval('public.todo_schema_history_id_seq', 1, false);
ALTER TABLE ONLY public.conversations
    ADD CONSTRAINT pk_conversations PRIMARY KEY (id);
ALTER TABLE ONLY public.messages
    ADD CONSTRAINT pk_messages PRIMARY KEY (id);
ALTER TABLE ONLY public.tasks
    ADD CONSTRAINT pk_tasks PRIMARY KEY (id);
ALTER TABLE ONLY public.todo_schema_history
    ADD CONSTRAINT pk_todo_schema_history PRIMARY KEY (id);
ALTER TABLE ONLY public.todo_schema_version
    ADD CONSTRAINT pk_todo_schema_version PRIMARY KEY (version_num);
ALTER TABLE ONLY public.users
    ADD CONSTRAINT pk_users PRIMARY KEY (id);
ALTER TABLE ONLY public.conversations
    ADD CONSTRAINT uq_conversations_user_id_id UNIQUE (user_id, id);
CREATE INDEX ix_messages_conversation_created ON public.messages USING btree (conversation_id, created_at DESC, id DESC);
CREATE INDEX ix_tasks_user_created ON public.tasks USING btree (user_id, created_at DESC, id DESC);
CREATE INDEX ix_tasks_user_created_open ON public.tasks USING btree (user_id, created_at DESC, id DESC) WHERE (NOT completed);
CREATE UNIQUE INDEX ix_users_email ON public.users USING btree (email);
CREATE UNIQUE INDEX ix_users_email_lower ON public.users USING btree (lower(email));
CREATE STATISTICS public.st_messages_conversation_user (dependencies) ON conversation_id, user_id FROM public.messages;
CREATE TRIGGER tg_conversations_updated_at BEFORE UPDATE ON public.conversations FOR EACH ROW WHEN ((NOT (new.updated_at IS DISTINCT FROM old.updated_at))) EXECUTE FUNCTION public.todo_schema_touch();
COMMENT ON TRIGGER tg_conversations_updated_at ON public.conversations IS 'todo_schema 010';
CREATE TRIGGER tg_tasks_completed_at BEFORE UPDATE ON public.tasks FOR EACH ROW WHEN (((new.completed IS DISTINCT FROM old.completed) OR (new.completed_at IS DISTINCT FROM old.completed_at))) EXECUTE FUNCTION public.todo_schema_complete();
COMMENT ON TRIGGER tg_tasks_completed_at ON public.tasks IS 'todo_schema 016';
CREATE TRIGGER tg_tasks_completed_at_new BEFORE INSERT ON public.tasks FOR EACH ROW WHEN ((new.completed OR (new.completed_at IS NOT NULL))) EXECUTE FUNCTION public.todo_schema_complete();
COMMENT ON TRIGGER tg_tasks_completed_at_new ON public.tasks IS 'todo_schema 016';
CREATE TRIGGER tg_tasks_updated_at BEFORE UPDATE ON public.tasks FOR EACH ROW WHEN ((NOT (new.updated_at IS DISTINCT FROM old.updated_at))) EXECUTE FUNCTION public.todo_schema_touch();
COMMENT ON TRIGGER tg_tasks_updated_at ON public.tasks IS 'todo_schema 010';
CREATE TRIGGER tg_users_updated_at BEFORE UPDATE ON public.users FOR EACH ROW WHEN ((NOT (new.updated_at IS DISTINCT FROM old.updated_at))) EXECUTE FUNCTION public.todo_schema_touch();
COMMENT ON TRIGGER tg_users_updated_at ON public.users IS 'todo_schema 010';
ALTER TABLE ONLY public.conversations
    ADD CONSTRAINT fk_conversations_user_id_users FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.messages
    ADD CONSTRAINT fk_messages_conversation FOREIGN KEY (user_id, conversation_id) REFERENCES public.conversations(user_id, id) ON DELETE CASCADE;
ALTER TABLE ONLY public.tasks
    ADD CONSTRAINT fk_tasks_user_id_users FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;
