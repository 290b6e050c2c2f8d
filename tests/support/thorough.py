"""How long the long series of tests are: as long as they fail without what they test, or as long as is asked for."""

import os

# Set to anything: each series has its full length, which takes several times as long.
VARIABLE = "TODO_SCHEMA_TEST_THOROUGH"


def series(usual: int, thorough: int) -> int:
    """Return a number of the usual series, or of the thorough one."""
    return thorough if os.environ.get(VARIABLE) else usual
