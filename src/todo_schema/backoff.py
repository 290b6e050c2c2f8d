"""How long to pause between two tries of something that another process keeps from us."""

import random
from collections.abc import Iterator


def pauses(first: float, longest: float) -> Iterator[float]:
    """Yield pauses in seconds, each about twice the one before.

    The jitter keeps processes that started together from knocking together.
    """
    pause = first
    while True:
        yield pause * random.uniform(0.5, 1.5)  # noqa: S311  # not a secret
        pause = min(pause * 2, longest)
