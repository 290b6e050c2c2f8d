"""Waiting for something that happens elsewhere, without betting on how long it takes."""

import time
from collections.abc import Callable
from typing import TypeVar

Seen = TypeVar("Seen")


def wait_for(condition: Callable[[], Seen], seconds: float = 20) -> Seen:
    """Look at `condition` again and again until it holds; return what it said then.

    Who asks once more may be told something else: what was seen can be over within a millisecond.

    Raises:
        AssertionError: It did not hold within `seconds`.

    """
    until = time.monotonic() + seconds
    while not (seen := condition()):
        if time.monotonic() > until:
            raise AssertionError(f"it never came to be within {seconds} s")
        time.sleep(0.01)
    return seen
