"""Waiting for something that happens elsewhere, without betting on how long it takes."""

import time
from collections.abc import Callable


def wait_for(condition: Callable[[], object], seconds: float = 20) -> None:
    """Look at `condition` again and again until it holds.

    Raises:
        AssertionError: It did not hold within `seconds`.

    """
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise AssertionError(f"it never came to be within {seconds} s")
        time.sleep(0.01)
