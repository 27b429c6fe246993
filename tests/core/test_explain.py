"""The answer to "why is it not running?", in words."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.core.explain import Subject, Surroundings, explain
from orchestrator.core.ids import Slot
from orchestrator.core.scheduling import Instance
from orchestrator.core.specs import DagSpec, GroupSpec, RetryPolicy, TriggerRule
from orchestrator.core.states import RunState, TaskState
from tests.builders import NOW, a_candidate, a_capacity, a_dag, a_holding, a_ledger, a_task
from tests.core.test_mapping import a_group
from tests.core.test_setups import a_setup, a_teardown

AROUND = Surroundings(
    now=NOW,
    run_state=RunState.RUNNING,
    run_after=NOW,
    dag_is_paused=False,
    max_active_runs=16,
)
SUBJECT = Subject(slot=Slot("b"), state=TaskState.NONE, queue="gpu")
DAG = a_dag(a_task("a"), a_task("b", "a"))


def asked(around: dict[str, Any] | None = None, capacity: Any = None, **subject: Any) -> list[str]:
    ledger = a_ledger(DAG, {"a": TaskState.RUNNING})
    ledger.decide(NOW)
    return list(
        explain(
            replace(SUBJECT, **subject),
            ledger,
            capacity or a_capacity(),
            replace(AROUND, **(around or {})),
        )
    )


def test_upstream_and_rule() -> None:
    assert asked() == [
        "It waits for upstream a (running); its trigger rule is all_success over 1 upstream:"
        " 1 unfinished."
    ]


def test_which_limit_and_who_holds_it() -> None:
    capacity = a_capacity(a_holding("other/r/big", slots=4))
    assert asked(state=TaskState.SCHEDULED, candidate=a_candidate("d/r/b"), capacity=capacity) == [
        "It is ready, but pool 'p' has 4 of its 4 slots taken; held by other/big."
    ]


@pytest.mark.parametrize(
    ("fields", "around", "sentence"),
    [
        (
            {"state": TaskState.QUEUED},
            {},
            "It is on queue 'gpu', which no live worker serves: start one with"
            " `orchestrator worker -Q gpu`.",
        ),
        (
            {"state": TaskState.QUEUED, "queue": "default", "queued_at": NOW},
            {},
            "It is on queue 'default' since 2026-03-01 12:00:00 UTC, served by 100 worker slots;"
            " the next free one takes it.",
        ),
        (
            {
                "state": TaskState.UP_FOR_RETRY,
                "eligible_at": NOW + timedelta(seconds=90),
                "reason": "ValueError: x",
            },
            {},
            "It retries at 2026-03-01 12:01:30 UTC (in 90 s) after: ValueError: x.",
        ),
        (
            {},
            {"dag_is_paused": True},
            "Its DAG is paused: nothing new starts until `orchestrator dags unpause`.",
        ),
        (
            {},
            {"scheduler_alive": False},
            "No scheduler is alive: start one with `orchestrator scheduler`.",
        ),
        (
            {},
            {"run_state": RunState.QUEUED, "max_active_runs": 2, "run_blocked_by": ("r1", "r2")},
            "Its run is queued: 2 of 2 runs allowed by max_active_runs are running (r1, r2).",
        ),
        (
            {},
            {"run_state": RunState.QUEUED, "run_after": NOW + timedelta(hours=1)},
            "Its run starts at 2026-03-01 13:00:00 UTC.",
        ),
        (
            {"state": TaskState.SCHEDULED, "candidate": a_candidate("d/r/b")},
            {},
            "It is ready and gets its slot with the scheduler's next pass.",
        ),
        (
            {"state": TaskState.RUNNING, "worker": "w1", "started_at": NOW, "try_number": 2},
            {},
            "It is running on worker w1 since 2026-03-01 12:00:00 UTC, try 2.",
        ),
        (
            {"state": TaskState.SKIPPED, "reason": "not followed by 'a'"},
            {"dag_is_paused": True},
            "It ended skipped: not followed by 'a'.",
        ),
    ],
)
def test_the_first_sentence(fields: dict[str, Any], around: dict[str, Any], sentence: str) -> None:
    assert asked(around, **fields)[0] == sentence


def why(dag: DagSpec, name: str, states: dict[str, Any], past: str | None = None) -> list[str]:
    """What is said of a task in state none of a run that was decided once."""
    ledger = a_ledger(dag, states)
    ledger.learn_past({name: past} if past else {})
    ledger.decide(NOW)
    subject = Subject(slot=Slot(name), state=ledger.instances[Slot(name)].state, queue="default")
    return list(explain(subject, ledger, a_capacity(), AROUND))


RUNNING, SUCCESS, FAILED = TaskState.RUNNING, TaskState.SUCCESS, TaskState.FAILED


def test_s10_what_it_is_mapped_over() -> None:
    dag = a_dag(a_task("x"), a_task("g.t", group_id="g"), groups=(a_group("g", "x"),))
    assert why(dag, "g.t", {"x": RUNNING}) == [
        "It waits for mapping input x (running), which says how many instances it has."
    ]


def test_an_instance_in_nested_groups_is_named_by_its_path() -> None:
    groups = (a_group("g", 1), a_group("g.h", 2, parent="g"))
    dag = a_dag(a_task("g.h.t", group_id="g.h"), a_task("z", "g.h.t"), groups=groups)
    assert why(dag, "z", {})[0].startswith(
        "It waits for upstream g.h.t[0][0] (scheduled), g.h.t[0][1] (scheduled); "
    )


def test_ours_1_a_branch_that_has_not_chosen() -> None:
    early = TriggerRule.ONE_SUCCESS
    dag = a_dag(a_task("a"), a_task("br", chooses=True), a_task("t", "a", "br", trigger_rule=early))
    assert why(dag, "t", {"a": SUCCESS, "br": RUNNING}) == [
        "It waits for br (running), which may decide against it;"
        " so far: one_success over 2 upstream: 1 succeeded, 1 unfinished."
    ]


def test_s6_a_setup_and_a_scope() -> None:
    early = TriggerRule.ONE_SUCCESS
    dag = a_dag(
        a_setup("s"),
        a_task("a", "s"),
        a_task("b", "s"),
        a_task("w", "a", trigger_rule=early),
        a_teardown("t", "w", of=("s",)),
        a_task("m", "b"),
        a_task("v", "a", "m", "w", trigger_rule=early),
        a_teardown("t2", "v", of=("s",)),
    )
    assert why(dag, "v", {"s": RUNNING, "a": SUCCESS}) == [
        "It waits for its setup s (running), which it needs whatever its trigger rule."
    ]
    states = {"s": SUCCESS, "a": SUCCESS, "w": SUCCESS, "v": SUCCESS, "b": RUNNING}
    assert why(dag, "t2", states) == [
        "It waits for b (running), m (none), which may still need what it tears down."
    ]


def test_s7_the_past() -> None:
    past = "depends_on_past: it is running in the run before, 'r'"
    assert why(a_dag(a_task("a", depends_on_past=True)), "a", {}, past) == [
        f"It waits for the past: {past}."
    ]


def test_a_group_that_runs_again() -> None:
    group = GroupSpec(group_id="g", retry=RetryPolicy(retries=2, delay_s=90.0))
    dag = a_dag(a_task("g.a", group_id="g"), a_task("z", "g.a"), groups=(group,))
    states = {"g.a": Instance(state=FAILED, ended_at=NOW)}
    assert why(dag, "g.a", states) == [
        "It ended failed.",
        "It runs again at 2026-03-01 12:01:30 UTC: task group 'g' failed: retry 1 of 2.",
    ]
    assert why(dag, "z", states) == [
        "It waits for upstream g.a (failed, but its task group may run again at 2026-03-01"
        " 12:01:30 UTC); its trigger rule is all_success over 1 upstream: 1 unfinished."
    ]


@pytest.mark.parametrize("state", TaskState)
@pytest.mark.parametrize("run_state", [RunState.QUEUED, RunState.RUNNING])
def test_nothing_ever_waits_without_a_stated_reason(state: TaskState, run_state: RunState) -> None:
    assert asked({"run_state": run_state}, state=state, candidate=a_candidate("d/r/b"))
