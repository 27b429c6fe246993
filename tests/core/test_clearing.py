"""What becomes of a run whose task instances, or which itself, a person clears or marks."""

from typing import Any

import pytest

from orchestrator.core.clearing import (
    RunChange,
    RunPicture,
    add_new_tasks,
    clear,
    mark,
    mark_run,
    queue_run,
    running_among,
)
from orchestrator.core.graph import build_graph
from orchestrator.core.ids import Slot, VersionId
from orchestrator.core.lifecycle import TaskEvent
from orchestrator.core.scheduling import Instance
from orchestrator.core.selection import Selection, Target
from orchestrator.core.specs import DagSpec, RunStatePolicy, TriggerRule
from orchestrator.core.states import RunState, TaskState
from orchestrator.errors import ConflictError
from tests.builders import NOW, a_dag, a_task, uuid_of

S, F, K, U, N, R = (
    TaskState.SUCCESS,
    TaskState.FAILED,
    TaskState.SKIPPED,
    TaskState.UPSTREAM_FAILED,
    TaskState.NONE,
    TaskState.RUNNING,
)
CLEARED = TaskEvent.CLEARED


def a_run(
    dag: DagSpec, states: dict[str, TaskState | Instance], *, state: RunState, **fields: Any
) -> RunPicture:
    graph = build_graph(dag)
    instances = {
        Slot(name): given if isinstance(given, Instance) else Instance(state=given, epoch=1)
        for name, given in states.items()
    }
    defaults: dict[str, Any] = {
        "dag_id": dag.dag_id,
        "run_id": "r",
        "state": state,
        "started_at": NOW,
        "version_id": VersionId(uuid_of("v1")),
        "graph": graph,
        "latest_version_id": VersionId(uuid_of("v1")),
        "latest": graph,
        "dag_is_stale": False,
        "now": NOW,
        "instances": instances,
    }
    return RunPicture(**{**defaults, **fields})


def on(*names: str, **fields: Any) -> Selection:
    return Selection(targets=tuple(Target(name=name) for name in names), **fields)


def events(change: RunChange) -> list[tuple[str, str]]:
    return [(move.slot.task_id, move.event.value) for move in change.moves]


CHAIN = a_dag(a_task("a"), a_task("b", "a"), a_task("c", "b"))


def test_s14_a_clear_queues_a_finished_run_and_leaves_one_that_is_not() -> None:
    states: dict[str, TaskState | Instance] = {"a": S, "b": F, "c": U}
    for state, expected in (
        (RunState.FAILED, RunState.QUEUED),
        (RunState.SUCCESS, RunState.QUEUED),
        (RunState.RUNNING, None),
        (RunState.QUEUED, None),
    ):
        change = clear(a_run(CHAIN, states, state=state), on("b"), by=" by ada")
        assert events(change) == [("b", "cleared")]
        assert change.moves[0].reason == "cleared by ada"
        assert change.run_state is expected


def test_s14_without_reset_a_finished_run_stays_as_it_is() -> None:
    run = a_run(CHAIN, {"a": S, "b": F, "c": U}, state=RunState.FAILED)

    assert clear(run, on("b"), by="", resets_run=False).run_state is None


def test_clearing_nothing_changes_nothing() -> None:
    run = a_run(CHAIN, {"a": S, "b": S, "c": S}, state=RunState.SUCCESS)

    assert clear(run, Selection(only_failed=True), by="").is_empty


def test_a_finished_run_of_a_dag_without_a_file_cannot_run_again() -> None:
    run = a_run(CHAIN, {"a": F, "b": U, "c": U}, state=RunState.FAILED, dag_is_stale=True)

    with pytest.raises(ConflictError, match=r"'d' is no longer defined by any file.*restore"):
        clear(run, on("a"), by="")
    with pytest.raises(ConflictError, match="restore"):
        mark(run, on("a"), S, by="")
    assert mark_run(run, RunState.SUCCESS, by="").run_state is RunState.SUCCESS


def test_what_a_clear_takes_from_workers_is_known_before() -> None:
    run = a_run(CHAIN, {"a": S, "b": R, "c": N}, state=RunState.RUNNING)

    assert running_among(run, clear(run, Selection(), by="")) == (Slot("b"),)


def test_s14_a_mark_clears_what_failed_below_and_nothing_else() -> None:
    dag = a_dag(a_task("a"), a_task("b", "a"), a_task("c", "b"), a_task("d", "a"), a_task("e", "a"))
    run = a_run(dag, {"a": F, "b": U, "c": U, "d": K, "e": S}, state=RunState.FAILED)

    change = mark(run, on("a"), S, by=" by ada")

    assert events(change) == [("a", "marked_success"), ("b", "cleared"), ("c", "cleared")]
    assert change.moves[1].reason == "cleared by ada: a task above it was marked success"
    assert change.run_state is RunState.QUEUED


def test_a_mark_of_the_last_failure_makes_the_run_what_its_tasks_say() -> None:
    run = a_run(CHAIN, {"a": S, "b": S, "c": F}, state=RunState.FAILED)

    change = mark(run, on("c"), S, by="")
    assert (events(change), change.run_state) == ([("c", "marked_success")], RunState.SUCCESS)

    succeeded = a_run(CHAIN, {"a": S, "b": S, "c": S}, state=RunState.SUCCESS)
    assert mark(succeeded, on("c"), F, by="").run_state is RunState.FAILED
    assert mark(succeeded, on("b"), F, by="").run_state is None  # no leaf
    assert mark(succeeded, on("c"), S, by="").is_empty


def test_a_run_that_ended_for_another_reason_keeps_its_end() -> None:
    """A timeout skips what is left: its leaves did not fail, and yet the run did."""
    timed_out = a_run(CHAIN, {"a": F, "b": K, "c": K}, state=RunState.FAILED)

    assert mark(timed_out, on("a"), S, by="").run_state is None
    assert mark(timed_out, on("c"), F, by="").run_state is None


def test_s5_a_mark_heeds_the_run_state_policy() -> None:
    dag = a_dag(*CHAIN.tasks, run_state=RunStatePolicy.ALL)
    run = a_run(dag, {"a": S, "b": S, "c": S}, state=RunState.SUCCESS)

    assert mark(run, on("b"), F, by="").run_state is RunState.FAILED


def test_a_mark_reaches_relatives_and_spares_what_is_so_already() -> None:
    run = a_run(CHAIN, {"a": S, "b": F, "c": U}, state=RunState.RUNNING)

    change = mark(run, on("c", includes_upstream=True), S, by="")

    assert events(change) == [("b", "marked_success"), ("c", "marked_success")]
    assert change.run_state is None


def test_s14_a_run_marked_failed_fails_what_runs_and_skips_what_waits() -> None:
    dag = a_dag(*(a_task(name) for name in "abcdefg"))
    states: dict[str, TaskState | Instance] = {
        "a": S,
        "b": R,
        "c": TaskState.QUEUED,
        "d": N,
        "e": TaskState.UP_FOR_RETRY,
        "f": TaskState.UP_FOR_RESCHEDULE,
        "g": TaskState.REMOVED,
    }
    change = mark_run(a_run(dag, states, state=RunState.RUNNING), RunState.FAILED, by=" by ada")

    assert events(change) == [
        ("b", "marked_failed"),
        ("c", "marked_skipped"),
        ("d", "marked_skipped"),
        ("e", "marked_skipped"),
        ("f", "marked_failed"),
    ]
    assert (change.run_state, change.reason) == (RunState.FAILED, "marked failed by ada")


def test_s14_a_run_marked_success_has_only_successes() -> None:
    run = a_run(CHAIN, {"a": F, "b": U, "c": K}, state=RunState.FAILED)

    change = mark_run(run, RunState.SUCCESS, by="")

    assert [event for _, event in events(change)] == ["marked_success"] * 3
    assert change.run_state is RunState.SUCCESS
    assert mark_run(
        a_run(CHAIN, {"a": S}, state=RunState.SUCCESS), RunState.SUCCESS, by=""
    ).is_empty


def test_s14_a_marked_run_waits_for_its_teardowns() -> None:
    dag = a_dag(
        a_task("up", is_setup=True),
        a_task("work", "up"),
        a_task("down", "work", is_teardown=True, setups=("up",)),
    )
    run = a_run(dag, {"up": S, "work": R, "down": N}, state=RunState.RUNNING)

    failed = mark_run(run, RunState.FAILED, by=" by ada")
    assert events(failed) == [("work", "marked_failed")]
    assert (failed.run_state, failed.fails_later) == (None, "marked failed by ada")

    succeeded = mark_run(run, RunState.SUCCESS, by="")
    assert events(succeeded) == [("work", "marked_success")]
    assert (succeeded.run_state, succeeded.fails_later) == (None, None)

    done = a_run(dag, {"up": S, "work": F, "down": F}, state=RunState.FAILED)
    assert events(mark_run(done, RunState.SUCCESS, by="")) == [
        ("down", "marked_success"),
        ("work", "marked_success"),
    ]


def test_only_a_finished_run_can_be_queued() -> None:
    states: dict[str, TaskState | Instance] = {"a": S, "b": S, "c": S}
    finished = a_run(CHAIN, states, state=RunState.SUCCESS)

    assert queue_run(finished) == RunChange(run_state=RunState.QUEUED)
    assert queue_run(a_run(CHAIN, states, state=RunState.QUEUED)).is_empty
    with pytest.raises(ConflictError, match=r"'r' of DAG 'd' is running.*can be cleared"):
        queue_run(a_run(CHAIN, states, state=RunState.RUNNING))


def adopting(latest: DagSpec, states: dict[str, TaskState | Instance], **fields: Any) -> RunPicture:
    return a_run(
        CHAIN,
        states,
        state=RunState.SUCCESS,
        latest=build_graph(latest),
        latest_version_id=VersionId(uuid_of("v2")),
        **fields,
    )


NEWER = a_dag(a_task("a"), a_task("b", "a"), a_task("new", "b"))


def test_s14_a_run_keeps_its_version_unless_the_latest_is_chosen() -> None:
    run = adopting(NEWER, {"a": S, "b": S, "c": S})

    kept = clear(run, on("b", includes_downstream=True), by="")
    assert (events(kept), kept.adopts_latest) == ([("b", "cleared"), ("c", "cleared")], False)

    moved = clear(run, on("b", includes_downstream=True), by="", on_latest=True)
    assert events(moved) == [("b", "cleared"), ("c", "cleared"), ("c", "was_removed")]
    assert (moved.adopts_latest, moved.added, moved.run_state) == (True, ("new",), RunState.QUEUED)


def test_s14_a_task_that_is_back_is_restored() -> None:
    older = a_dag(a_task("a"), a_task("b", "a"))
    run = adopting(CHAIN, {"a": S, "b": S, "c": TaskState.REMOVED}, graph=build_graph(older))

    assert events(clear(run, on("a"), by="", on_latest=True)) == [
        ("a", "cleared"),
        ("c", "cleared"),
    ]


def test_s14_only_new_tasks_are_added_and_nothing_is_cleared() -> None:
    change = add_new_tasks(adopting(NEWER, {"a": S, "b": S, "c": S}), by="")

    assert events(change) == [("c", "cleared"), ("c", "was_removed")]
    assert (change.added, change.run_state) == (("new",), RunState.QUEUED)
    assert add_new_tasks(a_run(CHAIN, {"a": S}, state=RunState.SUCCESS), by="").is_empty
    fewer = adopting(a_dag(a_task("a")), {"a": S, "b": S, "c": S})
    assert add_new_tasks(fewer, by="").is_empty


def test_a_marked_branch_decides_nothing_any_more() -> None:
    """Its stored choice is forgotten with the mark: what it had not followed has a chance."""
    dag = a_dag(
        a_task("choose", chooses=True),
        a_task("left", "choose"),
        a_task("join", "left", trigger_rule=TriggerRule.ALL_DONE),
    )
    choice = Instance(state=S, epoch=1, skip=("left",))
    run = a_run(dag, {"choose": choice, "left": K, "join": S}, state=RunState.SUCCESS)

    change = mark(run, on("choose"), F, by="")

    assert (events(change), change.run_state) == ([("choose", "marked_failed")], None)
