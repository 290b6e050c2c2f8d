"""examples/fastapi_service in processes of its own, and a load on several of them as a load balancer would bring it."""

import re
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from threading import Condition, Event
from typing import IO, Any
from uuid import UUID

import httpx

from tests.support.processes import CHECKOUT, SOURCE, clean_environment
from tests.support.waiting import wait_for

EXAMPLE = CHECKOUT / "examples" / "fastapi_service"
# Seconds. Long enough for any machine.
PATIENCE = 60
# What one client does until it is told to stop.
_CLIENTS = 2
_PAUSE = 0.03
# Nobody's id.
NIL = UUID(int=0)


class HttpService:
    """A replica, which boots as soon as it is made."""

    def __init__(self, process: "subprocess.Popen[str]", log: IO[str], stack: ExitStack) -> None:
        """Take its process, and what closes the client with it."""
        self.process = process
        self._log = log
        self._stack = stack

    @property
    def log(self) -> str:
        """What it has logged."""
        self._log.seek(0)
        return self._log.read()

    @cached_property
    def client(self) -> httpx.Client:
        """A client of it, as soon as it serves."""
        pattern = r"running on (http://\S+)"
        wait_for(lambda: re.search(pattern, self.log) or self.process.poll() is not None, PATIENCE)
        (address,) = re.findall(pattern, self.log) or [None]
        assert address, self.log
        return self._stack.enter_context(httpx.Client(base_url=address, timeout=PATIENCE, trust_env=False))

    def user(self, email: str) -> "SignedIn":
        """Sign somebody up."""
        made = self.client.post("/users", json={"email": email})
        assert made.status_code == 201, made.text
        return SignedIn(self.client, made.json()["id"])

    def readiness(self) -> tuple[int, str, int | None]:
        """What /readyz answers: the status code, the state, and the version found."""
        answer = self.client.get("/readyz")
        facts = answer.json()
        assert facts["ready"] == (answer.status_code == 200)
        return answer.status_code, facts["state"], facts["found"]

    def tell_to_stop(self) -> None:
        """Send what orchestrators send."""
        self.process.send_signal(signal.SIGTERM)

    def exit_code(self) -> int:
        """Wait for its end."""
        return self.process.wait(PATIENCE)


class SignedIn:
    """A user's requests to a replica."""

    def __init__(self, client: httpx.Client, user_id: str) -> None:
        """Take the client of the replica."""
        self._client = client
        self.id = user_id

    def __call__(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request with the user's header."""
        headers = {"X-User-Id": self.id, "Content-Type": "application/json"}
        return self._client.request(method, path, headers=headers, **options)

    def new_talk(self) -> str:
        """Begin a conversation, and return the path of its messages."""
        return f"/conversations/{self('POST', '/conversations', json={}).json()['id']}/messages"

    def pages(self, path: str, limit: int, **parameters: Any) -> Iterator[list[Any]]:
        """Read a list, a page at a time."""
        cursor: dict[str, Any] = {}
        while cursor.get("cursor", "first"):
            page = self("GET", path, params={"limit": limit, **parameters, **cursor}).json()
            yield page["items"]
            cursor = {"cursor": page["next_cursor"]}


@contextmanager
def http_service(url: str, package: Path = SOURCE, **environment: str) -> Iterator[HttpService]:
    """Run the example with the package in a folder."""
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            [sys.executable, "-m", "todo_chat"],
            env=clean_environment(
                # Whatever port is free: the log names it.
                {"DATABASE_URL": url, "PORT": "0", "PYTHONDONTWRITEBYTECODE": "1", **environment},
                pythonpath=package,
            ),
            cwd=EXAMPLE,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            text=True,
        ) as process,
        ExitStack() as stack,
    ):
        try:
            yield HttpService(process, log, stack)
        finally:
            process.kill()


def said(*contents: str) -> list[dict[str, str]]:
    """Messages of the user, as a body."""
    return [{"role": "user", "content": content} for content in contents]


class Load:
    """Clients at work behind a load balancer, which gives each request to one of the replicas in turn.

    Attributes:
        failed: What went wrong.
        answered: How many requests each replica has answered, by its `id()`.
        written: The messages that a client was told are there.

    """

    def __init__(self, *replicas: HttpService) -> None:
        """Begin with these replicas in rotation."""
        self._rotation = list(replicas)
        self._under_way: Counter[int] = Counter()
        self._changed = Condition()
        self._stopping = Event()
        self.failed: list[str] = []
        self.answered: Counter[int] = Counter()
        self.written: list[str] = []

    def add(self, replica: HttpService) -> None:
        """Put a replica into the rotation, once it serves, and see it answer."""
        assert replica.client.get("/readyz").status_code == 200
        with self._changed:
            self._rotation.append(replica)
        self.see(replica)

    def remove(self, replica: HttpService) -> None:
        """Take a replica out of the rotation; its last requests may still be under way."""
        with self._changed:
            self._rotation.remove(replica)
            # One that has been chosen has to be connected before the replica stops to listen.
            self._changed.wait_for(lambda: not self._under_way[id(replica)], PATIENCE)

    def see(self, *replicas: HttpService, requests: int = 10) -> None:
        """Wait until each has answered so many requests more."""
        for replica in replicas:
            enough = self.answered[id(replica)] + requests
            wait_for(
                lambda replica=replica, enough=enough: self.answered[id(replica)] >= enough or self.failed,
                PATIENCE,
            )
        assert self.failed == []

    @contextmanager
    def _next(self) -> Iterator[httpx.Client]:
        with self._changed:
            self._rotation.append(self._rotation.pop(0))
            chosen = self._rotation[-1]
            self._under_way[id(chosen)] += 1
        try:
            yield chosen.client
        finally:
            with self._changed:
                self._under_way[id(chosen)] -= 1
                self.answered[id(chosen)] += 1
                self._changed.notify_all()

    def _ask(self, user: str, expected: int, method: str, path: str, **options: Any) -> Any:
        with self._next() as client:
            answer = client.request(method, path, headers={"X-User-Id": user}, **options)
        assert answer.status_code == expected, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def _work(self, number: int) -> None:
        rounds = 0
        try:
            user = self._ask(str(NIL), 201, "POST", "/users", json={"email": f"client-{number}@example.com"})[
                "id"
            ]
            talk = self._ask(user, 201, "POST", "/conversations", json={"title": "load"})["id"]
            while not self._stopping.wait(_PAUSE):
                rounds += 1
                messages = f"/conversations/{talk}/messages"
                turn = said(f"{number}/{rounds}/0", f"{number}/{rounds}/1")
                written = self._ask(user, 201, "POST", messages, json=turn)
                self.written += [message["id"] for message in written]
                newest = self._ask(user, 200, "GET", messages, params={"limit": 2})["items"]
                assert newest[::-1] == written
                task = self._ask(user, 201, "POST", "/tasks", json={"title": f"task {rounds}"})["id"]
                assert self._ask(user, 200, "POST", f"/tasks/{task}/complete")["completed_at"]
                self._ask(user, 204, "DELETE", f"/tasks/{task}")
        except Exception as error:
            self.failed.append(f"client {number}, round {rounds}: {type(error).__name__}: {error}")

    @contextmanager
    def at_work(self) -> Iterator["Load"]:
        """Have the clients work for as long as the block lasts."""
        with ThreadPoolExecutor(_CLIENTS) as threads:
            working = [threads.submit(self._work, number) for number in range(_CLIENTS)]
            try:
                yield self
            finally:
                self._stopping.set()
        for one in working:
            one.result()
        assert self.failed == []
