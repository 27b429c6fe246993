"""A task group that is retried as a unit."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from orchestrator.core.graph import build_graph
from orchestrator.core.ids import Slot
from orchestrator.core.lifecycle import TaskEvent
from orchestrator.core.scheduling import Decision, Instance, Move
from orchestrator.core.specs import DagSpec, GroupSpec, RetryPolicy, TaskSpec, TriggerRule
from orchestrator.core.states import RunState, TaskState
from tests.builders import NOW, a_dag, a_task
from tests.core.test_mapping import Run, over
from tests.core.test_setups import a_setup, a_teardown

S, F, K, UF = TaskState.SUCCESS, TaskState.FAILED, TaskState.SKIPPED, TaskState.UPSTREAM_FAILED
NONE, READY = TaskState.NONE, TaskState.SCHEDULED


def retried(
    group_id: str = "g", *, retries: int = 1, delay_s: float = 0.0, **fields: Any
) -> GroupSpec:
    policy = RetryPolicy(retries=retries, delay_s=delay_s)
    return GroupSpec(group_id=group_id, retry=policy, **fields)


def a_chain(*groups: GroupSpec, z_rule: str = "all_success", **fields: Any) -> DagSpec:
    """g.a >> g.b >> z."""
    return a_dag(
        a_task("g.a", group_id="g"),
        a_task("g.b", "g.a", group_id="g"),
        a_task("z", "g.b", trigger_rule=TriggerRule(z_rule)),
        groups=groups,
        **fields,
    )


def ends(run: Run, slot: Slot, state: TaskState, at: datetime = NOW) -> Decision:
    known = run.ledger.instances[slot]
    assert known.state is READY, f"{slot} is {known.state}"
    told = Instance(state=state, epoch=known.epoch + 1, group_try=known.group_try, ended_at=at)
    run.ledger.apply(slot, told)
    run.decision = run.ledger.decide(at)
    return run.decision


def test_a_failed_group_runs_again_whole_and_those_outside_wait() -> None:
    run = Run(a_chain(retried()))
    ends(run, Slot("g.a"), S)
    decision = ends(run, Slot("g.b"), F)
    assert (run.states("z"), decision.finish) == ([NONE], None)
    reason = "task group 'g' failed: retry 1 of 1"
    assert decision.moves == tuple(
        Move(slot=Slot(each), event=TaskEvent.GROUP_RETRIED, reason=reason)
        for each in ("g.a", "g.b")
    )
    assert run.ledger.instances[Slot("g.b")] == Instance(epoch=2, group_try=1)
    assert decision.wake_at == NOW
    assert run.ledger.decide(NOW).moves == (Move(slot=Slot("g.a"), event=TaskEvent.BECAME_READY),)
    ends(run, Slot("g.a"), S)
    ends(run, Slot("g.b"), S)
    assert run.states("z") == [READY]


def test_a_group_that_failed_once_too_often_has_failed() -> None:
    run = Run(a_chain(retried(), z_rule="one_failed"))
    for _ in range(2):
        run.ledger.decide(NOW)
        assert run.states("z") == [NONE]
        ends(run, Slot("g.a"), F)
        run.ledger.decide(NOW)
    assert run.states("g.b") == [UF]
    assert run.states("z") == [READY]


def test_a_group_in_which_nothing_failed_settles_at_once() -> None:
    run = Run(a_chain(retried(), z_rule="all_done"))
    ends(run, Slot("g.a"), K)
    assert (run.states("g.b"), run.states("z")) == ([K], [READY])


def test_the_end_of_one_task_shows_only_when_the_group_has_settled() -> None:
    dag = a_dag(
        a_task("g.a", group_id="g"),
        a_task("g.b", group_id="g"),
        a_task("z", "g.a"),
        groups=(retried(),),
    )
    run = Run(dag)
    ends(run, Slot("g.a"), S)
    assert run.states("z") == [NONE]
    ruling = run.ledger.ruling(Slot("z"))
    assert ruling.reason == "all_success over 1 upstream: 1 unfinished"
    assert run.ledger.waits_on(Slot("z"), ruling) == (Slot("g.a"),)
    ends(run, Slot("g.b"), S)
    assert run.states("z") == [READY]


def test_the_delay_counts_from_the_end_of_the_last_task() -> None:
    run = Run(a_chain(retried(delay_s=60.0)))
    later = NOW + timedelta(seconds=5)
    decision = ends(run, Slot("g.a"), F, later)
    due = later + timedelta(seconds=60)
    assert decision.wake_at == due
    retry = run.ledger.group_retry(Slot("g.b"))
    assert retry is not None
    assert (str(retry), retry.at) == ("task group 'g' failed: retry 1 of 1", due)
    assert run.ledger.decide(due - timedelta(seconds=1)).moves == ()
    assert len(run.ledger.decide(due).moves) == 2


def test_each_index_of_a_mapped_group_is_retried_for_itself() -> None:
    run = Run(a_chain(retried(expansion=over(2)), z_rule="all_done"))
    ends(run, run.slot("g.a", 0), F)
    ends(run, run.slot("g.a", 1), S)
    ends(run, run.slot("g.b", 1), S)
    for _ in range(2):
        run.ledger.decide(NOW)
    assert run.states("g.a") == [READY, S]
    assert run.states("g.b") == [NONE, S]
    assert run.states("z") == [NONE]
    ends(run, run.slot("g.a", 0), S)
    ends(run, run.slot("g.b", 0), S)
    assert run.states("z") == [READY]


def test_setups_and_teardowns_in_a_group_run_again_and_a_teardowns_failure_is_none() -> None:
    tasks: list[TaskSpec] = [
        a_setup("g.s", group_id="g"),
        a_task("g.w", "g.s", group_id="g"),
        a_teardown("g.t", "g.s", "g.w", of=("g.s",), group_id="g"),
    ]
    run = Run(a_dag(*tasks, groups=(retried(),)))
    ends(run, Slot("g.s"), S)
    ends(run, Slot("g.w"), F)
    decision = ends(run, Slot("g.t"), F)
    assert {move.slot.task_id for move in decision.moves} == {"g.s", "g.t", "g.w"}
    run.ledger.decide(NOW)
    ends(run, Slot("g.s"), S)
    ends(run, Slot("g.w"), S)
    finish = ends(run, Slot("g.t"), F).finish
    assert finish is not None
    assert finish.state is RunState.SUCCESS


def test_a_branch_in_a_group_speaks_to_those_outside_when_the_group_has_settled() -> None:
    dag = a_dag(
        a_task("g.br", group_id="g", chooses=True),
        a_task("g.b", "g.br", group_id="g"),
        a_task("z", "g.br"),
        groups=(retried(),),
    )
    run = Run(dag)
    run.ledger.apply(Slot("g.br"), Instance(state=S, epoch=1, skip=("z",)))
    run.ledger.decide(NOW)
    assert (run.states("g.b"), run.states("z")) == ([READY], [NONE])
    ends(run, Slot("g.b"), F)
    run.ledger.decide(NOW)
    run.ledger.decide(NOW)
    assert (run.states("g.br"), run.states("z")) == ([READY], [NONE])
    run.ledger.apply(Slot("g.br"), Instance(state=S, epoch=3, group_try=1, skip=()))
    run.ledger.decide(NOW)
    ends(run, Slot("g.b"), S)
    assert run.states("z") == [READY]


def test_what_is_mapped_over_a_group_waits_until_it_has_settled() -> None:
    dag = a_dag(
        a_task("g.x", group_id="g"),
        a_task("g.b", "g.x", group_id="g"),
        a_task("t", "g.x", expansion=over("g.x")),
        groups=(retried(),),
    )
    run = Run(dag)
    run.ledger.apply(Slot("g.x"), Instance(state=S, epoch=1, length=2))
    run.ledger.decide(NOW)
    assert run.states("t") == [NONE]
    ends(run, Slot("g.b"), S)
    assert run.states("t") == [READY, READY]


def test_fail_fast_waits_for_the_last_retry_of_a_group() -> None:
    run = Run(a_chain(retried(), fail_fast=True))
    assert ends(run, Slot("g.a"), F).finish is None
    run.ledger.decide(NOW)
    run.ledger.decide(NOW)
    decision = ends(run, Slot("g.a"), F)
    assert decision.finish is not None
    assert run.states("z") == [UF]


@pytest.mark.parametrize("timeout_s", [10.0])
def test_a_run_whose_time_is_over_retries_no_group(timeout_s: float) -> None:
    run = Run(a_chain(retried(delay_s=60.0), dagrun_timeout_s=timeout_s))
    assert ends(run, Slot("g.a"), F).wake_at == NOW + timedelta(seconds=timeout_s)
    finish = run.ledger.decide(NOW + timedelta(seconds=timeout_s)).finish
    assert finish is not None
    assert finish.reason == "the run took longer than its dagrun_timeout of 10 s"
    assert run.states("z") == [K]


def test_a_retried_group_in_another_is_a_broken_invariant() -> None:
    groups = (retried("g"), retried("g.h", parent_id="g"))
    with pytest.raises(AssertionError, match="retried group"):
        build_graph(a_dag(a_task("g.h.a", group_id="g.h"), groups=groups))
