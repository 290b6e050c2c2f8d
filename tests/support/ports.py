"""Ports of 127.0.0.1: one that is free, one that is silent, one that is closed."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def blackhole() -> Iterator[str]:
    """The url of a server that accepts connections and never says a word."""
    # The kernel accepts for a listener that never looks.
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        yield f"postgresql://postgres@127.0.0.1:{listener.getsockname()[1]}/postgres"


@contextmanager
def refuse() -> Iterator[str]:
    """The url of a port where nobody listens, and where nobody can begin to while the block lasts."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield f"postgresql://postgres@127.0.0.1:{holder.getsockname()[1]}/postgres"
