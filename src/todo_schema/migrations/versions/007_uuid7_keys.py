"""Keys in the order in which they are made: UUIDs of version 7.

Gain: new rows come next to each other in the index of the key, which is smaller; just after a checkpoint a load writes
    a third of the WAL.
Locks: ACCESS EXCLUSIVE on users, conversations and messages, one after the other, for a moment each; nothing is read or
    written anew. Nobody waits for more than 125 ms in a first try.
Older packages: go on sending random UUIDs, which stay valid beside these.
Going back: loses nothing; rows keep their keys.
"""

from alembic.operations import Operations

from todo_schema import operations

revision = "007"
down_revision = "006"

TABLES = ("users", "conversations", "messages")

# RFC 9562, section 5.7, with section 6.2, method 3: 48 bits of milliseconds, 12 bits of their fraction, random bits.
# One text for every server, so that a dump of one is at home on another: uuidv7() is not looked up below 18.
UUID7 = """RETURNS uuid LANGUAGE plpgsql VOLATILE PARALLEL SAFE AS $$
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
$$"""


def upgrade(op: Operations) -> None:
    """Let the database make keys of version 7."""
    operations.replace_function(op, "todo_schema_uuid7()", UUID7)
    for table in TABLES:
        operations.set_default(op, table, "id", "todo_schema_uuid7()")
        operations.set_comment(op, table, "id", "UUID of version 7; of version 4 in rows of before.")


def downgrade(op: Operations) -> None:
    """Let it make random ones."""
    for table in TABLES:
        operations.set_default(op, table, "id", "gen_random_uuid()")
        operations.set_comment(op, table, "id", "Random UUID.")
    operations.drop_function(op, "todo_schema_uuid7()")
