"""How a run ends: S5's leaves, the other policies, and a deadlock."""

import pytest

from orchestrator.core.ids import Slot
from orchestrator.core.lifecycle import TaskEvent
from orchestrator.core.scheduling import FinishRun
from orchestrator.core.specs import RunStatePolicy, TriggerRule
from orchestrator.core.states import RunState, TaskState
from tests.builders import NOW, a_dag, a_ledger, a_task
from tests.core.test_mapping import Run, a_group
from tests.core.test_setups import a_setup, a_teardown

S, F, K, UF = TaskState.SUCCESS, TaskState.FAILED, TaskState.SKIPPED, TaskState.UPSTREAM_FAILED
LEAVES, ALL, CRITICAL = RunStatePolicy
OK = FinishRun(state=RunState.SUCCESS, reason="no leaf task failed")


def bad(reason: str) -> FinishRun:
    return FinishRun(state=RunState.FAILED, reason=reason)


@pytest.mark.parametrize(
    ("policy", "critical", "states", "finish"),
    [
        (LEAVES, (), {"a": F, "b": S}, OK),
        (LEAVES, (), {"a": S, "b": F}, bad("leaf task 'b' is failed")),
        (ALL, (), {"a": F, "b": S}, bad("task 'a' is failed")),
        (ALL, (), {"a": S, "b": UF}, bad("task 'b' is upstream_failed")),
        (ALL, (), {"a": K, "b": S}, FinishRun(state=RunState.SUCCESS, reason="no task failed")),
        (CRITICAL, ("a",), {"a": F, "b": S}, bad("critical task 'a' is failed")),
        (
            CRITICAL,
            ("a",),
            {"a": S, "b": F},
            FinishRun(state=RunState.SUCCESS, reason="no critical task failed"),
        ),
    ],
)
def test_ours_5_whose_failure_counts(
    policy: RunStatePolicy,
    critical: tuple[str, ...],
    states: dict[str, TaskState],
    finish: FinishRun,
) -> None:
    dag = a_dag(a_task("a"), a_task("b", "a"), run_state=policy, critical_tasks=critical)
    assert a_ledger(dag, states).decide(NOW).finish == finish


def test_ours_5_all_does_not_mean_teardowns() -> None:
    dag = a_dag(a_setup("s"), a_teardown("t", "s", of=("s",)), run_state=ALL)
    finish = a_ledger(dag, {"s": S, "t": F}).decide(NOW).finish
    assert finish == FinishRun(state=RunState.SUCCESS, reason="no task failed")


def test_s5_a_mapped_group_with_an_all_done_leaf_is_a_success() -> None:
    dag = a_dag(
        a_task("g.a", group_id="g"),
        a_task("z", "g.a", trigger_rule=TriggerRule.ALL_DONE),
        groups=(a_group("g", 2),),
    )
    run = Run(dag)
    run.end("g.a", 0, state=F)
    run.end("g.a", 1)
    run.end("z")
    assert run.decision.finish == OK


def test_s5_a_failed_index_of_a_leaf_is_named() -> None:
    run = Run(a_dag(a_task("g.a", group_id="g"), groups=(a_group("g", 3),)))
    for index, state in enumerate((S, F, S)):
        run.end("g.a", index, state=state)
    assert run.decision.finish == bad("leaf task 'g.a[1]' is failed")


def test_s5_a_deadlock_fails_the_run() -> None:
    """Authoring refuses this circle: a teardown above its own setup."""
    dag = a_dag(a_teardown("t", "a", of=("s",)), a_task("a"), a_setup("s", "t"))
    decision = a_ledger(dag, {"a": S}).decide(NOW)
    reason = "deadlock: nothing can move any more; 's' waits for 't'"
    assert decision.finish == bad(reason)
    assert {(move.slot, move.event) for move in decision.moves} == {
        (Slot("s"), TaskEvent.ABANDONED),
        (Slot("t"), TaskEvent.ABANDONED),
    }
