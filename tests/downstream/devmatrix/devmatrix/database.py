"""The database of DevMatrix: blocking, on psycopg."""

import os

from sqlalchemy import Engine, NullPool, create_engine, make_url


def engine() -> Engine:
    """An engine for `DATABASE_URL`, whichever driver it names."""
    url = make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+psycopg")
    return create_engine(url, poolclass=NullPool)
