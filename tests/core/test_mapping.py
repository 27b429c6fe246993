"""Mapping in one run: tables of S10, S25, and S2 to S4 by map index."""

from collections.abc import Mapping

import pytest

from orchestrator.core.graph import build_graph
from orchestrator.core.ids import PATH_STRIDE, MapPath, Slot, index_of
from orchestrator.core.lifecycle import TaskEvent
from orchestrator.core.scheduling import Decision, Expand, Instance, Move, RunLedger
from orchestrator.core.specs import (
    ConcatLength,
    DagSpec,
    Expansion,
    GroupSpec,
    LiteralLength,
    MapInput,
    ReturnLength,
    TaskSpec,
    TriggerRule,
    ZipLength,
)
from orchestrator.core.states import FINISHED_TASK_STATES, RunState, TaskState
from tests.builders import NOW, a_dag, a_ledger, a_task

S, F, K, UF = TaskState.SUCCESS, TaskState.FAILED, TaskState.SKIPPED, TaskState.UPSTREAM_FAILED
NONE, READY, GONE = TaskState.NONE, TaskState.SCHEDULED, TaskState.REMOVED
UNMAPPED = ()


def over(*inputs: MapInput | str | int, limit: int = 100_000) -> Expansion:
    """An expansion over what tasks return (names), literals (lengths) or other inputs."""
    return Expansion(inputs=tuple(_input(each) for each in inputs), limit=limit)


def _input(given: MapInput | str | int) -> MapInput:
    if isinstance(given, str):
        return ReturnLength(task_id=given)
    return LiteralLength(length=given) if isinstance(given, int) else given


def mapped(task_id: str, *inputs: MapInput | str | int, **fields: object) -> TaskSpec:
    """A mapped task below the tasks it is mapped over."""
    above = sorted(each for each in inputs if isinstance(each, str))
    return a_task(task_id, *above, expansion=over(*inputs), **fields)


def a_group(group_id: str, *inputs: str | int, parent: str | None = None) -> GroupSpec:
    return GroupSpec(group_id=group_id, parent_id=parent, expansion=over(*inputs))


class Run:
    """A run of a DAG, told by task and path how its instances end."""

    def __init__(
        self, dag: DagSpec, states: Mapping[Slot, Instance] | None = None, *, decides: bool = True
    ) -> None:
        self.graph = build_graph(dag)
        given = states or {Slot(task.task_id): Instance() for task in dag.tasks}
        self.ledger = RunLedger(self.graph, given.items(), started_at=NOW)
        self.decision = self.ledger.decide(NOW) if decides else Decision()

    def slot(self, task_id: str, *path: int) -> Slot:
        return Slot(task_id, index_of(path, depth=self.graph.depth(task_id)))

    def end(self, task_id: str, *path: int, state: TaskState = S, **fields: object) -> Decision:
        slot = self.slot(task_id, *path)
        known = self.ledger.instances[slot]
        assert known.state is READY, f"{slot} is {known.state}"
        self.ledger.apply(slot, Instance(state=state, epoch=known.epoch + 1, **fields))  # type: ignore[arg-type]
        self.decision = self.ledger.decide(NOW)
        return self.decision

    def clear(self, *slots: Slot) -> Decision:
        for slot in slots:
            self.ledger.apply(slot, Instance(epoch=self.ledger.instances[slot].epoch + 1))
        self.decision = self.ledger.decide(NOW)
        return self.decision

    def states(self, task_id: str) -> list[TaskState]:
        found = self.ledger.instances.items()
        return [known.state for slot, known in sorted(found) if slot.task_id == task_id]

    def reason(self, task_id: str) -> str | None:
        return next(m.reason for m in self.decision.moves if m.slot.task_id == task_id)


def test_s10_a_mapped_task_gets_its_instances_once_its_input_is_known() -> None:
    run = Run(a_dag(a_task("x"), mapped("t", "x")))
    assert run.states("t") == [NONE]
    decision = run.end("x", length=3)
    assert decision.expansions == (Expand(task_id="t", first=Slot("t"), indexes=(0, 1, 2)),)
    assert decision.moves == tuple(
        Move(slot=Slot("t", index), event=TaskEvent.BECAME_READY) for index in range(3)
    )
    assert Slot("t") not in run.ledger.instances


@pytest.mark.parametrize(
    ("inputs", "count"),
    [
        ((2, 3), 6),
        (("x", 2), 8),
        ((ZipLength(inputs=(LiteralLength(length=2), ReturnLength(task_id="x"))),), 2),
        (
            (ZipLength(inputs=(LiteralLength(length=2), ReturnLength(task_id="x")), longest=True),),
            4,
        ),
        ((ConcatLength(inputs=(LiteralLength(length=2), ReturnLength(task_id="x"))),), 6),
        (("x", "x"), 16),
    ],
)
def test_s10_how_many(inputs: tuple[MapInput | str | int, ...], count: int) -> None:
    run = Run(a_dag(a_task("x"), a_task("t", "x", expansion=over(*inputs))))
    run.end("x", length=4)
    assert run.states("t") == [READY] * count


def test_s10_a_literal_expands_at_once() -> None:
    assert Run(a_dag(mapped("t", 3))).states("t") == [READY] * 3


@pytest.mark.parametrize(
    ("rule", "state"),
    [
        ("all_success", K),
        ("none_failed", READY),
        ("all_done", READY),
        ("none_failed_min_one_success", K),
        ("one_success", K),
        ("one_done", K),
        ("all_skipped", READY),
    ],
)
def test_s10_zero_length_is_one_skipped_instance(rule: str, state: TaskState) -> None:
    dag = a_dag(a_task("x"), mapped("t", "x"), a_task("z", "t", trigger_rule=TriggerRule(rule)))
    run = Run(dag)
    decision = run.end("x", length=0)
    assert decision.expansions == ()
    assert decision.moves[0] == Move(
        slot=Slot("t"), event=TaskEvent.RULE_SKIPPED, reason="mapped over nothing"
    )
    assert run.states("z") == [state]


def test_s10_a_zero_length_group_skips_every_task_in_it_even_all_done() -> None:
    done = TriggerRule.ALL_DONE
    dag = a_dag(
        a_task("x"),
        a_task("g.a", "x", group_id="g"),
        a_task("g.b", "g.a", group_id="g", trigger_rule=done),
        groups=(a_group("g", "x"),),
    )
    run = Run(dag)
    run.end("x", length=0)
    assert (run.states("g.a"), run.states("g.b")) == ([K], [K])
    assert run.decision.finish is not None
    assert run.decision.finish.state is RunState.SUCCESS


@pytest.mark.parametrize(
    ("ended", "state", "reason"),
    [(F, UF, "mapped over 'x', which failed"), (K, K, "mapped over 'x', which was skipped")],
)
@pytest.mark.parametrize("rule", [TriggerRule.ALL_DONE, TriggerRule.ALL_SUCCESS])
def test_s10_an_input_that_is_not_there_beats_the_rule(
    ended: TaskState, state: TaskState, reason: str, rule: TriggerRule
) -> None:
    run = Run(a_dag(a_task("x"), mapped("t", "x", trigger_rule=rule)))
    run.end("x", state=ended)
    assert run.states("t") == [state]
    if rule is TriggerRule.ALL_DONE:
        assert run.reason("t") == reason


def test_s10_the_rule_comes_before_the_input() -> None:
    dag = a_dag(a_task("a"), a_task("x"), a_task("t", "a", "x", expansion=over("x")))
    run = Run(dag)
    run.end("a", state=F)
    assert run.states("t") == [UF], "all_success is decided at the first failure"


def test_s10_nothing_to_map_over_is_an_error_that_names_the_input_and_the_cure() -> None:
    run = Run(a_dag(a_task("x"), mapped("t", "x"), a_task("z", "t")))
    decision = run.end("x")
    assert decision.moves[0] == Move(
        slot=Slot("t"),
        event=TaskEvent.EXPANSION_FAILED,
        reason="mapped over 'x', which returned neither a list nor a dict: it must return one,"
        " an empty one for nothing",
    )
    assert run.states("z") == [UF]


def test_ours_10_a_limit_is_named_with_the_length() -> None:
    run = Run(a_dag(a_task("x"), a_task("t", "x", expansion=over("x", limit=5))))
    run.end("x", length=6)
    assert run.states("t") == [F]
    assert run.reason("t") == "mapped over 6 values, more than its limit of 5"


def test_a_nested_level_has_no_more_than_its_indexes_can_say() -> None:
    dag = a_dag(
        a_task("g.t", group_id="g", expansion=over(PATH_STRIDE, limit=10**9)),
        groups=(a_group("g", 1),),
    )
    run = Run(dag)
    assert run.states("g.t") == [F]
    assert run.reason("g.t") == "mapped over 131072 values, more than its limit of 131071"


@pytest.mark.parametrize(
    ("ends", "rule", "states"),
    [
        ((S, S, S), "all_success", [READY] * 3),
        ((S, K, S), "none_failed", [READY] * 2),
        ((S, F, S), "all_success", [UF]),
        ((S, F, S), "all_done", [READY] * 2),
        ((F, F, K), "all_done", [UF]),
        ((K, K, K), "all_done", [K]),
    ],
)
def test_s10_second_order_has_one_for_each_success(
    ends: tuple[TaskState, ...], rule: str, states: list[TaskState]
) -> None:
    dag = a_dag(mapped("x", 3), mapped("t", "x", trigger_rule=TriggerRule(rule)))
    run = Run(dag)
    for index, state in enumerate(ends):
        run.end("x", index, state=state)
    assert run.states("t") == states


GROUP = a_dag(
    a_task("x"),
    a_task("g.a", "x", group_id="g"),
    a_task("g.b", "g.a", group_id="g"),
    a_task("z", "g.b", trigger_rule=TriggerRule.ALL_DONE),
    groups=(a_group("g", "x"),),
)


def test_s10_index_i_depends_on_index_i_in_a_group_and_on_all_outside() -> None:
    run = Run(GROUP)
    run.end("x", length=3)
    assert (run.states("g.a"), run.states("g.b")) == ([READY] * 3, [NONE] * 3)
    run.end("g.a", 1)
    assert run.states("g.b") == [NONE, READY, NONE]
    run.end("g.a", 2, state=F)
    assert run.states("g.b") == [NONE, READY, UF]
    run.end("g.a", 0, state=K)
    assert (run.states("g.b"), run.states("z")) == ([K, READY, UF], [NONE])
    run.end("g.b", 1)
    assert run.states("z") == [READY]


@pytest.mark.parametrize(
    ("ends", "a", "b"),
    [
        ((S, F), [UF], [UF]),  # one index: the group maps over the successes, the rule sees both
        ((F, F), [UF], [UF]),
        ((K, K), [K], [K]),
        ((S, S), [READY] * 2, [NONE] * 2),
    ],
)
def test_s10_a_group_over_a_mapped_task(
    ends: tuple[TaskState, ...], a: list[TaskState], b: list[TaskState]
) -> None:
    dag = a_dag(
        mapped("x", 2),
        a_task("g.a", "x", group_id="g"),
        a_task("g.b", "g.a", group_id="g"),
        groups=(a_group("g", "x"),),
    )
    run = Run(dag)
    for index, state in enumerate(ends):
        run.end("x", index, state=state)
    assert (run.states("g.a"), run.states("g.b")) == (a, b)


@pytest.mark.parametrize(
    ("rule", "state"),
    [("all_done", READY), ("one_success", READY), ("all_success", UF), ("none_skipped", K)],
)
def test_s2_counts_every_instance_of_a_mapped_upstream(rule: str, state: TaskState) -> None:
    run = Run(a_dag(mapped("x", 3), a_task("z", "x", trigger_rule=TriggerRule(rule))))
    for index, ended in enumerate((F, K, S)):
        run.end("x", index, state=ended)
    assert run.states("z") == [state]


NESTED = a_dag(
    a_task("x"),
    a_task("o.list", "x", group_id="o"),
    a_task("o.i.t", "o.list", group_id="o.i"),
    a_task("o.i.u", "o.i.t", group_id="o.i"),
    a_task("o.sum", "o.i.u", group_id="o"),
    a_task("z", "o.sum"),
    groups=(a_group("o", "x"), a_group("o.i", "o.list", parent="o")),
)


def test_s10_nested_mapping_expands_level_by_level() -> None:
    run = Run(NESTED)
    run.end("x", length=2)
    assert run.states("o.list") == [READY] * 2
    assert run.states("o.i.t") == [NONE] * 2
    decision = run.end("o.list", 1, length=3)
    assert [each.task_id for each in decision.expansions] == ["o.i.t", "o.i.u"]
    assert decision.expansions[0].first == run.slot("o.i.t", 1)
    assert decision.expansions[0].indexes == tuple(
        run.slot("o.i.t", 1, step).map_index for step in range(3)
    )
    for step in range(3):
        run.end("o.i.t", 1, step)
        run.end("o.i.u", 1, step)
    assert run.states("o.sum") == [NONE, READY], "index 1 does not wait for index 0"
    run.end("o.sum", 1)
    run.end("o.list", 0, length=0)
    assert run.states("o.i.t") == [K, S, S, S]
    assert (run.states("o.sum"), run.states("z")) == ([K, S], [K])


def test_s10_a_mapped_task_in_a_mapped_group_is_mapped_by_both() -> None:
    dag = a_dag(
        a_task("g.x", group_id="g"),
        a_task("g.t", "g.x", group_id="g", expansion=over("g.x")),
        a_task("z", "g.t", expansion=over("g.t")),
        groups=(a_group("g", 2),),
    )
    run = Run(dag)
    run.end("g.x", 0, length=2)
    run.end("g.x", 1, length=1)
    for path in ((0, 0), (0, 1), (1, 0)):
        run.end("g.t", *path)
    assert run.states("z") == [READY] * 3


def test_s4_a_branch_in_a_mapped_group_skips_by_index() -> None:
    dag = a_dag(
        a_task("g.br", group_id="g", chooses=True),
        a_task("g.a", "g.br", group_id="g"),
        a_task("g.b", "g.br", group_id="g"),
        groups=(a_group("g", 2),),
    )
    run = Run(dag)
    run.end("g.br", 0, skip=("g.a",))
    assert (run.states("g.a"), run.states("g.b")) == ([K, NONE], [READY, NONE])
    run.end("g.br", 1, skip=("g.b",))
    assert (run.states("g.a"), run.states("g.b")) == ([K, READY], [READY, K])


@pytest.mark.parametrize(
    ("skips", "state"), [((("z",), ("z",)), K), ((("z",), ()), READY), (((), ()), READY)]
)
def test_s4_a_mapped_branch_skips_what_is_outside_if_all_of_it_decided_so(
    skips: tuple[tuple[str, ...], ...], state: TaskState
) -> None:
    run = Run(a_dag(mapped("br", 2, chooses=True), a_task("z", "br")))
    for index, skip in enumerate(skips):
        run.end("br", index, skip=skip)
    assert run.states("z") == [state]


def test_s4_an_unmapped_branch_skips_all_instances() -> None:
    dag = a_dag(
        a_task("br", chooses=True),
        a_task("t", "br", expansion=over(3)),
        a_task("g.a", "br", group_id="g"),
        groups=(a_group("g", 2),),
    )
    run = Run(dag)
    run.end("br", skip=("g.a", "t"))
    assert (run.states("t"), run.states("g.a")) == ([K], [K, K])


def test_ours_1_a_branch_in_a_group_is_waited_for_by_its_index_only() -> None:
    dag = a_dag(
        a_task("a"),
        a_task("g.br", group_id="g", chooses=True),
        a_task("g.t", "a", "g.br", group_id="g", trigger_rule=TriggerRule.ONE_SUCCESS),
        groups=(a_group("g", 2),),
    )
    run = Run(dag)
    run.end("a")
    assert run.states("g.t") == [NONE, NONE]
    run.end("g.br", 1, skip=())
    assert run.states("g.t") == [NONE, READY]


def test_ours_1_a_far_branch_that_chose_lets_the_early_verdict_go() -> None:
    """The branch is not direct upstream: its end touches what waited for it all the same."""
    dag = a_dag(
        a_task("a"),
        a_task("br", chooses=True),
        a_task("m", "br"),
        a_task("t", "a", "m", trigger_rule=TriggerRule.ONE_SUCCESS),
    )
    run = Run(dag)
    run.end("a")
    assert run.states("t") == [NONE]
    run.end("br", skip=())
    assert run.states("t") == [READY]


def rerun(count: int, length: int | None, *, state: TaskState = S) -> Run:
    """A finished mapped task of `count` indexes is cleared with its input, which now has another
    length."""
    run = Run(a_dag(a_task("x"), mapped("t", "x"), a_task("z", "t")))
    run.end("x", length=count)
    for index in range(count):
        run.end("t", index)
    run.clear(run.slot("x"), *(run.slot("t", index) for index in range(count)), run.slot("z"))
    assert run.states("t") == [NONE] * count
    run.end("x", state=state, length=length)
    return run


@pytest.mark.parametrize(
    ("count", "length", "states"),
    [
        (3, 3, [READY] * 3),
        (3, 2, [READY, READY, GONE]),
        (2, 4, [READY] * 4),
        (3, 0, [K, GONE, GONE]),
        (2, None, [F, F]),
    ],
)
def test_s25_a_rerun_has_as_many_instances_as_there_are_values_now(
    count: int, length: int | None, states: list[TaskState]
) -> None:
    run = rerun(count, length)
    assert run.states("t") == states
    if length == 0:
        assert [m.reason for m in run.decision.moves if m.slot == Slot("t", 0)] == [
            "mapped over nothing"
        ]
        assert run.states("z") == [K]
    if length == 4:
        assert run.decision.expansions == (Expand(task_id="t", first=None, indexes=(2, 3)),)


@pytest.mark.parametrize(("ended", "state"), [(F, UF), (K, K)])
def test_s25_a_rerun_whose_input_is_not_there(ended: TaskState, state: TaskState) -> None:
    assert rerun(2, None, state=ended).states("t") == [state, state]


def test_s25_what_was_removed_comes_back_with_its_index() -> None:
    run = rerun(3, 1)
    assert run.states("t") == [READY, GONE, GONE]
    run.end("t", 0)
    run.end("z")
    run.clear(run.slot("x"), run.slot("t", 0), run.slot("z"))
    decision = run.end("x", length=2)
    assert decision.moves == (
        Move(
            slot=run.slot("t", 1),
            event=TaskEvent.WAS_RESTORED,
            reason="its map index is there again",
        ),
        Move(slot=run.slot("t", 0), event=TaskEvent.BECAME_READY),
    )
    assert decision.wake_at == NOW, "what was reopened goes on with the next decision"
    run.decision = run.ledger.decide(NOW)
    assert run.states("t") == [READY, READY, GONE]


def test_s25_zero_and_back() -> None:
    run = rerun(2, 0)
    assert run.states("t") == [K, GONE]
    run.clear(run.slot("x"), run.slot("t", 0), run.slot("z"))
    run.end("x", length=3)
    run.ledger.decide(NOW)
    assert run.states("t") == [READY] * 3


def test_s25_what_a_worker_has_in_hand_is_not_removed() -> None:
    run = Run(a_dag(a_task("x"), mapped("t", "x")))
    run.end("x", length=2)
    run.end("t", 0)
    run.clear(run.slot("x"), run.slot("t", 0))
    run.end("x", length=1)
    assert run.states("t") == [READY, READY]


def test_s25_a_nested_level_shrinks_and_grows_on_its_own() -> None:
    run = Run(NESTED)
    run.end("x", length=1)
    run.end("o.list", 0, length=3)
    for task_id in ("o.i.t", "o.i.u"):
        for step in range(3):
            run.end(task_id, 0, step)
    run.end("o.sum", 0)
    run.end("z")
    below = [slot for slot in run.ledger.instances if slot.task_id not in ("x", "z")]
    run.clear(*below)
    run.end("o.list", 0, length=1)
    assert run.states("o.i.t") == [READY, GONE, GONE]
    assert run.states("o.i.u") == [NONE, GONE, GONE]
    run.end("o.i.t", 0, 0)
    assert run.states("o.i.u") == [READY, GONE, GONE]


def test_a_level_that_shrank_and_grows_again_brings_the_levels_below_it_back() -> None:
    run = Run(NESTED)
    run.end("x", length=2)
    for index in range(2):
        run.end("o.list", index, length=2)

    def clear_all() -> None:
        run.clear(*(slot for slot, known in run.ledger.instances.items() if known.state != GONE))

    clear_all()
    run.end("x", length=1)
    assert run.states("o.i.t") == [NONE, NONE, GONE, GONE]
    clear_all()
    run.end("x", length=2)
    assert run.states("o.i.t") == [NONE, NONE, NONE, GONE], "the first sees to its siblings"
    run.ledger.decide(NOW)
    assert run.states("o.list") == [READY, READY]
    run.end("o.list", 1, length=2)
    run.ledger.decide(NOW)
    assert run.states("o.i.t") == [NONE, NONE, READY, READY]


def test_s25_an_old_instance_becomes_the_first_index() -> None:
    """A previously unmapped task that becomes mapped reuses its row."""
    dag = a_dag(a_task("x"), mapped("t", "x"))
    run = Run(dag, {Slot("x"): Instance(state=S, length=2), Slot("t"): Instance(epoch=4)})
    assert run.decision.expansions == (Expand(task_id="t", first=Slot("t"), indexes=(0, 1)),)
    assert run.ledger.instances[Slot("t", 0)].epoch == 4


def test_100k_indexes_cost_what_each_touches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mapped group of many indexes whose root waits for a mapped upstream of many outside: what
    is judged is counted, and grows with the indexes and not with their square."""
    from orchestrator.core import moving

    count = 2_000
    dag = a_dag(
        mapped("out", count),
        a_task("g.a", "out", group_id="g"),
        a_task("g.b", "g.a", group_id="g"),
        groups=(a_group("g", count),),
    )
    judged = 0
    decide = moving.Pass._decide

    def counted(step: moving.Pass, slot: Slot, path: MapPath) -> None:
        nonlocal judged
        judged += 1
        decide(step, slot, path)

    monkeypatch.setattr(moving.Pass, "_decide", counted)
    run = Run(dag)
    for index in range(count):
        run.end("out", index)
    for index in range(count):
        run.end("g.a", index)
        run.end("g.b", index)
    assert run.decision.finish is not None
    assert all(known.state in FINISHED_TASK_STATES for known in run.ledger.instances.values())
    assert judged < 10 * count


def test_s10_the_ledger_says_what_an_instance_waits_for() -> None:
    ledger = a_ledger(a_dag(a_task("x"), a_task("g.a", group_id="g"), groups=(a_group("g", "x"),)))
    ledger.decide(NOW)
    ruling = ledger.ruling(Slot("g.a"))
    assert ruling.waits_for == "mapping input"
    assert ledger.waits_on(Slot("g.a"), ruling) == (Slot("x"),)
