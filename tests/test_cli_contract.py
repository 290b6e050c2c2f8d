"""The command line, where there are contract revisions, and services that they would break."""

import json

from tests.support.commands import call, call_of
from tests.support.packages import CONTRACT, DROPPED
from tests.support.revisions import LAST_FLOOR, NEWEST_CONTRACT, NEXT, NEXT_VERSION
from todo_schema import SCHEMA_VERSION, session_factory
from todo_schema.exits import Exit


def test_plan_history_status_and_sql_show_both_lines_of_revisions(finished_database, contracting_package):
    plan, history, _, ready, contracted, status, as_json, applied, script = call_of(
        contracting_package,
        finished_database,
        *("plan", "history", "upgrade", "status", "contract", "status", "status --json", "history"),
        f"sql --to {CONTRACT}",
    )
    drop = f"{CONTRACT} Drop the description of a task"
    summary = [line for line in plan.stdout.split("\n\n")[0].splitlines() if not line.startswith("    ")]
    assert summary == [
        "behind: 1 to apply",
        f"  {NEXT} A note on a task (required)",
        "todo-schema contract would then apply:",
        f"  {drop}",
    ]
    assert "\n    transaction: ALTER TABLE tasks ADD COLUMN " in plan.stdout
    assert " (ACCESS EXCLUSIVE on tasks)\n    tasks: " in plan.stdout
    assert f"\n-- {drop}\n--   Gain: " in plan.stdout
    assert f"ALTER TABLE tasks DROP COLUMN {DROPPED};" in plan.stdout
    assert history.stdout.splitlines()[-2:] == [f"{NEXT} A note on a task", f"{drop}  floor {NEXT_VERSION}"]
    assert f"\ncontract  {NEWEST_CONTRACT or 'none'}\n" in ready.stdout
    assert f"\nnext      {CONTRACT} (floor {NEXT_VERSION}) ready: todo-schema contract\n" in ready.stdout
    assert contracted.exit_code == Exit.OK
    assert contracted.stdout.startswith(
        f"schema {NEXT_VERSION}, floor {LAST_FLOOR} -> {NEXT_VERSION}\n  {drop} ("
    )
    assert [line.split(" (")[0] for line in contracted.stderr.splitlines()] == [
        f"applying {drop}  floor {NEXT_VERSION}",
        f"done {drop}",
    ]
    assert f"\nfloor     {NEXT_VERSION}\n" in status.stdout
    assert f"\ncontract  {CONTRACT}\n" in status.stdout
    assert "\nnext " not in status.stdout
    facts = json.loads(as_json.stdout)
    assert (facts["floor"], facts["contract"], facts["contract_pending"]) == (NEXT_VERSION, CONTRACT, [])
    assert applied.stdout.splitlines()[-1].startswith(f"{drop}  floor {NEXT_VERSION}  applied 20")
    assert f"DROP COLUMN {DROPPED}" in script.stdout
    assert "ADD COLUMN" not in script.stdout
    assert call("check", url=finished_database).exit_code == Exit.TOO_NEW


async def test_a_contract_step_that_would_break_a_service_exits_9_and_names_it(
    finished_database, contracting_package
):
    commands = (
        *("upgrade", "contract", "contract --json", "contract --allow-unseen"),
        *("clients", "clients --json", "status --json"),
    )
    async with session_factory(finished_database, service="billing-api") as sessions, sessions() as session:
        await session.connection()
        _, refused, as_json, insisted, clients, clients_as_json, status = call_of(
            contracting_package, finished_database, *commands
        )
    named = f"billing-api: schema {SCHEMA_VERSION}, 1 connection from "
    assert (refused.exit_code, refused.stdout) == (Exit.CLIENTS, "")
    assert named in refused.stderr
    assert "\ncure: deploy these services" in refused.stderr
    facts = json.loads(as_json.stdout)
    assert (as_json.exit_code, facts["error"]) == (Exit.CLIENTS, "ContractBlockedError")
    assert [client["service"] for client in facts["clients"]] == ["billing-api"]
    assert insisted.exit_code == Exit.CLIENTS  # it says nothing of clients that are seen
    assert clients.exit_code == Exit.OK
    assert clients.stdout.startswith(named)
    assert f"\n{CONTRACT} (floor {NEXT_VERSION}) waits for services below" in clients.stdout
    (pending,) = json.loads(clients_as_json.stdout)["contract"]
    assert (pending["ready"], pending["blocked_by"]) == (False, facts["clients"])
    assert json.loads(status.stdout)["contract_pending"] == [pending]


def test_behind_a_pooler_what_might_break_clients_exits_9_unless_told_to_go_on(
    finished_database, contracting_package
):
    behind_a_pooler = ("contract --pooler --json", "contract --pooler --allow-unseen")
    _, refused, done = call_of(contracting_package, finished_database, "upgrade", *behind_a_pooler)
    assert (refused.exit_code, json.loads(refused.stdout)["error"]) == (Exit.CLIENTS, "UnseenClientsError")
    assert done.exit_code == Exit.OK
    going_back = ("downgrade --to base --pooler", "downgrade --to base --pooler --allow-unseen")
    refused, done = call_of(contracting_package, finished_database, *going_back)
    assert (refused.exit_code, done.exit_code) == (Exit.CLIENTS, Exit.OK)


def test_without_a_contract_revision_that_is_due_the_command_does_nothing(database, finished_database):
    assert call("contract", url=database).exit_code == Exit.OUTDATED
    assert call("contract", "--to", "c999", url=finished_database).exit_code == Exit.USAGE
    assert call("contract", "--to", "001", url=finished_database).exit_code == Exit.USAGE
    assert (
        call("contract", url=finished_database).stdout == f"schema {SCHEMA_VERSION} already: nothing to do\n"
    )
    assert call("clients", url=finished_database).stdout == "nobody is connected\n"
