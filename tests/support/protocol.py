"""PostgreSQL's messages, understood just far enough to tell where a question and its answer end."""

import struct
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

SSL_REQUEST = 80877103
GSS_REQUEST = 80877104
CANCEL_REQUEST = 80877102

# The last message of the answer to each question of the extended protocol.
_LAST_ANSWERS = {b"P": b"1", b"B": b"2", b"C": b"3", b"D": b"Tn", b"E": b"CIs"}
READY = b"Z"


class Message(NamedTuple):
    """One message after the start-up: its type, what it says, and the bytes that it came in."""

    kind: bytes
    body: bytes
    raw: bytes

    def strings(self) -> list[str]:
        """What the body says, as text that ends at each zero byte."""
        return [part.decode(errors="replace") for part in self.body.split(b"\0")]


def take_message(buffer: bytearray) -> Message | None:
    """Take one message out of `buffer`; None, and nothing taken, while it is not complete."""
    if len(buffer) < 5:
        return None
    end = 1 + struct.unpack_from("!I", buffer, 1)[0]
    if len(buffer) < end:
        return None
    raw = bytes(buffer[:end])
    del buffer[:end]
    return Message(raw[:1], raw[5:], raw)


def take_opening(buffer: bytearray) -> tuple[int, bytes] | None:
    """Take the first packet of a connection out of `buffer`: its code and its bytes."""
    if len(buffer) < 8:
        return None
    length, code = struct.unpack_from("!II", buffer)
    if len(buffer) < length:
        return None
    raw = bytes(buffer[:length])
    del buffer[:length]
    return code, raw


def startup_parameters(opening: bytes) -> dict[str, str]:
    """The parameters of a start-up packet: user, database, application_name and the like."""
    words = [word.decode(errors="replace") for word in opening[8:].rstrip(b"\0").split(b"\0")]
    return dict(zip(words[::2], words[1::2], strict=False))


def take_all(buffer: bytearray) -> bytes:
    """Take whatever is in `buffer`."""
    raw = bytes(buffer)
    buffer.clear()
    return raw


@dataclass
class Group:
    """What a client sends before it waits: a simple query, or messages up to a Sync or a Flush."""

    raw: bytes = b""
    sql: str = ""
    """The newest statement that the group is about."""
    texts: list[str] = field(default_factory=list)
    """The statements whose text is in the group."""
    expects: deque[bytes] = field(default_factory=deque)
    """The kinds of message that must still come before the answer is complete."""
    failed: bool = False
    copies_in: bool = False

    @property
    def ends_with_sync(self) -> bool:
        """Whether the server says at the end that it is ready for the next."""
        return READY in self.expects

    def hear(self, message: Message) -> None:
        """Take note of one message of the answer."""
        if message.kind == b"E":
            # The server now skips everything up to the next Sync, which alone still gets its answer.
            self.failed = True
            self.expects = deque([READY] if self.ends_with_sync else [])
        elif message.kind == READY:
            self.expects.clear()
        elif self.expects and message.kind in self.expects[0]:
            self.expects.popleft()
        self.copies_in |= message.kind == b"G"


class Grouper:
    """Puts the messages of one client together into groups."""

    def __init__(self) -> None:
        """Begin with no group and no prepared statement."""
        self._prepared: dict[str, str] = {}
        self._portals: dict[str, str] = {}
        self._open = Group()
        self._newest = ""

    def add(self, message: Message) -> Group | None:
        """Add a message; return the group that it completes, or None."""
        group = self._open
        group.raw += message.raw
        self._note(message, group)
        match message.kind:
            case b"Q" | b"F" | b"S":
                group.expects.append(READY)
            case b"H" | b"X" | b"d" | b"c" | b"f":
                pass
            case kind:
                group.expects.append(_LAST_ANSWERS[kind])
                return None
        self._open = Group()
        group.sql = self._newest
        return group

    def _note(self, message: Message, group: Group) -> None:
        match message.kind:
            case b"Q":
                self._newest = message.strings()[0]
                group.texts.append(self._newest)
            case b"P":
                name, self._newest = message.strings()[:2]
                self._prepared[name] = self._newest
                group.texts.append(self._newest)
            case b"B":
                portal, statement = message.strings()[:2]
                self._newest = self._portals[portal] = self._prepared.get(statement, "")
            case b"E":
                self._newest = self._portals.get(message.strings()[0], "")
            case _:
                pass
