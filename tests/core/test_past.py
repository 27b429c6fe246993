"""The run before: S7 cell by cell, and that the ledger waits for it."""

from typing import Any

import pytest

from orchestrator.core.ids import Slot
from orchestrator.core.lifecycle import TaskEvent
from orchestrator.core.past import PreviousRun, past_blocks
from orchestrator.core.scheduling import Move
from orchestrator.core.states import TaskState
from tests.builders import NOW, a_dag, a_ledger, a_task
from tests.core.test_mapping import mapped

S, F, K = TaskState.SUCCESS, TaskState.FAILED, TaskState.SKIPPED
RUNNING, GONE = TaskState.RUNNING, TaskState.REMOVED
PAST: dict[str, Any] = {"depends_on_past": True}
DOWN: dict[str, Any] = {"wait_for_downstream": True}


@pytest.mark.parametrize(
    ("fields", "states", "reason"),
    [
        ({}, {"t": [F]}, None),
        (PAST, {"t": [S]}, None),
        (PAST, {"t": [S, K, GONE]}, None),
        (PAST, {"t": [S, F]}, "depends_on_past: it is failed in the run before, 'r'"),
        (PAST, {"t": [RUNNING]}, "depends_on_past: it is running in the run before, 'r'"),
        (
            PAST,
            {},
            "depends_on_past: the run before, 'r', has no task 't'"
            " (ignore_first_depends_on_past=True would let it run)",
        ),
        (PAST | {"ignore_first_depends_on_past": True}, {}, None),
        (PAST, {"t": [S], "c": [F]}, None),
        (DOWN, {"t": [F], "c": [S]}, "depends_on_past: it is failed in the run before, 'r'"),
        (
            DOWN,
            {"t": [S], "c": [S, F]},
            "wait_for_downstream: 'c' is failed in the run before, 'r'",
        ),
        (DOWN, {"t": [S], "c": [S], "deep": [F]}, None),
        (DOWN, {"t": [S]}, None),
    ],
)
def test_s7_what_the_run_before_must_have_done(
    fields: dict[str, Any], states: dict[str, list[TaskState]], reason: str | None
) -> None:
    previous = PreviousRun(run_id="r", states=states)
    assert past_blocks(a_task("t", **fields), children=("c",), previous=previous) == reason


def test_s7_the_first_run_has_no_past() -> None:
    assert past_blocks(a_task("t", **PAST), children=(), previous=None) is None


def test_s7_a_blocked_task_waits_with_its_reason_and_goes_when_it_is_free() -> None:
    ledger = a_ledger(a_dag(a_task("a"), a_task("b", **PAST), a_task("c", "b")))
    ledger.learn_past({"b": "depends_on_past: it is running in the run before, 'r'"})
    assert [move.slot.task_id for move in ledger.decide(NOW).moves] == ["a"]
    ruling = ledger.ruling(Slot("b"))
    assert ruling.reason == "depends_on_past: it is running in the run before, 'r'"
    assert ledger.waits_on(Slot("b"), ruling) == ()
    ledger.learn_past({})
    assert ledger.decide(NOW).moves == (Move(slot=Slot("b"), event=TaskEvent.BECAME_READY),)


def test_s5_a_task_that_waits_for_the_past_is_no_deadlock() -> None:
    ledger = a_ledger(a_dag(a_task("a", **PAST)))
    ledger.learn_past({"a": "later"})
    assert ledger.decide(NOW).finish is None


@pytest.mark.parametrize(("holds", "events"), [(True, []), (False, [TaskEvent.RULE_SKIPPED])])
def test_s3_a_skip_waits_for_the_past_if_it_is_told_to(
    holds: bool, events: list[TaskEvent]
) -> None:
    task = a_task("b", "a", wait_for_past_depends_before_skipping=holds, **PAST)
    ledger = a_ledger(a_dag(a_task("a"), task), {"a": K})
    ledger.learn_past({"b": "later"})
    assert [move.event for move in ledger.decide(NOW).moves] == events
    ledger.learn_past({})
    ledger.decide(NOW)
    assert ledger.instances[Slot("b")].state is K


def test_s7_the_past_keeps_every_index_and_not_the_failures() -> None:
    ledger = a_ledger(a_dag(a_task("x"), mapped("t", "x", **PAST)), {"x": F})
    ledger.learn_past({"t": "later"})
    (move,) = ledger.decide(NOW).moves
    assert move.event is TaskEvent.RULE_UPSTREAM_FAILED
    ledger = a_ledger(a_dag(mapped("t", 3, **PAST)))
    ledger.learn_past({"t": "later"})
    assert ledger.decide(NOW).moves == ()
    assert len(ledger.instances) == 3
    ledger.learn_past({})
    assert len(ledger.decide(NOW).moves) == 3
