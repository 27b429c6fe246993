"""`orchestrator callbacks list`: what was called, how often, and what it said."""

import json

from orchestrator.bootstrap import Services
from orchestrator.core.callbacks import ATTEMPTS_MAX, CallbackReport
from orchestrator.core.lifecycle import TaskEvent
from orchestrator.core.retries import Conclusion
from orchestrator.core.specs import CallbackKind
from tests.builders import a_dag, a_task
from tests.cli.conftest import Project
from tests.store.world import StoredWorld

LINE = '{"event": "paging", "level": "info"}\n'


def owe(services: Services) -> StoredWorld:
    """Bring one task to a failure that owes a callback."""
    world = StoredWorld(services.store)
    (assignment,) = world.running(a_dag(a_task("a", callbacks=(CallbackKind.FAILURE,))))
    world.finish(assignment, Conclusion(event=TaskEvent.FAILED, reason="no rows"))
    return world


def attempt(world: StoredWorld, *, error: str | None) -> None:
    world.write("UPDATE callback SET due_at = created_at")
    (message,) = world.store.scheduler.lease_callbacks(limit=9, republish_after_s=60).messages
    claimed = world.store.worker.claim_callback(message.callback_id, worker_id="w1", lease_s=60)
    assert claimed is not None
    report = CallbackReport(delivered=(), error=error, output=LINE)
    world.store.worker.finish_callback(message.callback_id, report, attempt=claimed.attempt)


def test_what_is_owed_is_listed_and_explained(project: Project, services: Services) -> None:
    world = owe(services)
    said = project.run("tasks", "explain", "d", "r1", "a").stdout
    assert "Its failure callback is on its way to a worker of queue 'default'." in said
    attempt(world, error="page: OSError: no network")
    said = project.run("tasks", "explain", "d", "r1", "a").stdout
    assert "begun 1 of 5 times; the last attempt failed: page: OSError: no network." in said
    (row,) = json.loads(project.run("callbacks", "list", "d", "--output", "json").stdout)
    assert {name: row[name] for name in ("of", "kind", "state", "attempts", "reason")} == {
        "of": "d/r1/a",
        "kind": "failure",
        "state": "owed",
        "attempts": 1,
        "reason": "no rows",
    }
    assert [line["event"] for line in row["output"]] == ["paging"]


def test_what_was_given_up_is_said(project: Project, services: Services) -> None:
    world = owe(services)
    for _ in range(ATTEMPTS_MAX):
        attempt(world, error="page: OSError: no network")
    said = project.run("tasks", "explain", "d", "r1", "a").stdout
    assert "Its failure callback was given up after 5 attempts: page: OSError: no network." in said
    assert "failed" in project.run("callbacks", "list", "d", "r1", "--undelivered").stdout


def test_what_was_delivered_is_no_longer_undelivered(project: Project, services: Services) -> None:
    attempt(owe(services), error=None)
    assert "done" in project.run("callbacks", "list", "d").stdout
    assert project.run("callbacks", "list", "d", "--undelivered").stdout.strip() == "no callbacks"
    assert "callback" not in project.run("tasks", "explain", "d", "r1", "a").stdout


def test_an_unknown_dag_is_named(project: Project, services: Services) -> None:
    assert "DAG 'nope' does not exist" in project.refusal("callbacks", "list", "nope")
