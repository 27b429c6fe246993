"""The answer to "why is it not running?", in words."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.core.explain import Subject, Surroundings, explain
from orchestrator.core.ids import Slot
from orchestrator.core.states import RunState, TaskState
from tests.builders import NOW, a_candidate, a_capacity, a_dag, a_holding, a_ledger, a_task

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


@pytest.mark.parametrize("state", TaskState)
@pytest.mark.parametrize("run_state", [RunState.QUEUED, RunState.RUNNING])
def test_nothing_ever_waits_without_a_stated_reason(state: TaskState, run_state: RunState) -> None:
    assert asked({"run_state": run_state}, state=state, candidate=a_candidate("d/r/b"))
