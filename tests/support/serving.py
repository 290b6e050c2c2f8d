"""What a service is that old_services.py watches: it serves until told to stop, and says what came of it."""

import asyncio
import json
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable
from typing import Any

from tests.support.old_services import Journal, Timing


class Serving(ABC):
    """The journal of what a service was told is done, how long each operation took, and what went wrong."""

    def __init__(self, name: str, number: int, pause: float) -> None:
        """Take a name, and a number that no other service has at the same time."""
        self._name = name
        self._number = number
        self._pause = pause
        self._serial = 0
        self.journal = Journal({}, {}, {}, {}, {})
        self.timings: list[Timing] = []
        self.errors: list[str] = []
        self.rounds = 0
        self.stopping = asyncio.Event()

    @abstractmethod
    async def work(self) -> None:
        """Do one round after the other until told to stop."""

    async def serve(self) -> None:
        """Serve until there are no more lines."""
        await asyncio.gather(self.work(), self._answer())

    def tell(self) -> None:
        """Print what came of it."""
        say(
            {
                "journal": self.journal,
                "timings": self.timings,
                "errors": self.errors,
                "rounds": self.rounds,
            }
        )

    async def _timed(self, name: str, doing: Awaitable[str | None]) -> str | None:
        at = time.monotonic()
        try:
            return await doing
        except Exception as error:
            text, _, _ = str(error).partition("\n")
            self.errors.append(f"{name}: {type(error).__name__} in {self._name}: {text}")
            return None
        finally:
            self.timings.append(Timing(at, (time.monotonic() - at) * 1000, name))
            await asyncio.sleep(self._pause)

    def _text(self) -> str:
        self._serial += 1
        return f"{self._name}/{self._serial}"

    async def _answer(self) -> None:
        """Say how far it is, for each line, and stop when there are no more."""
        while await asyncio.to_thread(sys.stdin.readline):
            say({"rounds": self.rounds, "errors": self.errors})
        self.stopping.set()


def say(facts: dict[str, Any]) -> None:
    """Print a line."""
    print(json.dumps(facts), flush=True)
