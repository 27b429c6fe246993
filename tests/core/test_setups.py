"""Setups and teardowns: S6, and which of them a task needs or waits for."""

from typing import Any

import pytest

from orchestrator.core.graph import build_graph
from orchestrator.core.ids import Slot
from orchestrator.core.lifecycle import TaskEvent
from orchestrator.core.scheduling import Instance
from orchestrator.core.specs import DagSpec, TaskSpec, TriggerRule
from orchestrator.core.states import RunState, TaskState
from tests.builders import NOW, a_dag, a_ledger, a_task
from tests.core.test_mapping import Run, a_group

S, F, K, UF = TaskState.SUCCESS, TaskState.FAILED, TaskState.SKIPPED, TaskState.UPSTREAM_FAILED
NONE, READY, RUNNING = TaskState.NONE, TaskState.SCHEDULED, TaskState.RUNNING


def a_setup(task_id: str, *upstream: str, **fields: Any) -> TaskSpec:
    return a_task(task_id, *upstream, is_setup=True, **fields)


def a_teardown(task_id: str, *upstream: str, of: tuple[str, ...] = (), **fields: Any) -> TaskSpec:
    rule = TriggerRule.ALL_DONE_SETUP_SUCCESS
    fields = {"is_teardown": True, "setups": of, "trigger_rule": rule, **fields}
    return a_task(task_id, *upstream, **fields)


PLAIN = a_dag(a_setup("s"), a_task("w", "s"), a_teardown("t", "s", "w", of=("s",)))


@pytest.mark.parametrize(
    ("setup", "work", "teardown", "ended"),
    [
        ((F, None), UF, UF, RunState.FAILED),
        ((K, None), K, K, RunState.SUCCESS),
        ((S, F), F, S, RunState.FAILED),
        ((S, S), S, F, RunState.SUCCESS),
        ((S, S), S, K, RunState.SUCCESS),
        ((S, K), K, S, RunState.SUCCESS),
    ],
)
def test_s6_the_table(
    setup: tuple[TaskState, TaskState | None],
    work: TaskState,
    teardown: TaskState,
    ended: RunState,
) -> None:
    run = Run(PLAIN)
    run.end("s", state=setup[0])
    if setup[1] is not None:
        run.end("w", state=setup[1])
        assert run.states("t") == [READY]
        run.end("t", state=teardown)
    assert (run.states("w"), run.states("t")) == ([work], [teardown])
    assert run.decision.finish is not None
    assert run.decision.finish.state is ended


def test_s6_a_teardown_that_must_not_fail() -> None:
    counts = a_teardown("t", "s", "w", of=("s",), on_failure_fail_dagrun=True)
    dag = a_dag(a_setup("s"), a_task("w", "s"), counts)
    finish = a_ledger(dag, {"s": S, "w": S, "t": F}).decide(NOW).finish
    assert finish is not None
    assert (finish.state, finish.reason) == (RunState.FAILED, "leaf task 't' is failed")


# s1 >> s2 >> w >> t2 >> t1, and what is after t1 or beside the way.
NEST = a_dag(
    a_setup("s1"),
    a_setup("s2", "s1"),
    a_task("m", "s2"),
    a_task("w", "m"),
    a_teardown("t2", "s2", "w", of=("s2",)),
    a_teardown("t1", "s1", "t2", of=("s1",)),
    a_task("after2", "t2"),
    a_task("after1", "t1"),
    a_task("beside", "s2"),
)


def test_s6_which_setups_a_task_needs() -> None:
    assert build_graph(NEST).setups_needed == {
        "s2": ("s1",),
        "m": ("s1", "s2"),
        "w": ("s1", "s2"),
        "after2": ("s1",),
        "beside": ("s1", "s2"),
    }


def test_s6_a_setup_without_teardown_counts_for_everything_below_it() -> None:
    graph = build_graph(a_dag(a_setup("s"), a_task("a", "s"), a_task("b", "a")))
    assert graph.setups_needed == {"a": ("s",), "b": ("s",)}


def test_s6_what_a_teardown_waits_for_beyond_its_direct_upstream() -> None:
    graph = build_graph(NEST)
    assert graph.scopes == {"t1": ("m", "s2", "w"), "t2": ("m",)}


@pytest.mark.parametrize(
    ("rule", "ended", "state"),
    [
        ("all_done", F, UF),
        ("none_failed", K, K),
        ("one_failed", F, UF),
        ("all_done", S, READY),
        ("always", F, READY),  # always looks at nothing above it
    ],
)
def test_s6_a_task_needs_its_setups_whatever_its_rule(
    rule: str, ended: TaskState, state: TaskState
) -> None:
    dag = a_dag(
        a_setup("s"),
        a_task("a", "s", trigger_rule=TriggerRule.ALL_DONE),
        a_task("w", "a", trigger_rule=TriggerRule(rule)),
    )
    ledger = a_ledger(dag, {"s": ended, "a": S})
    ledger.decide(NOW)
    assert ledger.instances[Slot("w")].state is state


def test_s6_an_indirect_setup_is_waited_for() -> None:
    dag = a_dag(
        a_setup("s"),
        a_task("a"),
        a_task("m", "s"),
        a_task("w", "a", "m", trigger_rule=TriggerRule.ONE_SUCCESS),
    )
    run = Run(dag)
    run.end("a")
    assert run.states("w") == [NONE]
    assert run.ledger.ruling(Slot("w")).waits_for == "setup"
    run.end("s")
    assert run.states("w") == [READY]


def test_s6_a_teardown_waits_for_every_task_between() -> None:
    early = TriggerRule.ONE_SUCCESS
    dag = a_dag(
        a_setup("s"),
        a_task("a", "s"),
        a_task("b", "s"),
        a_task("w", "a", "b", trigger_rule=early),
        a_teardown("t", "w", of=("s",)),
    )
    run = Run(dag)
    run.end("s")
    run.end("a")
    run.end("w")
    assert run.states("t") == [NONE]
    ruling = run.ledger.ruling(Slot("t"))
    assert ruling.waits_for == "scope"
    assert run.ledger.waits_on(Slot("t"), ruling) == (Slot("b"),)
    run.end("b")
    assert run.states("t") == [READY]


@pytest.mark.parametrize(
    ("setups", "state"),
    [((S, F), READY), ((F, K), UF), ((K, K), K), ((S, K), READY)],
)
def test_s2_all_done_setup_success(setups: tuple[TaskState, ...], state: TaskState) -> None:
    dag = a_dag(
        a_setup("s1"),
        a_setup("s2"),
        a_task("w", trigger_rule=TriggerRule.ALL_DONE),
        a_teardown("t", "s1", "s2", "w", of=("s1", "s2")),
    )
    ledger = a_ledger(dag, {"s1": setups[0], "s2": setups[1], "w": F})
    ledger.decide(NOW)
    assert ledger.instances[Slot("t")].state is state


def test_s6_in_a_mapped_group_each_index_has_its_own() -> None:
    dag = a_dag(
        a_setup("g.s", group_id="g"),
        a_task("g.w", "g.s", group_id="g"),
        a_teardown("g.t", "g.s", "g.w", of=("g.s",), group_id="g"),
        groups=(a_group("g", 2),),
    )
    run = Run(dag)
    run.end("g.s", 0, state=F)
    run.end("g.s", 1)
    assert (run.states("g.w"), run.states("g.t")) == ([UF, READY], [UF, NONE])
    run.end("g.w", 1, state=F)
    assert run.states("g.t") == [UF, READY]


def doomed(states: dict[str, TaskState], **fields: Any) -> Run:
    """`w` of the plain three fails, or time is over, beside an independent task `x`."""
    dag: DagSpec = a_dag(
        *PLAIN.tasks, a_task("x"), a_setup("s2"), a_teardown("t2", "s2", of=("s2",)), **fields
    )
    given = {
        Slot(task.task_id): Instance(state=states.get(task.task_id, NONE)) for task in dag.tasks
    }
    return Run(dag, given)


def test_s5_fail_fast_leaves_the_teardowns_whose_setup_succeeded() -> None:
    run = doomed({"s": S, "w": F, "x": RUNNING, "s2": RUNNING}, fail_fast=True)
    ends = {move.slot.task_id: (move.event, move.reason) for move in run.decision.moves}
    reason = "fail_fast: task 'w' failed"
    assert ends == {
        "s2": (TaskEvent.ABANDONED, reason),
        "x": (TaskEvent.ABANDONED, reason),
        "t2": (TaskEvent.ABANDONED, reason),
        "t": (TaskEvent.BECAME_READY, None),
    }
    assert run.ledger.instances[Slot("x")].epoch == 1, "its worker is told to stop"
    assert run.decision.finish is None
    finish = run.end("t").finish
    assert finish is not None
    assert finish.reason == "leaf task 'w' is failed"


def test_s5_fail_fast_with_a_leaf_that_succeeded_is_a_success() -> None:
    dag = a_dag(a_task("a"), a_task("b", "a"), a_task("c"), fail_fast=True)
    finish = a_ledger(dag, {"a": F, "c": S}).decide(NOW).finish
    assert finish is not None
    assert finish.state is RunState.SUCCESS


def test_fail_fast_does_not_mind_a_teardown() -> None:
    dag = a_dag(*PLAIN.tasks, a_task("x"), fail_fast=True)
    ledger = a_ledger(dag, {"s": S, "w": S, "t": F, "x": RUNNING})
    assert ledger.decide(NOW).moves == ()


def test_dagrun_timeout_leaves_the_teardowns_whose_setup_succeeded() -> None:
    run = doomed({"s": S, "w": RUNNING}, dagrun_timeout_s=0.0)
    reason = "the run took longer than its dagrun_timeout of 0 s"
    assert run.decision.fails_later == reason
    assert run.decision.finish is None
    assert run.states("t") == [READY]
    assert run.states("x") == [K]
    finish = run.end("t").finish
    assert finish is not None
    assert (finish.state, finish.reason) == (RunState.FAILED, reason)


def test_a_doomed_run_stays_so_when_it_is_loaded_anew() -> None:
    ledger = a_ledger(PLAIN, {"s": S, "w": K}, fails_later="marked failed by joe")
    decision = ledger.decide(NOW)
    assert [move.event for move in decision.moves] == [TaskEvent.BECAME_READY]
    assert decision.fails_later is None, "the caller knows"
    ledger.apply(Slot("t"), Instance(state=S, epoch=1))
    finish = ledger.decide(NOW).finish
    assert finish is not None
    assert (finish.state, finish.reason) == (RunState.FAILED, "marked failed by joe")
