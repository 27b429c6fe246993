"""What a person sees before they clear or mark, and what they are told afterwards."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestrator.bootstrap import Services
from orchestrator.cli.app import app
from orchestrator.core.outcomes import Failed
from orchestrator.core.states import RunState
from tests.api.world import World
from tests.cli.conftest import Project


@pytest.fixture
def world(services: Services) -> World:
    """The project with a run `one` that failed: greet failed, so shout is upstream_failed."""
    world = World(services)
    world.start_worker()
    world.control.unpause("greeting")
    world.trigger("greeting", run_id="one")
    world.finish({"greet": Failed(reason="no voice")})
    return world


def answer(project: Project, typed: str, *arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments), env=project.environ, input=typed)


def states(world: World, run_id: str = "one") -> tuple[str, str, str]:
    seen = [world.reads.task_instance("greeting", run_id, task) for task in ("greet", "shout")]
    return (str(world.reads.run("greeting", run_id).state), *(str(ti.state) for ti in seen))  # type: ignore[return-value]


BROKEN = ("failed", "failed", "upstream_failed")


def test_tasks_clear_lists_what_it_would_touch_and_asks(project: Project, world: World) -> None:
    declined = answer(project, "n\n", "tasks", "clear", "greeting", "one", "greet", "--downstream")

    lines = declined.stdout.splitlines()
    assert [line.split() for line in lines[:4]] == [
        ["RUN", "ID", "TASK", "STATE", "BECOMES"],
        ["one", "greet", "failed", "none"],
        ["one", "shout", "upstream_failed", "none"],
        ["run", "one:", "failed", "->", "queued"],
    ]
    assert lines[4].startswith("clear 2 task instances of greeting/one? [y/N]")
    assert declined.exit_code == 1
    assert states(world) == BROKEN

    agreed = answer(project, "y\n", "tasks", "clear", "greeting", "-", "greet", "--downstream")
    assert "cleared 2 task instances of greeting/one" in agreed.stdout
    assert "no scheduler is alive" in agreed.output
    assert states(world) == ("queued", "none", "none")
    world.finish()
    assert states(world) == ("success", "success", "success")


def test_tasks_clear_yes_and_nothing_left_to_clear(project: Project, world: World) -> None:
    options = ("tasks", "clear", "greeting", "one", "--only-failed", "--yes")
    done = project.run(*options, "--note", "voice is back")
    assert done.stdout == "cleared 2 task instances of greeting/one\n"
    assert world.reads.task_instance("greeting", "one", "greet").note == "voice is back"

    world.control.pause("greeting")
    assert project.run(*options).stdout == "there is nothing to clear\n"
    asked = answer(project, "", "tasks", "clear", "greeting", "one", "--only-failed")
    assert (asked.stdout, asked.exit_code) == ("there is nothing to clear\n", 0)


def test_a_paused_dag_says_when_what_is_queued_starts(project: Project, world: World) -> None:
    world.control.pause("greeting")
    done = project.run("tasks", "clear", "greeting", "one", "--yes")
    assert (
        "greeting is paused: what is queued starts with `orchestrator dags unpause" in done.output
    )


def test_as_json_nothing_is_done_without_yes(project: Project, world: World) -> None:
    shown = project.run("tasks", "clear", "greeting", "one", "shout", "-o", "json")
    expected = {
        "dry_run": True,
        "runs": [
            {
                "run_id": "one",
                "state": "failed",
                "becomes": "queued",
                "tasks": [{"task": "shout", "state": "upstream_failed", "becomes": "none"}],
            }
        ],
    }
    assert json.loads(shown.stdout) == expected
    assert states(world) == BROKEN
    done = project.run("tasks", "clear", "greeting", "one", "shout", "-o", "json", "--yes")
    assert json.loads(done.stdout) == {**expected, "dry_run": False}
    assert states(world) == ("queued", "failed", "none")


def test_tasks_mark(project: Project, world: World) -> None:
    shown = answer(project, "n\n", "tasks", "mark", "success", "greeting", "one", "greet")
    assert [line.split() for line in shown.stdout.splitlines()[1:4]] == [
        ["one", "greet", "failed", "success"],
        ["one", "shout", "upstream_failed", "none"],
        ["run", "one:", "failed", "->", "queued"],
    ]
    done = project.run("tasks", "mark", "success", "greeting", "one", "greet", "--yes")
    assert done.stdout.startswith("marked 2 task instances of greeting/one\n")
    assert states(world) == ("queued", "success", "none")
    said = " ".join(world.services.explain("greeting", "one", "greet"))
    assert "marked success by " in said


def test_runs_clear_mark_and_note(project: Project, world: World) -> None:
    project.run("runs", "clear", "greeting", "one", "--yes", "--note", "again")
    assert states(world) == ("queued", "none", "none")
    assert world.reads.run("greeting", "one").note == "again"
    world.finish()

    shown = answer(project, "y\n", "runs", "mark", "failed", "greeting", "one")
    assert "run one: success -> failed" in shown.stdout
    assert states(world) == ("failed", "success", "success")
    project.run("runs", "mark", "queued", "greeting", "-", "--yes")
    world.schedule()
    assert states(world) == ("success", "success", "success")
    assert project.run("runs", "note", "greeting", "one", "").stdout == "greeting one has no note\n"
    assert world.reads.run("greeting", "one").note is None
    only_new = project.run("runs", "clear", "greeting", "one", "--only-new", "--yes")
    assert only_new.stdout == "there is nothing to clear\n"


def test_dags_clear_by_dates(project: Project, world: World) -> None:
    world.trigger("greeting", run_id="two", logical_date=None)
    world.finish()
    done = project.run("dags", "clear", "greeting", "--yes")
    assert done.stdout.startswith("cleared 4 task instances of 2 runs\n")
    world.finish()
    early = project.run("dags", "clear", "greeting", "--to", "2001-01-01", "--yes")
    assert early.stdout == "there is nothing to clear\n"
    assert world.reads.run("greeting", "two").state is RunState.SUCCESS


@pytest.mark.usefixtures("world")
def test_what_does_not_exist_is_named_with_the_nearest(project: Project) -> None:
    assert project.refusal("tasks", "clear", "greeting", "one", "shuot", "--yes") == (
        "DAG 'greeting' has no task or task group 'shuot'; did you mean 'shout'?"
    )
    assert project.refusal("tasks", "clear", "greeting", "one", "greet[2]", "--yes") == (
        "task 'greet' is not mapped in this run; leave the map index out"
    )
    assert project.refusal("tasks", "mark", "succes", "greeting", "one", "greet") == (
        "a task instance cannot be marked 'succes'; use success, failed or skipped"
        "; did you mean 'success'?"
    )
    assert project.refusal("runs", "mark", "running", "greeting", "one").startswith(
        "a run cannot be marked 'running'; use success, failed or queued"
    )
    assert project.refusal("runs", "clear", "greeting", "oen", "--yes").startswith(
        "DAG 'greeting' has no run 'oen'"
    )
