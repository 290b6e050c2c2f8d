"""The way of `user_id` from varchar(100) to uuid: what would fail is found and counted before anything is changed."""

from sqlalchemy import Connection, text

UUID = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"


class OffendingRowsError(Exception):
    """Rows are there that cannot be converted."""


def look_first(connection: Connection, table: str) -> None:
    """Raise where a `user_id` of the table is no UUID, or the id of no user. The table stays locked against writers."""
    connection.execute(text(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE"))
    total, malformed, orphaned, sample = connection.execute(
        text(
            f"""SELECT count(*), count(*) FILTER (WHERE user_id !~ :uuid),
                       count(*) FILTER (WHERE user_id ~ :uuid AND NOT EXISTS (
                           SELECT FROM users WHERE users.id::text = lower(t.user_id))),
                       min(user_id) FILTER (WHERE user_id !~ :uuid)
                FROM {table} t"""
        ),
        {"uuid": UUID},
    ).one()
    if malformed or orphaned:
        raise OffendingRowsError(
            f"{table}: of {total} rows {malformed} have a user_id that is no UUID (such as {sample!r}), and {orphaned}"
            f" one of no user; nothing was changed. They are: SELECT * FROM {table} WHERE user_id !~ '{UUID}'"
            f" OR lower(user_id) NOT IN (SELECT id::text FROM users);"
        )
