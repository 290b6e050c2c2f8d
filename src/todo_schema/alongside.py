"""Looks on while a statement runs: in a thread, or in a task of the event loop."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import TYPE_CHECKING

from todo_schema.drivers import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from todo_schema.connections import Database

# Pauses for so many seconds, and tells whether it is all over.
Pause = Callable[[float], bool]

_log = logging.getLogger("todo_schema")


@contextmanager
def beside(database: Database, watch: Callable[[Pause], None]) -> Iterator[None]:
    """Run `watch(pause)` while the block runs; it ends where `pause` says so. What it raises is of no consequence.

    The watcher has to open connections of its own.
    """

    def watching(pause: Pause) -> None:
        try:
            watch(pause)
        except Exception:  # noqa: BLE001  # whatever it is: the work itself goes on
            _log.debug("could not look on", exc_info=True)

    with _in_loop(database, watching) if database.is_async else _in_thread(watching):
        yield


@contextmanager
def _in_thread(watch: Callable[[Pause], None]) -> Iterator[None]:
    over = Event()
    thread = Thread(target=watch, args=(over.wait,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def _in_loop(database: Database, watch: Callable[[Pause], None]) -> Iterator[None]:
    import asyncio  # noqa: PLC0415  # importing todo_schema costs nothing

    from sqlalchemy.util import greenlet_spawn  # noqa: PLC0415  # ditto

    def pause(seconds: float) -> bool:
        database.sleep(seconds)
        return False  # the task is cancelled instead

    task = asyncio.get_running_loop().create_task(greenlet_spawn(watch, pause))
    try:
        yield
    finally:
        task.cancel()
        with suppress(Exception):
            wait_for(asyncio.wait([task]))
