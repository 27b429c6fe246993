"""What clearing and marking allow, refuse and ring, and what explanations say of it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from orchestrator.control import Clearing, Touched
from orchestrator.core.outcomes import Failed
from orchestrator.core.requests import RunsNamed
from orchestrator.core.selection import Selection, Target
from orchestrator.core.states import RunState, TaskState
from orchestrator.errors import ConflictError, NotFoundError, RequestInvalidError
from tests.api.world import WORKER, World, open_world
from tests.builders import a_dag, a_task

RUN = RunsNamed(run_id="r")


@pytest.fixture
def world(tmp_path: Path, database_url: str, redis_url: str) -> Iterator[World]:
    with open_world(tmp_path / "home", database_url, redis_url) as world:
        world.start_worker()
        world.store.scheduler.register_scheduler("s", lease_s=3600)
        yield world


@pytest.fixture
def clearing(world: World) -> Clearing:
    """The person's side of a world in which `a` of a -> b has failed."""
    world.add(a_dag(a_task("a"), a_task("b", "a")))
    world.trigger("d", run_id="r")
    world.finish({"a": Failed(reason="boom")})
    return world.services.clearing


def on(*names: str) -> Selection:
    return Selection(targets=tuple(Target(name=name) for name in names))


def clear(clearing: Clearing, selection: Selection | None = None, **options: Any) -> Touched:
    options = {"dry_run": False, "user": "ada", **options}
    (touched,) = clearing.clear("d", RUN, selection or Selection(), **options)
    return touched


def said(world: World, task_id: str) -> str:
    return " ".join(world.services.explain("d", "r", task_id))


def test_a_preview_shows_things_as_they_are_and_rings_nobody(
    world: World, clearing: Clearing
) -> None:
    while world.services.doorbell.wait(0.01):
        pass

    touched = clear(clearing, dry_run=True)

    assert [seen.state for seen in touched.instances] == [
        TaskState.FAILED,
        TaskState.UPSTREAM_FAILED,
    ]
    assert touched.change.run_state is RunState.QUEUED
    assert world.reads.run("d", "r").state is RunState.FAILED
    assert not world.services.doorbell.wait(0.01)


def test_a_clear_rings_the_scheduler_and_the_worker_that_lost_a_task(
    world: World, clearing: Clearing
) -> None:
    clear(clearing)
    world.schedule()
    world.start_tasks()
    while world.services.doorbell.wait(0.01):
        pass
    rung, stop = Event(), Event()
    listening = Thread(
        target=world.services.doorbell.listen, args=(WORKER, rung.set), kwargs={"stop": stop}
    )
    listening.start()
    try:
        while not rung.is_set():  # until the listener has subscribed, it hears nothing
            clear(clearing, on("a"))
            world.schedule()
            world.start_tasks()
            rung.wait(0.2)
    finally:
        stop.set()
        listening.join(30)

    assert world.services.doorbell.wait(5)


def test_explain_after_a_clear(world: World, clearing: Clearing) -> None:
    clear(clearing)
    assert said(world, "a") == (
        "It is to run again: cleared by ada. "
        "Its run is queued and starts with the scheduler's next pass."
    )
    world.schedule()
    assert "It is on queue 'default'" in said(world, "a")
    assert said(world, "b").startswith("It is to run again: cleared by ada. It waits for")


def test_explain_of_a_run_sent_back_tells_of_what_stays(world: World, clearing: Clearing) -> None:
    clear(clearing, on("b"))
    assert said(world, "a") == "It ended failed: boom."

    clearing.mark("d", RUN, on("a"), TaskState.SUCCESS, dry_run=False, user="ada")
    assert said(world, "a") == "It ended success: marked success by ada."
    assert "cleared by ada" in said(world, "b")


def test_explain_where_the_run_was_left_as_it_is(world: World, clearing: Clearing) -> None:
    clear(clearing, resets_runs=False)

    assert said(world, "a") == (
        "It is to run again: cleared by ada. Its run is failed, so nothing in it moves until it is "
        "queued: `orchestrator runs mark queued` does that."
    )
    clearing.mark_run("d", "r", RunState.QUEUED, dry_run=False)
    world.finish()
    assert world.reads.run("d", "r").state is RunState.SUCCESS


def test_a_removed_task_is_explained(world: World, clearing: Clearing) -> None:
    world.add(a_dag(a_task("a")), source="# b is gone\n")
    clear(clearing, on("a"), on_latest=True)

    assert said(world, "b").startswith("It ended removed: its task is not in the DAG's current")


def test_what_cannot_be_asked_for(world: World, clearing: Clearing) -> None:
    with pytest.raises(RequestInvalidError, match="cannot be marked 'running'; use success"):
        clearing.mark("d", RUN, on("a"), TaskState.RUNNING, dry_run=True)
    with pytest.raises(RequestInvalidError, match="a run cannot be marked 'running'"):
        clearing.mark_run("d", "r", RunState.RUNNING, dry_run=True)
    with pytest.raises(RequestInvalidError, match="note has 1001 characters"):
        clear(clearing, note="x" * 1001)
    with pytest.raises(NotFoundError, match="DAG 'e' does not exist"):
        clearing.clear("e", RUN, Selection(), dry_run=True)
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    with pytest.raises(RequestInvalidError, match="is after end_date"):
        clearing.clear("d", RunsNamed(from_date=late, to_date=early), Selection(), dry_run=True)
    assert world.reads.run("d", "r").state is RunState.FAILED


def test_a_dag_without_a_file_cannot_run_again(world: World, clearing: Clearing) -> None:
    world.store.catalog.keep_only("d.py", ())

    with pytest.raises(ConflictError, match="restore its file"):
        clear(clearing)
    clearing.mark_run("d", "r", RunState.SUCCESS, dry_run=False)
    assert world.reads.run("d", "r").state is RunState.SUCCESS


def test_a_name_that_only_some_runs_know_is_cleared_in_those(
    world: World, clearing: Clearing
) -> None:
    world.add(a_dag(a_task("a"), a_task("late", "a")), source="# newer\n")
    world.trigger("d", run_id="newer")
    world.finish()

    touched = clearing.clear("d", RunsNamed(), on("late"), dry_run=True)

    assert [one.run.run_id for one in touched] == ["newer"]
    with pytest.raises(NotFoundError, match="no task or task group 'later'; did you mean 'late'"):
        clearing.clear("d", RunsNamed(), on("later"), dry_run=True)


def test_notes_of_tasks_and_runs(world: World, clearing: Clearing) -> None:
    (noted,) = clearing.note_tasks("d", RUN, on("a"), "known trouble")
    assert (noted.key.task_id, noted.note, noted.state) == ("a", "known trouble", TaskState.FAILED)
    clearing.note_run("d", "r", "asked Bob")
    assert world.reads.run("d", "r").note == "asked Bob"
    clearing.note_run("d", "r", None)
    assert world.reads.run("d", "r").note is None
