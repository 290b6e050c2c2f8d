"""A proxy between clients and a server that counts, holds back, and breaks at a chosen moment."""

import selectors
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Literal, NamedTuple, Self

from tests.support import protocol
from tests.support.servers import Server

Moment = Literal["before", "inside", "after"]
OnStatement = Callable[[int, int, str, Moment], None]


class Statement(NamedTuple):
    """The text of a statement, and the number of the connection that it was sent on."""

    connection: int
    sql: str


class Proxy:
    """A way to `server` over 127.0.0.1 that speaks no TLS; connections and statements are numbered from 1.

    With `barrier=n` nobody hears that the server is ready until it is ready for n connections; then all go
    together, and everybody after them at once.

    `on_statement(connection, number, sql, moment)` is called in the connection's own thread, and the
    connection waits for it. `number` counts over all connections. A statement is what the client sends
    before it waits for an answer (asyncpg prepares and executes in two); `sql` is the text that it is about.
    Moment `before`: the server has not got it; `inside`: the server has got it; `after`: the answer is here
    and the client has not got it. It may do anything: `cut` a connection, wait for a lock, kill a process
    (and wait for its end, `processes.kill`: the proxy passes nothing on for a client that it finds gone).
    """

    def __init__(self, server: Server, *, barrier: int = 0, on_statement: OnStatement | None = None) -> None:
        """Listen at once, on a port of its own."""
        self.server = server
        self.statements: list[Statement] = []
        """The texts sent, in their order over all connections: simple queries, and statements prepared."""
        self.connections = 0
        """How many connections were opened; requests to cancel are not counted."""
        self.round_trips = 0
        """How often a client sent something and waited for the answer, start-up included."""
        self.barrier = barrier
        self.on_statement = on_statement
        self.lock = threading.Lock()
        self.released = threading.Event()
        self._arrived = 0
        self._numbered = 0
        self._links: list[Link] = []
        self._running: list[tuple[Link, threading.Thread]] = []
        self.closing = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = int(self._listener.getsockname()[1])
        self._address = Server(f"postgresql://{server.user}@127.0.0.1:{self.port}/postgres?sslmode=disable")
        self._address.password = server.password
        self._door = threading.Thread(target=self._listen, name=f"proxy on {self.port}", daemon=True)
        self._door.start()

    def url(self, database: str = "postgres", user: str | None = None, password: str | None = None) -> str:
        """The url of `database` (a name, or a url whose name counts) through the proxy; as Server.url."""
        return self._address.url(database, user, password)

    def backend_pid(self, connection: int) -> int:
        """The process id of the server's backend of a connection."""
        return self._links[connection - 1].backend_pid

    def startup(self, connection: int) -> dict[str, str]:
        """The start-up parameters of a connection: user, database, application_name and the like."""
        return self._links[connection - 1].startup

    def cut(self, connection: int) -> None:
        """Break a connection at both ends, as a network would."""
        self._links[connection - 1].cut()

    def reset(self) -> None:
        """Count from nothing again; connections keep their numbers, so that they can still be cut."""
        with self.lock:
            self.connections = self.round_trips = self._numbered = 0
            self.statements.clear()

    def close(self) -> None:
        """Cut every connection, and wait until every thread has ended."""
        self.closing = True
        self.released.set()
        # On no system does its closing wake who waits in accept(); another client does.
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port)).close()
        self._door.join()
        self._listener.close()
        for link, thread in self._running:
            link.cut()
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def knock(self, link: "Link") -> int:
        """Number a connection that begins."""
        with self.lock:
            self._links.append(link)
            self.connections += 1
            return len(self._links)

    def arrive(self) -> None:
        """Count a connection that has come to the barrier, or has failed before it."""
        with self.lock:
            self._arrived += 1
            if self._arrived >= self.barrier:
                self.released.set()

    def record(self, connection: int, texts: list[str]) -> int:
        """Record a statement, and return its number."""
        with self.lock:
            self._numbered += 1
            self.statements += [Statement(connection, text) for text in texts]
            return self._numbered

    def _listen(self) -> None:
        while True:
            client, _ = self._listener.accept()
            if self.closing:
                client.close()
                return
            link = Link(self, client)
            thread = threading.Thread(target=link.run, name=f"link on {self.port}", daemon=True)
            self._running.append((link, thread))
            thread.start()


class Link:
    """One client's connection, the server's side of it, and what is on its way between them."""

    def __init__(self, proxy: Proxy, client: socket.socket) -> None:
        """Take a client that was accepted; `run` serves it."""
        client.settimeout(None)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.startup: dict[str, str] = {}
        self.backend_pid = 0
        self._proxy = proxy
        self._client = client
        self._upstream = _unconnected(proxy.server)
        self._from_client = bytearray()
        self._from_server = bytearray()
        self._number = 0
        self._ready = False
        self._asked = False
        self._broken = False
        self._grouper = protocol.Grouper()
        self._skipping = False

    def run(self) -> None:
        """Serve the client until either side goes."""
        with self._client, self._upstream, selectors.DefaultSelector() as self._selector:
            self._selector.register(self._client, selectors.EVENT_READ, self._from_client)
            # A side that has gone, or was cut, ends the conversation: there is nobody left to tell.
            with suppress(OSError):
                if self._begin():
                    self._converse()
            if self._number and not self._ready:
                self._proxy.arrive()

    def cut(self) -> None:
        """Break both sides; the thread that serves them notices."""
        self._broken = True
        for side in (self._client, self._upstream):
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def _begin(self) -> bool:
        """See the client through its start-up; False where there is nothing to serve after it."""
        while True:
            while (opening := protocol.take_opening(self._from_client)) is None:
                self._read()
            code, raw = opening
            if code not in (protocol.SSL_REQUEST, protocol.GSS_REQUEST):
                break
            self._asked = False
            self._client.sendall(b"N")
        if code != protocol.CANCEL_REQUEST:
            self.startup = protocol.startup_parameters(raw)
            self._number = self._proxy.knock(self)
        self._upstream.connect(_address(self._proxy.server))
        self._selector.register(self._upstream, selectors.EVENT_READ, self._from_server)
        self._upstream.sendall(raw)
        while True:
            self._read()
            # Whatever is said here answers the server's questions about the password.
            self._upstream.sendall(protocol.take_all(self._from_client))
            while message := protocol.take_message(self._from_server):
                if message.kind == b"K":
                    self.backend_pid = struct.unpack_from("!I", message.body)[0]
                if message.kind == protocol.READY:
                    self._ready = True
                    self._proxy.arrive()
                    self._proxy.released.wait()
                    if self._proxy.closing:
                        return False
                    self._give(message.raw)
                    return True
                self._give(message.raw)

    def _converse(self) -> None:
        while True:
            while message := protocol.take_message(self._from_client):
                group = self._grouper.add(message)
                if group:
                    self._exchange(group)
            # What the server says unasked: that it is going, notices, notifications.
            while message := protocol.take_message(self._from_server):
                self._give(message.raw)
            self._read()

    def _exchange(self, group: protocol.Group) -> None:
        synced = group.ends_with_sync
        if not group.expects or (self._skipping and not synced):
            self._upstream.sendall(group.raw)
            return
        number = self._proxy.record(self._number, group.texts)
        self._tell(number, group, "before")
        self._upstream.sendall(group.raw)
        self._tell(number, group, "inside")
        answer = self._answer(group)
        self._skipping = group.failed and not synced
        self._tell(number, group, "after")
        self._give(answer)

    def _answer(self, group: protocol.Group) -> bytes:
        answer = b""
        while True:
            while group.expects and (message := protocol.take_message(self._from_server)):
                answer += message.raw
                group.hear(message)
            if not group.expects:
                return answer
            if group.copies_in:
                self._give(answer)
                answer = b""
                self._upstream.sendall(protocol.take_all(self._from_client))
            try:
                self._read()
            except ConnectionResetError:
                # The last words of a server that goes: why it goes.
                self._give(answer + protocol.take_all(self._from_server))
                raise

    def _tell(self, number: int, group: protocol.Group, moment: Moment) -> None:
        if self._proxy.on_statement:
            self._proxy.on_statement(self._number, number, group.sql, moment)
            if self._broken or self._client_has_gone():
                raise ConnectionAbortedError

    def _client_has_gone(self) -> bool:
        try:
            return not self._client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False

    def _read(self) -> None:
        """Wait for either side, and take what it sends.

        Raises:
            ConnectionResetError: It has gone.

        """
        for key, _ in self._selector.select():
            received = key.fileobj.recv(65536)
            if not received:
                raise ConnectionResetError
            key.data.extend(received)
            if key.fileobj is self._client:
                self._asked = True

    def _give(self, answer: bytes) -> None:
        if answer and self._asked:
            self._asked = False
            with self._proxy.lock:
                self._proxy.round_trips += 1
        self._client.sendall(answer)


def _unconnected(server: Server) -> socket.socket:
    if server.host.startswith("/"):
        return socket.socket(socket.AF_UNIX)
    return socket.socket(socket.AF_INET6 if ":" in server.host else socket.AF_INET)


def _address(server: Server) -> str | tuple[str, int]:
    if server.host.startswith("/"):
        return f"{server.host}/.s.PGSQL.{server.port}"
    return (server.host, server.port)
