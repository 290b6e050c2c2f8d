"""The example of a whole service, by real HTTP, in processes that boot, serve, and are told to stop."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from threading import Event

import httpx
import psycopg
import pytest

from tests.support.clusters import Cluster
from tests.support.http_service import NIL, HttpService, Load, SignedIn, http_service, said
from tests.support.releases import RELEASES, Release, install, restore
from tests.support.revisions import NEXT_VERSION
from tests.support.servers import Server, execute
from tests.support.states import STATES
from tests.support.waiting import wait_for
from todo_schema import SCHEMA_VERSION, State

SCHEMA = "to%do"

Start = Callable[..., HttpService]


@pytest.fixture(scope="module")
def service(server: Server) -> Iterator[HttpService]:
    """One that tests share, in a PostgreSQL schema of its own; each signs up users of its own."""
    url = server.create_database()
    execute(url, f'CREATE SCHEMA "{SCHEMA}"')
    with http_service(url, DATABASE_SCHEMA=SCHEMA) as running:
        yield running
    server.drop_database(url)


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts replicas: `start(url, package)`."""
    with ExitStack() as running:
        yield lambda *where: running.enter_context(http_service(*where))


@pytest.fixture(scope="module")
def released(once) -> Path:
    """The PYTHONPATH of the newest release, as its wheel has it."""
    return once("release-0.2.0", lambda folder: install(Release(RELEASES / "0.2.0").wheel, folder))


def problem(answer: httpx.Response) -> tuple[int, str | None]:
    """What a request was refused with: the status code, and the rule of the database, or the wrong place."""
    facts = answer.json()
    place = facts["detail"][0]["loc"][-1] if isinstance(facts["detail"], list) else None
    return answer.status_code, facts.get("rule", place)


# What it serves


def test_a_user_signs_up_once_and_is_found_in_whatever_letters(service: HttpService):
    ann = service.user("Ann@example.com")
    found = service.client.get("/users", params={"email": "ANN@example.com"})
    assert (found.status_code, found.json()["id"]) == (200, ann.id)
    assert set(found.json()) == {"id", "email", "created_at"}
    again = service.client.post("/users", json={"email": "ann@EXAMPLE.com"})
    assert problem(again) == (409, "ix_users_email_lower")
    nobody = service.client.get("/users", params={"email": "no\0body@example.com"})
    assert problem(nobody) == (404, None)
    for body in (
        rb'{"email": "no address"}',
        rb'{"email": "a@b", "role": "admin"}',
        rb'{"email": "a\ud800@b"}',
        rb"{}",
    ):
        refused = service.client.post("/users", content=body, headers={"Content-Type": "application/json"})
        assert refused.status_code == 422


def test_conversations_come_by_their_last_activity_and_are_their_owners_alone(service: HttpService):
    bob, eve = service.user("bob@example.com"), service.user("eve@example.com")
    first, second, third = (bob.new_talk() for _ in range(3))
    turn = [
        {"role": "user", "content": "What is left?"},
        {"role": "assistant", "content": "Two.", "payload": {"a": 1}},
    ]
    appended = bob("POST", first, json=turn)
    assert appended.status_code == 201
    assert [{key: one[key] for key in ("content", "payload")} for one in appended.json()] == [
        {"content": "What is left?", "payload": None},
        {"content": "Two.", "payload": {"a": 1}},
    ]
    shown = [f"/conversations/{one['id']}/messages" for one in chain(*bob.pages("/conversations", 2))]
    assert shown == [first, third, second]
    assert bob("GET", first).json() == {"items": appended.json()[::-1], "next_cursor": None}
    assert bob("GET", second).json() == {"items": [], "next_cursor": None}
    for method, body in (("GET", None), ("POST", said("Let me in"))):
        assert problem(eve(method, first, json=body)) == (404, None)
        assert problem(bob(method, f"/conversations/{NIL}/messages", json=body)) == (404, None)
    assert eve("GET", "/conversations").json()["items"] == []
    titled = bob("POST", "/conversations", json={"title": "Garden"})
    assert (titled.status_code, titled.json()["title"]) == (201, "Garden")


def test_tasks_are_added_listed_done_and_deleted_by_their_owner_alone(service: HttpService):
    cid, eve = service.user("cid@example.com"), service.user("eve2@example.com")
    added = cid(
        "POST", "/tasks", json={"title": "Rake", "due_at": "2030-01-01T00:00:00+02:00", "priority": 1}
    )
    assert (added.status_code, added.json()["completed_at"]) == (201, None)
    rake, *others = (
        added.json()["id"],
        *(cid("POST", "/tasks", json={"title": f"{n}"}).json()["id"] for n in range(6)),
    )
    path = f"/tasks/{rake}"
    assert problem(eve("POST", f"{path}/complete")) == problem(eve("DELETE", path)) == (404, None)
    for _ in range(2):
        done = cid("POST", f"{path}/complete")
        assert (done.status_code, done.json()["completed"]) == (200, True)
        assert done.json()["completed_at"] > done.json()["created_at"]

    def listed(**parameters: bool) -> list[int]:
        return [task["id"] for task in chain(*cid.pages("/tasks", 3, **parameters))]

    assert listed() == [*others[::-1], rake]
    assert listed(open_only=True) == others[::-1]
    deleted = cid("DELETE", path)
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert problem(cid("DELETE", path)) == problem(cid("POST", f"{path}/complete")) == (404, None)
    assert listed() == others[::-1]


def test_what_is_wrong_is_named_by_the_rule_of_the_database_or_by_its_place(service: HttpService):
    dan, stranger = service.user("dan@example.com"), SignedIn(service.client, str(NIL))
    talk = dan.new_talk()
    for path, body, refusal in (
        ("/tasks", {"title": " \n"}, "ck_tasks_title_not_blank"),
        ("/tasks", {"title": "a" * 1025}, "ck_tasks_title_length"),
        ("/tasks", {"title": "a", "description": "a" * 16385}, "ck_tasks_description_length"),
        ("/tasks", {"title": "a\0"}, None),
        ("/tasks", {"title": "a", "due_at": "9999-12-31T23:59:59-14:00"}, None),
        ("/tasks", {"title": "a", "due_at": "2030-01-01T00:00:00"}, "due_at"),
        ("/tasks", {"title": "a", "priority": 10}, "priority"),
        ("/tasks", {"title": "a", "completed": True}, "completed"),
        ("/conversations", {"title": ""}, "ck_conversations_title_length"),
        (talk, [], "body"),
        (talk, [{"role": "robot", "content": ""}], "role"),
        (talk, said("a\0"), "content"),
        (talk, said(*("a" for _ in range(101))), "body"),
    ):
        assert problem(dan("POST", path, json=body)) == (422, refusal), body
    not_a_number = b'[{"role": "user", "content": "", "payload": {"a": NaN}}]'
    assert problem(dan("POST", talk, content=not_a_number)) == (422, "payload")
    assert problem(stranger("POST", "/tasks", json={"title": "a"})) == (401, "fk_tasks_user_id_users")
    assert problem(service.client.get("/tasks")) == (401, None)
    for parameters in ({"limit": 0}, {"limit": 101}):
        assert problem(dan("GET", talk, params=parameters)) == (422, "limit")
    task_cursor = "WyIyMDMwLTAxLTAxVDAwOjAwOjAwWiIsMV0="  # ["2030-01-01T00:00:00Z",1]
    assert dan("GET", "/tasks", params={"cursor": task_cursor}).status_code == 200
    for cursor in ("", "!", "ü", "bnVsbA==", task_cursor):
        assert problem(dan("GET", talk, params={"cursor": cursor})) == (422, None)
    assert problem(dan("DELETE", f"/tasks/{2**63}")) == (422, "task_id")
    assert dan("GET", talk).json()["items"] == []


def test_paging_through_a_history_that_others_append_to_misses_and_repeats_nothing(service: HttpService):
    fay = service.user("fay@example.com")
    talk = fay.new_talk()
    there = [str(number) for number in range(250)]
    for begin in range(0, 250, 50):
        assert fay("POST", talk, json=said(*there[begin : begin + 50])).status_code == 201
    enough, later = Event(), []

    def append() -> None:
        while not enough.is_set():
            turn = [f"later {len(later)}", f"later {len(later) + 1}"]
            assert fay("POST", talk, json=said(*turn)).status_code == 201
            later.extend(turn)

    with ThreadPoolExecutor(2) as threads:
        appending = [threads.submit(append)]
        try:
            wait_for(lambda: later)
            pages = list(fay.pages(talk, 20))
        finally:
            enough.set()
    appending[0].result()
    assert {len(page) for page in pages[:-1]} == {20}
    shown = [message["content"] for message in chain(*pages)]
    newest = shown.index("249")
    assert shown[newest:] == there[::-1]
    # Of what came meanwhile, all that was there as the first page was read.
    assert shown[:newest] == later[:newest][::-1]
    assert [message["content"] for message in chain(*fay.pages(talk, 100))] == (there + later)[::-1]


# How the database stands


def test_readiness_says_how_the_database_stands(start: Start, upgraded_database: str):
    service = start(upgraded_database)
    assert service.readiness() == (200, "current", SCHEMA_VERSION)
    for state, code in ((State.AHEAD, 200), (State.TOO_NEW, 503)):
        execute(upgraded_database, STATES[state])
        assert service.readiness() == (code, state, NEXT_VERSION)


def test_a_database_of_before_is_upgraded_at_boot(start: Start, server: Server):
    database = restore(server, Release(RELEASES / "0.1.0"))
    service = start(database)
    assert service.readiness() == (200, "current", SCHEMA_VERSION)
    assert f"database: schema 1 -> {SCHEMA_VERSION}\n" in service.log
    server.drop_database(database)


def test_a_database_that_is_too_new_ends_the_boot_with_a_clear_message(start: Start, upgraded_database: str):
    execute(upgraded_database, STATES[State.TOO_NEW])
    service = start(upgraded_database)
    assert service.exit_code() == 3
    assert f"SchemaTooNewError: found: schema {NEXT_VERSION} in database " in service.log
    assert "\ncure: pip install --upgrade" in service.log
    assert "running on" not in service.log


def test_a_database_that_is_away_at_boot_or_later_is_waited_for(start: Start, private_server: Cluster):
    database = private_server.create_database()
    private_server.stop()
    service = start(database)
    wait_for(lambda: "Waiting for application startup" in service.log)
    private_server.start()
    gus = service.user("gus@example.com")
    private_server.stop("immediate")
    answer = service.client.get("/readyz")
    assert (answer.status_code, answer.json()["state"]) == (503, "unknown")
    assert answer.json()["detail"].startswith("no connection to ")
    assert service.client.get("/healthz").status_code == 200
    assert [gus("GET", "/tasks").status_code for _ in range(2)] == [503, 503]
    private_server.start()
    assert service.readiness() == (200, "current", SCHEMA_VERSION)
    assert gus("GET", "/tasks").status_code == 200


# Stops, and deploys


def test_a_request_that_is_under_way_is_answered_before_the_end(start: Start, upgraded_database: str):
    service = start(upgraded_database)
    hal = service.user("hal@example.com")
    talk = hal.new_talk()
    connected = "SELECT count(*), count(*) FILTER (WHERE wait_event_type = 'Lock') FROM pg_stat_activity"
    connected += " WHERE application_name = 'todo-chat' AND datname = current_database()"
    with psycopg.connect(upgraded_database) as holder, ThreadPoolExecutor(1) as threads:
        holder.execute("SELECT FROM conversations FOR UPDATE")
        slow = threads.submit(hal, "POST", talk, json=said("Wait for me"))
        wait_for(lambda: execute(upgraded_database, connected)[0][1])
        service.tell_to_stop()
        wait_for(lambda: "Shutting down" in service.log)
        with pytest.raises(httpx.ConnectError):
            httpx.get(service.client.base_url, trust_env=False)
        assert (service.process.poll(), slow.done()) == (None, False)
        holder.rollback()
        assert slow.result().status_code == 201
    assert service.exit_code() == 0
    wait_for(lambda: execute(upgraded_database, connected) == [(0, 0)])
    assert execute(upgraded_database, "SELECT content FROM messages") == [("Wait for me",)]


def test_two_versions_serve_at_once_in_a_rolling_deploy_and_back_and_no_request_fails(
    start: Start, released: Path, next_package: Path, database: str
):
    old = [start(database, released) for _ in range(2)]
    assert [replica.readiness() for replica in old] == [(200, "current", SCHEMA_VERSION)] * 2

    def leave(replica: HttpService) -> None:
        load.remove(replica)
        replica.tell_to_stop()
        assert replica.exit_code() == 0, replica.log
        load.see(*staying)

    with Load(*old).at_work() as load:
        load.see(*old)
        new = [start(database, next_package)]
        load.add(new[0])
        assert f"database: schema {SCHEMA_VERSION} -> {NEXT_VERSION}\n" in new[0].log
        assert new[0].readiness() == (200, "current", NEXT_VERSION)
        assert [replica.readiness() for replica in old] == [(200, "ahead", NEXT_VERSION)] * 2
        load.see(*old, *new)
        staying = [old[1], *new]
        leave(old[0])
        staying = [*new]
        leave(old[1])
        back = start(database, released)
        load.add(back)
        assert back.readiness() == (200, "ahead", NEXT_VERSION)
        staying = [back]
        leave(new[0])
    written = [str(key) for (key,) in execute(database, "SELECT id FROM messages")]
    assert sorted(written) == sorted(load.written)
    assert execute(database, "SELECT FROM tasks") == []
