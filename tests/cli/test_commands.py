"""What people list, show and change, in both forms, and the sentence when it is not there."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.bootstrap import Services
from orchestrator.control import RunRequest
from orchestrator.core.states import RunState, TriggeredBy
from tests.cli.conftest import Project

pytestmark = pytest.mark.usefixtures("services")


def as_json(project: Project, *arguments: str) -> Any:
    result = project.run(*arguments, "--output", "json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def trigger(services: Services, run_id: str) -> None:
    services.control.trigger("greeting", RunRequest(run_id=run_id), triggered_by=TriggeredBy.TEST)


def test_dags_list(project: Project) -> None:
    assert as_json(project, "dags", "list") == [
        {
            "dag_id": "greeting",
            "file": "greeting.py",
            "schedule": None,
            "paused": False,
            "next_run_at": None,
            "tags": ["polite"],
            "state": "ok",
        }
    ]
    header, row = project.run("dags", "list").stdout.splitlines()
    assert header.split("  ")[0] == "DAG ID"
    assert header.split()[-2:] == ["TAGS", "STATE"]
    assert row.split() == ["greeting", "greeting.py", "no", "polite", "ok"]
    assert as_json(project, "dags", "list", "--tag", "rude") == []


def test_dags_show(project: Project) -> None:
    shown = as_json(project, "dags", "show", "greeting")
    assert [(task["task_id"], task["upstream"]) for task in shown["tasks"]] == [
        ("greet", []),
        ("shout", ["greet"]),
    ]
    assert project.run("dags", "show", "greeting").stdout.splitlines()[-3:] == [
        "greeting",
        "└── greet  @task",
        "    └── shout  @task",
    ]


def test_an_unknown_dag_is_named_with_the_nearest(project: Project) -> None:
    sentence = "DAG 'greting' does not exist; did you mean 'greeting'?"
    for command in (
        ["dags", "show"],
        ["dags", "trigger"],
        ["dags", "pause"],
        ["dags", "unpause"],
        ["runs", "list"],
        ["runs", "show"],
        ["runs", "watch"],
        ["tasks", "list"],
    ):
        assert project.refusal(*command, "greting") == sentence


def test_trigger_says_what_it_made_and_what_it_waits_for(
    project: Project, services: Services
) -> None:
    made = project.run(
        "dags", "trigger", "greeting", "--run-id", "mine", "--conf", '{"name": "ann"}',
        "--logical-date", "2024-05-31", "--note", "by hand",
    )  # fmt: skip
    assert made.output == (
        "triggered greeting mine\nno scheduler is alive: the run starts when one is started\n"
    )
    run = services.reads.run("greeting", "mine")
    assert (run.state, run.conf, run.note) == (RunState.QUEUED, {"name": "ann"}, "by hand")
    assert str(run.logical_date) == "2024-05-31 00:00:00+00:00"
    assert project.refusal("dags", "trigger", "greeting", "--run-id", "mine").startswith(
        "DAG 'greeting' has a run 'mine' already"
    )


def test_a_run_asked_for_by_hand_is_todays(project: Project, services: Services) -> None:
    """Without a logical date `{{ ds }}` would have no value."""
    before = datetime.now(UTC)
    project.run("dags", "trigger", "greeting", "--run-id", "mine")
    logical_date = services.reads.run("greeting", "mine").logical_date
    assert logical_date is not None
    assert before <= logical_date <= datetime.now(UTC)


def test_explain_answers_for_a_run_that_has_not_started(project: Project) -> None:
    project.run("dags", "pause", "greeting")
    project.run("dags", "trigger", "greeting", "--run-id", "mine")
    answered = project.run("tasks", "explain", "greeting", "mine", "greet").stdout
    assert answered.startswith("greeting/mine/greet is none.\n")
    assert "Its DAG is paused" in answered


def test_trigger_as_json_keeps_stdout_for_programs(project: Project) -> None:
    made = project.run("dags", "trigger", "greeting", "--run-id", "mine", "-o", "json")
    assert json.loads(made.stdout) == {"dag_id": "greeting", "run_id": "mine", "state": "queued"}


def test_pause_and_unpause(project: Project, services: Services) -> None:
    assert project.run("dags", "pause", "greeting").stdout == "greeting is paused\n"
    assert services.reads.dag("greeting").is_paused
    warned = project.run("dags", "trigger", "greeting").output
    assert "greeting is paused: the run starts with `orchestrator dags unpause greeting`" in warned
    assert project.run("dags", "unpause", "greeting").stdout == "greeting is not paused\n"
    assert not services.reads.dag("greeting").is_paused


def test_dags_errors_exits_1_and_says_why(project: Project, services: Services) -> None:
    assert project.run("dags", "errors").stdout == "every DAG file imports\n"
    services.store.catalog.record_import_error(
        "broken.py", kind="syntax", message="broken.py:1: [bold] no", stacktrace="Traceback ..."
    )
    result = project.run("dags", "errors", "--full")
    assert result.exit_code == 1
    assert "broken.py:1: [bold] no" in result.stdout
    assert "Traceback ..." in result.stdout
    (error,) = json.loads(project.run("dags", "errors", "--output", "json").stdout)
    assert (error["path"], error["stacktrace"]) == ("broken.py", "Traceback ...")


def test_runs_list_and_show_default_to_the_newest(project: Project, services: Services) -> None:
    assert project.run("runs", "list").stdout == "no runs\n"
    assert project.refusal("runs", "show", "greeting") == (
        "DAG 'greeting' has no runs yet; `orchestrator dags trigger greeting` starts one"
    )
    for run_id in ("one", "two"):
        trigger(services, run_id)
    assert [run["run_id"] for run in as_json(project, "runs", "list")] == ["two", "one"]
    assert [run["run_id"] for run in as_json(project, "runs", "list", "--limit", "1")] == ["two"]
    assert as_json(project, "runs", "list", "--state", "failed") == []
    shown = as_json(project, "runs", "show", "greeting")
    assert (shown["run_id"], shown["state"], shown["tasks"]) == ("two", "queued", [])
    assert "greeting  two  queued" in project.run("runs", "show", "greeting").stdout
    assert project.refusal("runs", "show", "greeting", "tow").startswith(
        "DAG 'greeting' has no run 'tow'"
    )


def test_pools_are_made_and_changed_by_set(project: Project) -> None:
    assert project.run("pools", "set", "gpu", "2").stdout == "pool gpu: 2 slots\n"
    changed = project.run("pools", "set", "gpu", "3", "--queue", "gpus", "--description", "cards")
    assert changed.stdout == "pool gpu: 3 slots, queue gpus\n"
    assert project.run("pools", "set", "gpu", "3", "--queue", "").stdout == "pool gpu: 3 slots\n"
    rows = {row["pool"]: row for row in as_json(project, "pools", "list")}
    assert (rows["gpu"]["slots"], rows["gpu"]["description"]) == (3, "cards")
    assert project.run("pools", "set", "gpu", "--", "-1").stdout == "pool gpu: no limit\n"


def test_health_says_what_does_not_answer(project: Project) -> None:
    result = project.run("health", "--output", "json")
    assert result.exit_code == 1
    rows = {row["part"]: row for row in json.loads(result.stdout)}
    assert {part: row["status"] for part, row in rows.items()} == {
        "database": "healthy",
        "redis": "unhealthy",
        "scheduler": "unhealthy",
        "worker": "unhealthy",
        "api": "unhealthy",
    }
    assert rows["scheduler"]["why"] == "none is alive; start one with `orchestrator scheduler`"
    assert project.run("health", "database").exit_code == 0
