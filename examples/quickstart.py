"""A service in fifteen lines: upgrade at boot, then sessions."""

import asyncio
import os

from todo_schema import Task, User, newest_tasks, session_factory, upgrade_async, user_by_email


async def main(url: str) -> list[str]:
    print(await upgrade_async(url))  # at every boot, from every replica
    async with session_factory(url) as sessions:
        async with sessions.begin() as session:  # commits at the end
            ada = (await session.exec(user_by_email("ada@example.com"))).first()
            session.add(user := ada or User(email="ada@example.com"))
            session.add(Task(user_id=user.id, title="Water the plants"))
        async with sessions() as session:
            mine = await session.exec(newest_tasks(user.id))
            return [f"task {task.id}: {task.title}" for task in mine]


if __name__ == "__main__":
    print(*asyncio.run(main(os.environ["DATABASE_URL"])), sep="\n")
