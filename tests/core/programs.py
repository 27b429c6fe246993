"""Random DAGs with every construct that decides on states, and how their task instances end.

An ending is a function of the task instance alone, so that a program has one end whatever the order
in which its tasks end: that is the property.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random

from hypothesis import strategies as st

from orchestrator.core import moving
from orchestrator.core.graph import build_graph
from orchestrator.core.ids import Slot
from orchestrator.core.lifecycle import TRANSITIONS, TaskEvent
from orchestrator.core.scheduling import Decision, FinishRun, Instance, RunLedger
from orchestrator.core.specs import (
    ConcatLength,
    DagSpec,
    Expansion,
    GroupSpec,
    LiteralLength,
    MapInput,
    RetryPolicy,
    ReturnLength,
    RunStatePolicy,
    TaskSpec,
    TriggerRule,
    ZipLength,
)
from orchestrator.core.states import FINISHED_TASK_STATES as FINISHED
from orchestrator.core.states import TaskState
from tests.builders import NOW, a_dag, a_task

STEPS_MAX = 5_000
RETRIES_MAX = 3
RETRIED = 0.15


@dataclass(frozen=True, slots=True)
class Program:
    """A DAG and the seed of its endings."""

    spec: DagSpec
    seed: int

    def ending(self, slot: Slot, known: Instance) -> Instance:
        """How a task instance ends that is handed out."""
        task = next(task for task in self.spec.tasks if task.task_id == slot.task_id)
        random = Random(f"{self.seed} {slot} {known.group_try}")
        state = random.choice([TaskState.SUCCESS] * 4 + [TaskState.FAILED, TaskState.SKIPPED])
        is_success = state is TaskState.SUCCESS
        below = build_graph(self.spec).descendants((slot.task_id,)) if task.chooses else ()
        return replace(
            known,
            state=state,
            epoch=known.epoch + 1,
            length=random.choice([0, 1, 2, 3, 3, None]) if is_success else None,
            skip=tuple(sorted(each for each in below if random.random() < 0.4))
            if task.chooses and is_success
            else None,
        )


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Draw a program of up to 9 tasks in up to 4 groups."""
    groups: list[GroupSpec] = []
    for number in range(draw(st.integers(0, 4))):
        inside = [None, *(group.group_id for group in groups)]
        parent_id = draw(st.sampled_from(inside))
        retries = draw(st.sampled_from([0, 0, 1, 2]))
        retry = RetryPolicy(retries=retries, delay_s=draw(st.sampled_from([0.0, 7.0])))
        # A retried group is in no other one, and no way leaves it and comes back (`_settling`):
        # authoring sees to both.
        may_retry = not any(
            _is_in(parent_id, each.group_id, groups) for each in groups if each.retry
        )
        groups.append(
            GroupSpec(
                group_id=f"g{number}",
                parent_id=parent_id,
                retry=retry if retries and may_retry else None,
            )
        )
    tasks: list[TaskSpec] = []
    for number in range(draw(st.integers(3, 9))):
        tasks.append(draw(_tasks(f"t{number}", tasks, groups)))
    for number in range(draw(st.integers(0, 2))):
        tasks.append(draw(_teardowns(f"u{number}", tasks, groups)))
    groups = [draw(_perhaps_mapped(group, groups, tasks)) for group in groups]
    tasks = _linked(_shallow(tasks, groups), groups)
    spec = a_dag(
        *tasks,
        groups=tuple(_settling(group, groups, tasks) for group in groups),
        run_state=draw(st.sampled_from(RunStatePolicy)),
        critical_tasks=(tasks[0].task_id,),
    )
    return Program(spec, draw(st.integers(0, 2**32)))


@st.composite
def _tasks(
    draw: st.DrawFn, task_id: str, before: list[TaskSpec], groups: list[GroupSpec]
) -> TaskSpec:
    names = [task.task_id for task in before]
    upstream = draw(st.sets(st.sampled_from(names), max_size=3)) if names else set()
    is_mapped = draw(st.integers(0, 3)) == 0
    inputs: tuple[MapInput, ...] = ()
    if is_mapped:
        inputs = tuple(draw(st.lists(_inputs(names), min_size=1, max_size=2)))
        upstream |= {each for source in inputs for each in _names(source)}
    # What is directly below a setup has the rule all_success; authoring sees to it.
    rules = [rule for rule in TriggerRule if rule is not TriggerRule.ALWAYS]
    rules += [TriggerRule.ONE_SUCCESS, TriggerRule.ONE_FAILED] * 3
    if any(task.is_setup and task.task_id in upstream for task in before):
        rules = [TriggerRule.ALL_SUCCESS]
    return a_task(
        task_id,
        *sorted(upstream),
        trigger_rule=draw(st.sampled_from(rules)),
        is_setup=draw(st.integers(0, 3)) == 0,
        needs_worker=draw(st.integers(0, 4)) > 0,
        chooses=draw(st.integers(0, 2)) == 0,
        group_id=draw(st.sampled_from([None, *(group.group_id for group in groups)])),
        expansion=Expansion(inputs=inputs, limit=10) if is_mapped else None,
    )


@st.composite
def _teardowns(
    draw: st.DrawFn, task_id: str, before: list[TaskSpec], groups: list[GroupSpec]
) -> TaskSpec:
    names = [task.task_id for task in before]
    setups = [task.task_id for task in before if task.is_setup]
    of = draw(st.sets(st.sampled_from(setups), min_size=1, max_size=2)) if setups else set()
    upstream = draw(st.sets(st.sampled_from(names), max_size=3))
    return a_task(
        task_id,
        *sorted(upstream | of),
        trigger_rule=TriggerRule.ALL_DONE_SETUP_SUCCESS,
        is_teardown=True,
        setups=tuple(sorted(of)),
        on_failure_fail_dagrun=draw(st.booleans()),
        group_id=draw(st.sampled_from([None, *(group.group_id for group in groups)])),
    )


def _inputs(names: list[str]) -> st.SearchStrategy[MapInput]:
    single: st.SearchStrategy[MapInput] = st.builds(LiteralLength, length=st.integers(0, 3))
    if names:
        single |= st.builds(ReturnLength, task_id=st.sampled_from(names))
    several = st.lists(single, min_size=1, max_size=2).map(tuple)
    return (
        single
        | single
        | st.builds(ZipLength, inputs=several, longest=st.booleans())
        | st.builds(ConcatLength, inputs=several)
    )


@st.composite
def _perhaps_mapped(
    draw: st.DrawFn, group: GroupSpec, groups: list[GroupSpec], tasks: list[TaskSpec]
) -> GroupSpec:
    """Map a group over a literal or over a task that is above all of its tasks."""
    if draw(st.booleans()):
        return group
    inside = [n for n, task in enumerate(tasks) if _is_in(task.group_id, group.group_id, groups)]
    names = [task.task_id for task in tasks[: min(inside, default=0)]]
    inputs = tuple(draw(st.lists(_inputs(names), min_size=1, max_size=1)))
    return replace(group, expansion=Expansion(inputs=inputs, limit=10))


def _is_in(group_id: str | None, wanted: str, groups: list[GroupSpec]) -> bool:
    parents = {group.group_id: group.parent_id for group in groups}
    while group_id is not None and group_id != wanted:
        group_id = parents[group_id]
    return group_id == wanted


def _shallow(tasks: list[TaskSpec], groups: list[GroupSpec]) -> list[TaskSpec]:
    """Undo what would be more than three levels deep."""
    mapped = [group.group_id for group in groups if group.expansion]
    return [
        replace(task, expansion=None)
        if sum(_is_in(task.group_id, each, groups) for each in mapped) > 2
        else task
        for task in tasks
    ]


def _linked(tasks: list[TaskSpec], groups: list[GroupSpec]) -> list[TaskSpec]:
    """Put what a mapped group is mapped over above its roots, as authoring does."""
    linked = {task.task_id: set(task.upstream) for task in tasks}
    for group in groups:
        inside = [t.task_id for t in tasks if _is_in(t.group_id, group.group_id, groups)]
        sources = group.expansion.inputs if group.expansion else ()
        for task in tasks:
            if task.task_id in inside and not set(task.upstream) & set(inside):
                linked[task.task_id] |= {each for source in sources for each in _names(source)}
    return [replace(task, upstream=tuple(sorted(linked[task.task_id]))) for task in tasks]


def _settling(group: GroupSpec, groups: list[GroupSpec], tasks: list[TaskSpec]) -> GroupSpec:
    """Retry no group that would wait for itself."""
    inside = {task.task_id for task in tasks if _is_in(task.group_id, group.group_id, groups)}
    graph = build_graph(a_dag(*tasks, groups=tuple(replace(each, retry=None) for each in groups)))
    between = graph.descendants(inside) - inside
    leads_back = graph.descendants(between) & inside
    return replace(group, retry=None) if leads_back else group


def _names(source: MapInput) -> set[str]:
    match source:
        case ReturnLength():
            return {source.task_id}
        case ZipLength() | ConcatLength():
            return {each for part in source.inputs for each in _names(part)}
        case LiteralLength():
            return set()


class Stored:
    """What a store would hold of a run: it carries decisions out by their words alone."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.fails_later: str | None = None
        self.reasons: dict[Slot, str | None] = {}
        self.graph = build_graph(program.spec)
        self.instances = {Slot(task_id): Instance() for task_id in self.graph.order}
        self.now = NOW
        self.finish: FinishRun | None = None

    def ledger(self) -> RunLedger:
        """Load the run anew."""
        return RunLedger(
            self.graph, self.instances.items(), started_at=NOW, fails_later=self.fails_later
        )

    def carry_out(self, decision: Decision) -> None:
        """Write expansions and moves, each a legal one."""
        self.fails_later = decision.fails_later or self.fails_later
        for expand in decision.expansions:
            indexes = list(expand.indexes)
            if expand.first is not None:
                first = Slot(expand.task_id, indexes.pop(0))
                self.instances[first] = self.instances.pop(expand.first)
                assert self.instances[first].state is TaskState.NONE
            for index in indexes:
                assert Slot(expand.task_id, index) not in self.instances
                self.instances[Slot(expand.task_id, index)] = Instance()
        slots = [move.slot for move in decision.moves]
        assert len(slots) == len(set(slots)), "an instance moves once"
        for move in decision.moves:
            known = self.instances[move.slot]
            self.reasons[move.slot] = move.reason
            transition = TRANSITIONS[move.event]
            assert known.state in transition.sources
            state, epoch = transition.target, known.epoch + transition.bumps_epoch
            self.instances[move.slot] = replace(known, state=state, epoch=epoch, eligible_at=None)
            if state is TaskState.NONE:
                tries = known.group_try + (move.event is TaskEvent.GROUP_RETRIED)
                self.instances[move.slot] = Instance(epoch=epoch, group_try=tries)
            elif state in FINISHED and move.slot.task_id in self.graph.retried:
                self.instances[move.slot] = replace(self.instances[move.slot], ended_at=self.now)

    def out(self) -> list[Slot]:
        """What is handed out, in order."""
        found = self.instances.items()
        return sorted(slot for slot, known in found if known.state is TaskState.SCHEDULED)

    def end(self, slot: Slot, order: Random) -> Instance:
        """A task instance ends, or does so later after another try."""
        known = self.instances[slot]
        if known.epoch < RETRIES_MAX and order.random() < RETRIED:
            waits = TaskState.UP_FOR_RETRY
            due_at = self.now + timedelta(seconds=order.choice([0, 3]))
            told = replace(known, state=waits, epoch=known.epoch + 1, eligible_at=due_at)
            self.instances[slot] = told
            return told
        ending = self.program.ending(slot, self.instances[slot])
        if slot.task_id in self.graph.retried:
            ending = replace(ending, ended_at=self.now)
        self.instances[slot] = ending
        return self.instances[slot]


def play(program: Program, order: Random) -> Stored:
    """Run a program to its end, its tasks ending in some order. The ledger that takes in news stays
    equal to one loaded anew, and news that arrive twice change nothing."""
    stored = Stored(program)
    ledger = stored.ledger()
    news: list[tuple[Slot, Instance]] = []
    for _ in range(STEPS_MAX):
        decision = ledger.decide(stored.now)
        anew = stored.ledger().decide(stored.now)
        if len(decision.moves) >= moving.MOVES_MAX:  # is there more? Only the next one knows
            anew = replace(anew, wake_at=decision.wake_at)
        assert decision == anew
        stored.carry_out(decision)
        assert stored.instances == ledger.instances
        if decision.finish is not None:
            unfinished = [s for s, k in stored.instances.items() if k.state not in FINISHED]
            assert not unfinished
            assert "deadlock" not in decision.finish.reason
            stored.finish = decision.finish
            return stored
        for slot, told in order.sample(news, min(len(news), 3)):
            if slot in ledger.instances:
                ledger.apply(slot, told)
        assert stored.instances == ledger.instances
        out = stored.out()
        for slot in order.sample(out, min(len(out), order.choice([1, 1, 2, 5]))):
            told = stored.end(slot, order)
            news.append((slot, told))
            ledger.apply(slot, told)
            ledger.apply(slot, told)
        stored.now += timedelta(seconds=1)
        if not out:
            assert decision.wake_at is not None, "nothing can move and the run is not over"
            stored.now = max(stored.now, decision.wake_at)
    raise AssertionError("the run did not end")
