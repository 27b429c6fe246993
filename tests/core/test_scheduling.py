"""What one run needs next: tables, cascades, and that news decide as the whole would."""

from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.graph import build_graph
from orchestrator.core.ids import Slot
from orchestrator.core.lifecycle import TRANSITIONS, TaskEvent
from orchestrator.core.scheduling import Decision, FinishRun, Instance, Move, RunLedger
from orchestrator.core.specs import DagSpec, TriggerRule
from orchestrator.core.states import FINISHED_TASK_STATES, RunState, TaskState
from tests.builders import NOW, a_dag, a_ledger, a_task

S, F, K = TaskState.SUCCESS, TaskState.FAILED, TaskState.SKIPPED
DIAMOND = a_dag(a_task("a"), a_task("b", "a"), a_task("c", "a"), a_task("d", "b", "c"))


def events(decision: Decision) -> dict[str, TaskEvent]:
    return {move.slot.task_id: move.event for move in decision.moves}


def test_a_new_run_starts_at_its_roots() -> None:
    decision = a_ledger(DIAMOND).decide(NOW)
    assert decision == Decision(moves=(Move(slot=Slot("a"), event=TaskEvent.BECAME_READY),))


def test_a_completion_schedules_what_it_unblocks() -> None:
    ledger = a_ledger(DIAMOND, {"a": TaskState.RUNNING})
    assert events(ledger.decide(NOW)) == {}
    ledger.apply(Slot("a"), Instance(state=S, epoch=1))
    ready = TaskEvent.BECAME_READY
    assert events(ledger.decide(NOW)) == {"b": ready, "c": ready}


def test_a_failure_runs_through_and_ends_the_run() -> None:
    decision = a_ledger(DIAMOND, {"a": F}).decide(NOW)
    failed = TaskEvent.RULE_UPSTREAM_FAILED
    assert events(decision) == {"b": failed, "c": failed, "d": failed}
    assert decision.finish == FinishRun(
        state=RunState.FAILED, reason="leaf task 'd' is upstream_failed"
    )
    assert decision.moves[0].reason == "all_success over 1 upstream: 1 failed"


def test_tasks_without_work_need_no_worker() -> None:
    dag = a_dag(a_task("a", needs_worker=False), a_task("b", "a", needs_worker=False))
    decision = a_ledger(dag).decide(NOW)
    assert events(decision) == dict.fromkeys("ab", TaskEvent.SUCCEEDED_INLINE)
    assert decision.finish == FinishRun(state=RunState.SUCCESS, reason="no leaf task failed")


def test_s3_skips_travel_by_trigger_rules() -> None:
    none_failed = TriggerRule.NONE_FAILED
    dag = a_dag(
        a_task("a"), a_task("b", "a"), a_task("c", "b", trigger_rule=none_failed), a_task("d", "c")
    )
    decision = a_ledger(dag, {"a": K}).decide(NOW)
    assert events(decision) == {"b": TaskEvent.RULE_SKIPPED, "c": TaskEvent.BECAME_READY}


def test_s3_a_branch_decision_beats_the_trigger_rule() -> None:
    dag = a_dag(a_task("br"), a_task("x", "br", trigger_rule=TriggerRule.ALL_DONE))
    decision = a_ledger(dag, {"br": Instance(state=S, skip=("x",))}).decide(NOW)
    assert decision.moves == (
        Move(slot=Slot("x"), event=TaskEvent.RULE_SKIPPED, reason="not followed by 'br'"),
    )


def test_s4_a_short_circuit_may_skip_what_is_far_below() -> None:
    dag = a_dag(a_task("s"), a_task("a", "s"), a_task("z", "a", trigger_rule=TriggerRule.ALL_DONE))
    decision = a_ledger(dag, {"s": Instance(state=S, skip=("a", "z"))}).decide(NOW)
    assert events(decision) == dict.fromkeys("az", TaskEvent.RULE_SKIPPED)


@pytest.mark.parametrize(
    ("states", "rules", "outcome"),
    [
        ({"a": F, "b": S}, {"b": "all_done"}, RunState.SUCCESS),
        ({"a": F, "b": S}, {"b": "always"}, RunState.SUCCESS),
        ({"a": S, "b": K}, {}, RunState.SUCCESS),
        ({"a": F, "b": F}, {"b": "one_failed"}, RunState.FAILED),
        ({"a": F, "b": TaskState.UPSTREAM_FAILED}, {}, RunState.FAILED),
    ],
)
def test_s5_the_leaves_decide_the_run(
    states: dict[str, TaskState], rules: dict[str, str], outcome: RunState
) -> None:
    rule = TriggerRule(rules.get("b", "all_success"))
    finish = a_ledger(a_dag(a_task("a"), a_task("b", "a", trigger_rule=rule)), states).decide(NOW)
    assert finish.finish is not None
    assert finish.finish.state is outcome


def test_a_retry_waits_for_its_time_and_wakes_the_run_then() -> None:
    due = NOW + timedelta(seconds=30)
    waiting = Instance(state=TaskState.UP_FOR_RETRY, epoch=1, eligible_at=due)
    ledger = a_ledger(a_dag(), {"a": waiting})
    assert ledger.decide(NOW) == Decision(wake_at=due)
    assert events(ledger.decide(due)) == {"a": TaskEvent.BECAME_READY}


def test_dagrun_timeout_ends_everything() -> None:
    dag = a_dag(a_task("a"), a_task("b"), a_task("c", "a"), dagrun_timeout_s=60.0)
    ledger = a_ledger(dag, {"a": TaskState.RUNNING, "b": S})
    assert ledger.decide(NOW).wake_at == NOW + timedelta(seconds=60)
    decision = ledger.decide(NOW + timedelta(seconds=60))
    assert events(decision) == {"a": TaskEvent.ABANDONED, "c": TaskEvent.ABANDONED}
    assert decision.finish == FinishRun(
        state=RunState.FAILED, reason="the run took longer than its dagrun_timeout of 60 s"
    )


def test_old_and_repeated_news_change_nothing() -> None:
    ledger = a_ledger(DIAMOND, {"a": Instance(state=TaskState.SCHEDULED, epoch=3)})
    ledger.decide(NOW)
    ledger.apply(Slot("a"), Instance(state=F, epoch=2))
    assert ledger.decide(NOW) == Decision()
    ledger.apply(Slot("a"), Instance(state=S, epoch=4))
    assert len(ledger.decide(NOW).moves) == 2
    ledger.apply(Slot("a"), Instance(state=S, epoch=4))
    assert ledger.decide(NOW) == Decision()


def test_the_ledger_says_what_a_task_waits_for() -> None:
    ledger = a_ledger(DIAMOND, {"a": S, "b": S, "c": TaskState.RUNNING})
    ruling = ledger.ruling(Slot("d"))
    assert ruling.reason == "all_success over 2 upstream: 1 succeeded, 1 unfinished"
    assert ledger.waits_on(Slot("d"), ruling) == (Slot("c"),)


def test_an_empty_dag_is_a_success() -> None:
    ledger = RunLedger(build_graph(DagSpec(dag_id="d", tasks=())), [], started_at=NOW)
    finish = ledger.decide(NOW).finish
    assert finish is not None
    assert finish.state is RunState.SUCCESS


@st.composite
def dags(draw: st.DrawFn) -> DagSpec:
    names = [f"t{n}" for n in range(draw(st.integers(1, 9)))]
    tasks = []
    for index, name in enumerate(names):
        upstream = draw(st.sets(st.sampled_from(names[:index]))) if index else set()
        tasks.append(
            a_task(
                name,
                *sorted(upstream),
                trigger_rule=draw(st.sampled_from(TriggerRule)),
                needs_worker=draw(st.booleans()),
            )
        )
    return a_dag(*tasks)


@settings(max_examples=300, deadline=None)
@given(dags(), st.data())
def test_deciding_on_news_equals_deciding_on_the_whole(dag: DagSpec, data: st.DataObject) -> None:
    """Any order of completions: the ledger that takes in news stays equal to one loaded anew, every
    move is a legal transition, and the run always comes to its end."""
    ledger = a_ledger(dag)
    stored = dict(ledger.instances)
    for _ in range(3 * len(dag.tasks) + 3):
        fresh = RunLedger(build_graph(dag), stored.items(), started_at=NOW)
        decision = ledger.decide(NOW)
        assert decision == fresh.decide(NOW)
        for move in decision.moves:
            assert stored[move.slot].state in TRANSITIONS[move.event].sources
            stored[move.slot] = Instance(
                state=TRANSITIONS[move.event].target, epoch=stored[move.slot].epoch
            )
        assert stored == ledger.instances
        out = [slot for slot, instance in stored.items() if instance.state is TaskState.SCHEDULED]
        if decision.finish is not None:
            assert not out
            return
        assert out, "nothing can move and the run is not over"
        for slot in data.draw(st.lists(st.sampled_from(sorted(out)), min_size=1, unique=True)):
            ended = data.draw(st.sampled_from([S, F, K]))
            below = ledger.graph.downstream[slot.task_id]
            skip = data.draw(st.none() | st.sets(st.sampled_from(below))) if below else None
            stored[slot] = Instance(
                state=ended,
                epoch=1,
                skip=tuple(sorted(skip)) if skip is not None and ended is S else None,
            )
            ledger.apply(slot, stored[slot])
    raise AssertionError("the run did not end")


@st.composite
def programs(draw: st.DrawFn) -> tuple[DagSpec, dict[str, Instance]]:
    """A DAG with branches, and how each of its tasks would end if it ran."""
    plain = draw(dags())
    tasks = tuple(replace(t, chooses=t.needs_worker and draw(st.booleans())) for t in plain.tasks)
    dag = replace(plain, tasks=tasks)
    below = build_graph(dag).downstream
    endings = {}
    for task in tasks:
        ended = draw(st.sampled_from([S, F, K]))
        skip = draw(st.sets(st.sampled_from(below[task.task_id]))) if below[task.task_id] else ()
        chosen = tuple(sorted(skip)) if task.chooses and ended is S else None
        endings[task.task_id] = Instance(state=ended, epoch=1, skip=chosen)
    return dag, endings


@settings(max_examples=300, deadline=None)
@given(programs(), st.randoms(use_true_random=False), st.randoms(use_true_random=False))
def test_ours_1_the_end_does_not_depend_on_who_is_quicker(
    program: tuple[DagSpec, dict[str, Instance]], one: Random, other: Random
) -> None:
    dag, endings = program

    def play(order: Random) -> dict[Slot, TaskState]:
        ledger = a_ledger(dag)
        while ledger.decide(NOW).finish is None:
            out = sorted(s for s, i in ledger.instances.items() if i.state is TaskState.SCHEDULED)
            slot = order.choice(out)
            ledger.apply(slot, endings[slot.task_id])
        return {slot: instance.state for slot, instance in ledger.instances.items()}

    assert play(one) == play(other)


def test_ours_1_a_branch_is_waited_for_before_an_early_verdict() -> None:
    dag = a_dag(
        a_task("a"),
        a_task("br", chooses=True),
        a_task("x", "a", "br", trigger_rule=TriggerRule.ONE_SUCCESS),
    )
    ledger = a_ledger(dag, {"a": S, "br": TaskState.RUNNING})
    assert events(ledger.decide(NOW)) == {}
    ledger.apply(Slot("br"), Instance(state=S, epoch=1, skip=("x",)))
    assert events(ledger.decide(NOW)) == {"x": TaskEvent.RULE_SKIPPED}


def test_news_cost_what_they_touch() -> None:
    """A join over 5,000 tasks is judged from its tally, not by reading its upstream again."""
    names = [f"t{n:04}" for n in range(5000)]
    dag = a_dag(*(a_task(name) for name in names), a_task("z", *names))
    ledger = a_ledger(dag, dict.fromkeys(names, TaskState.RUNNING))
    ledger.decide(NOW)
    for name in names:
        ledger.apply(Slot(name), Instance(state=S, epoch=1))
        decision = ledger.decide(NOW)
    assert events(decision) == {"z": TaskEvent.BECAME_READY}
    assert all(
        instance.state in FINISHED_TASK_STATES
        for slot, instance in ledger.instances.items()
        if slot.task_id != "z"
    )
