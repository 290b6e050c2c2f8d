"""A service in fifteen lines: upgrade at boot, then sessions."""

import asyncio
import os

from sqlmodel import select

from todo_schema import Task, User, session_factory, upgrade_async


async def main(url: str) -> list[str]:
    print(await upgrade_async(url))  # at every boot, from every replica
    async with session_factory(url) as sessions:
        async with sessions.begin() as session:  # commits at the end
            ada = (await session.exec(select(User).where(User.email == "ada@example.com"))).first()
            session.add(user := ada or User(email="ada@example.com"))
            await session.flush()
            session.add(Task(user_id=user.id, title="Water the plants"))
        async with sessions() as session:
            mine = select(Task).where(Task.user_id == user.id)
            return [f"task {task.id}: {task.title}" for task in await session.exec(mine)]


if __name__ == "__main__":
    print(*asyncio.run(main(os.environ["DATABASE_URL"])), sep="\n")
