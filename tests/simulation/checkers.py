"""Is every invariant of the protocol true at this moment, and was every step to it legal?

The transition log (written by database triggers, so that no code can forget it) is read as it
grows; the rows are recounted whenever it has. Names I1 ... I18 are those of CORRECTNESS.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from orchestrator.core.assignments import Assignment
from orchestrator.core.graph import Graph, build_graph
from orchestrator.core.ids import Slot
from orchestrator.core.lifecycle import TRANSITIONS, Actor, TaskEvent
from orchestrator.core.past import needs_past
from orchestrator.core.specs import DagSpec, TriggerRule
from orchestrator.core.states import FINISHED_TASK_STATES, RunState, TaskState
from orchestrator.core.trigger_rules import Verdict, judge
from orchestrator.ports import Message, TaskMessage
from tests.simulation.callbacks import CallbackChecker
from tests.simulation.rules import gaps, past_of, upstream_of

WITHIN_A_TRY = frozenset(
    {
        TaskEvent.BECAME_READY,
        TaskEvent.ADMITTED,
        TaskEvent.WAS_UNDELIVERABLE,
        TaskEvent.STARTED,
    }
)
"""What may happen between a reschedule and the try's going on, and is no end of the try."""


class InvariantBrokenError(BaseException):
    """An invariant does not hold; the message says which, where and what was seen. No `Exception`,
    since the code under test survives every one of those."""


def require(condition: object, invariant: str, *seen: object) -> None:
    """Raise unless `condition` holds."""
    if not condition:
        raise InvariantBrokenError(f"{invariant}: " + " ".join(map(str, seen)))


@dataclass(frozen=True, slots=True)
class Step:
    """One row of the transition log."""

    ti_id: str
    run_uid: str
    slot: Slot
    before: TaskState
    after: TaskState
    epoch_before: int
    epoch_after: int


@dataclass(frozen=True, slots=True)
class TiRow:
    """What the checkers look at in a task instance."""

    ti_id: str
    run_uid: str
    dag_id: str
    slot: Slot
    state: TaskState
    epoch: int
    try_number: int
    max_tries: int
    infra_tries: int
    pool: str
    pool_slots: int
    queue: str
    lease_owner: str | None
    has_lease: bool
    is_owed: bool
    goes_on: bool
    """Its try goes on, or waits to, after a reschedule."""
    skip: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunRow:
    """What the checkers look at in a run."""

    uid: str
    dag_id: str
    run_id: str
    state: RunState
    logical_date: datetime | None
    run_after: datetime
    started_at: datetime | None
    is_late: bool
    """It took longer than its dagrun_timeout."""


@dataclass(frozen=True, slots=True)
class Picture:
    """All rows at one moment. `moving` are those of runs that are running, or just ended."""

    tis: Mapping[str, TiRow]
    moving: Sequence[TiRow]
    runs: Mapping[str, RunRow]
    pools: Mapping[str, int]


@dataclass(slots=True)
class Checkers:
    """Everything seen so far, and the judgement on it."""

    specs: Mapping[str, DagSpec]
    infra_tries_max: int
    graphs: dict[str, Graph] = field(default_factory=dict)
    starts: Counter[tuple[str, int]] = field(default_factory=Counter)
    ends: Counter[tuple[str, int]] = field(default_factory=Counter)
    epochs: dict[str, int] = field(default_factory=dict)
    admitted: set[tuple[str, int]] = field(default_factory=set)
    revoked: set[tuple[str, int]] = field(default_factory=set)
    """Tries that were running when their epoch was taken from them."""
    lost_for_good: dict[str, set[tuple[Slot, int]]] = field(
        default_factory=lambda: defaultdict(set)
    )
    """By run: which task instances, in which try of their group."""
    abandoned_runs: set[str] = field(default_factory=set)
    marked_runs: set[str] = field(default_factory=set)
    """Runs in which a person said how something ended: what the oracle cannot know."""
    cleared_dags: set[str] = field(default_factory=set)
    said: dict[str, set[RunState]] = field(default_factory=lambda: defaultdict(set))
    """What a person said runs ended as."""
    accounted_tries: Counter[str] = field(default_factory=Counter)
    tries: Counter[str] = field(default_factory=Counter)
    looks: Counter[str] = field(default_factory=Counter)
    """How often the try that is on has given its worker back."""
    group_tries: Counter[str] = field(default_factory=Counter)
    in_user_code: dict[str, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))
    edges: Counter[TaskEvent] = field(default_factory=Counter)
    """How often each transition was seen: what a set of seeds covers."""

    callbacks: CallbackChecker = field(init=False)

    def __post_init__(self) -> None:
        self.callbacks = CallbackChecker(
            {(name, task.task_id): task for name, dag in self.specs.items() for task in dag.tasks}
        )
        self.graphs = {dag_id: build_graph(spec) for dag_id, spec in self.specs.items()}

    # --- as it happens ----------------------------------------------------------------------

    def follow(self, step: Step, *, actor: Actor, picture: Picture) -> None:
        """Judge one transition. `picture` is the store after it."""
        event = self._event_of(step, actor)
        self.edges[event] += 1
        known = self.epochs.get(step.ti_id, 0)
        require(step.epoch_before >= known, "I4", "an epoch fell", step)
        self.epochs[step.ti_id] = step.epoch_after
        key = (step.ti_id, step.epoch_after)
        if event is TaskEvent.ADMITTED:
            require(key not in self.admitted, "I4", "an epoch was handed out twice", step)
            self.admitted.add(key)
        elif event is TaskEvent.STARTED:
            self.starts[key] += 1
            require(self.starts[key] == 1, "I2", "started twice", step)
            require(key in self.admitted, "I2", "started without being admitted", step)
            self.tries[step.ti_id] += not self.looks[step.ti_id]
            counted = picture.tis[step.ti_id].try_number
            require(counted == self.tries[step.ti_id], "I9", "a try counted wrongly", step, counted)
        elif TRANSITIONS[event].actor is Actor.WORKER:
            self.ends[key] += 1
            require(self.ends[key] == 1, "I3", "ended twice", step)
            require(self.starts[key] == 1, "I3", "ended without being started", step)
            self.accounted_tries[step.ti_id] += event is TaskEvent.WILL_RETRY
        elif step.before is TaskState.RUNNING:
            self.revoked.add((step.ti_id, step.epoch_before))
        if event is TaskEvent.WILL_RESCHEDULE:
            self.looks[step.ti_id] += 1
        elif event not in WITHIN_A_TRY:
            self.looks[step.ti_id] = 0
        if event is TaskEvent.LOST_FOR_GOOD:
            self.lost_for_good[step.run_uid].add((step.slot, self.group_tries[step.ti_id]))
        if event is TaskEvent.GROUP_RETRIED:
            self.group_tries[step.ti_id] += 1
            self.accounted_tries[step.ti_id] = 0
        if event is TaskEvent.ABANDONED:
            self.abandoned_runs.add(step.run_uid)
        if event is TaskEvent.CLEARED:
            self.cleared_dags.add(picture.runs[step.run_uid].dag_id)
            self._forget(step, self.graphs[picture.runs[step.run_uid].dag_id])
        self.callbacks.follow(picture.runs[step.run_uid].dag_id, step, event)
        self._check_rule(step, event, picture)

    def published(self, messages: Iterable[Message]) -> None:
        """Judge messages as they leave for the broker."""
        for message in messages:
            if not isinstance(message, TaskMessage):
                continue
            require(
                (message.ti_id.hex, message.epoch) in self.admitted,
                "I11",
                "published before its claim was committed",
                message,
            )

    def user_code_began(self, assignment: Assignment, worker_id: str) -> None:
        """Judge the start of user code: whoever else is in it must have been revoked."""
        others = self.in_user_code[assignment.ti_id.hex]
        for epoch, holder in others.items():
            require(
                epoch < assignment.epoch and (assignment.ti_id.hex, epoch) in self.revoked,
                "I17",
                f"{assignment.key} runs on {worker_id} and, unexplained, on {holder}",
            )
        others[assignment.epoch] = worker_id

    def user_code_ended(self, assignment: Assignment) -> None:
        """The child process is gone or done."""
        self.in_user_code[assignment.ti_id.hex].pop(assignment.epoch, None)

    # --- at any moment ----------------------------------------------------------------------

    def look(self, picture: Picture) -> None:
        """Judge all rows as they stand."""
        self._check_limits(picture)
        by_run: dict[str, list[TiRow]] = defaultdict(list)
        for ti in picture.moving:
            self._check_row(ti)
            by_run[ti.run_uid].append(ti)
        for uid, tis in by_run.items():
            if picture.runs[uid].is_late:
                self.abandoned_runs.add(uid)
            self._check_run(picture.runs[uid], tis)
        self._check_dates(picture)

    def _forget(self, step: Step, graph: Graph) -> None:
        """A task that was cleared does again what it did first. What it was lost or abandoned for
        may have left its marks on tasks that were not cleared with it."""
        self.accounted_tries[step.ti_id] = 0
        lost = self.lost_for_good[step.run_uid]
        was_lost = any(slot == step.slot for slot, _ in lost)
        if was_lost or step.run_uid in self.abandoned_runs or self._runs_before_its_branch(graph):
            self.marked_runs.add(step.run_uid)
        self.abandoned_runs.discard(step.run_uid)
        self.lost_for_good[step.run_uid] = {each for each in lost if each[0] != step.slot}
        self.group_tries[step.ti_id] = 0

    @staticmethod
    def _runs_before_its_branch(graph: Graph) -> bool:
        """Whether some task runs without waiting for the branch above it: cleared after the branch
        has chosen, it may be skipped."""
        tasks = graph.tasks
        return any(tasks[name].trigger_rule is TriggerRule.ALWAYS for name in graph.choosers)

    def _event_of(self, step: Step, actor: Actor) -> TaskEvent:
        bumped = step.epoch_after - step.epoch_before
        for event, transition in TRANSITIONS.items():
            if (
                step.before in transition.sources
                and step.after is transition.target
                and bumped == transition.bumps_epoch
                and _office(actor) is _office(transition.actor)
            ):
                return event
        raise InvariantBrokenError(f"I1: {actor} may not do {step}")

    def _check_rule(self, step: Step, event: TaskEvent, picture: Picture) -> None:
        expected = {
            TaskEvent.SUCCEEDED_INLINE: Verdict.RUN,
            TaskEvent.RULE_SKIPPED: Verdict.SKIP,
            TaskEvent.RULE_UPSTREAM_FAILED: Verdict.UPSTREAM_FAILED,
        }.get(event)
        if event is TaskEvent.BECAME_READY and step.before is TaskState.NONE:
            expected = Verdict.RUN
        if expected is None:
            return
        run = picture.runs[step.run_uid]
        graph = self.graphs[run.dag_id]
        task = graph.tasks[step.slot.task_id]
        rows = [(t.slot, t.state, t.skip) for t in picture.moving if t.run_uid == step.run_uid]
        tally, is_marked = upstream_of(graph, step.slot, rows)
        verdict = judge(task.trigger_rule, tally)
        # What a task is mapped over, or its setups, may end it where its rule would not.
        has_more = graph.depth(task.task_id) > 0 or task.task_id in graph.setups_needed
        is_free = task.is_teardown or (has_more and expected is not Verdict.RUN)
        require(
            verdict is expected or (is_marked and expected is Verdict.SKIP) or is_free,
            "I6",
            f"{run.dag_id}/{run.run_id}/{step.slot} had {event}, its rule says {verdict}: {tally}",
        )
        if expected is Verdict.RUN and run.dag_id not in self.cleared_dags:
            why = self.past_of(run, picture).get(task.task_id)
            require(why is None, "S7", f"{run.dag_id}/{run.run_id}/{step.slot} had {event}", why)

    def past_of(self, run: RunRow, picture: Picture) -> dict[str, str]:
        """Say what keeps which tasks of a run waiting for the run before."""
        graph = self.graphs[run.dag_id]
        if run.logical_date is None or not any(map(needs_past, graph.tasks.values())):
            return {}
        before = [
            (other.logical_date, other.uid)
            for other in picture.runs.values()
            if other.dag_id == run.dag_id
            and other.logical_date is not None
            and other.logical_date < run.logical_date
        ]
        if not before:
            return {}
        previous = picture.runs[max(before)[1]]
        rows = [(t.slot, t.state) for t in picture.tis.values() if t.run_uid == previous.uid]
        if not rows:  # it has not started
            rows = [(Slot(task_id), TaskState.NONE) for task_id in graph.tasks]
        return past_of(graph, previous.run_id, rows)

    def _check_limits(self, picture: Picture) -> None:
        holding = [ti for ti in picture.moving if ti.state in (TaskState.QUEUED, TaskState.RUNNING)]
        pools: Counter[str] = Counter()
        runs: Counter[str] = Counter()
        tasks: Counter[tuple[str, str]] = Counter()
        run_tasks: Counter[tuple[str, str]] = Counter()
        for ti in holding:
            pools[ti.pool] += ti.pool_slots
            runs[ti.run_uid] += 1
            tasks[ti.dag_id, ti.slot.task_id] += 1
            run_tasks[ti.run_uid, ti.slot.task_id] += 1
        for pool, used in pools.items():
            require(used <= picture.pools[pool], "I5", f"pool {pool}: {used} slots are out")
        for ti in holding:
            spec = self.specs[ti.dag_id]
            task = self.graphs[ti.dag_id].tasks[ti.slot.task_id]
            _within(runs[ti.run_uid], spec.max_active_tasks, "max_active_tasks", ti)
            _within(tasks[ti.dag_id, task.task_id], task.max_active_tis_per_dag, "per dag", ti)
            _within(
                run_tasks[ti.run_uid, task.task_id], task.max_active_tis_per_dagrun, "per run", ti
            )
        active: Counter[str] = Counter(
            run.dag_id for run in picture.runs.values() if run.state is RunState.RUNNING
        )
        for dag_id, count in active.items():
            _within(count, self.specs[dag_id].max_active_runs, "max_active_runs", dag_id)

    def _check_row(self, ti: TiRow) -> None:
        is_running = ti.state is TaskState.RUNNING
        require((ti.lease_owner is not None) == is_running, "I7", "owner without running", ti)
        require(ti.has_lease == is_running, "I7", "lease without running", ti)
        require(ti.is_owed == (ti.state is TaskState.QUEUED), "I7", "message owed?", ti)
        require(ti.try_number <= ti.max_tries + 1, "I9", "too many tries", ti)
        require(ti.infra_tries <= self.infra_tries_max, "I9", "lost too often", ti)
        require(ti.epoch == self.epochs.get(ti.ti_id, 0), "I4", "an unlogged epoch", ti)

        waits_to_go_on = self.looks[ti.ti_id] > 0
        require(ti.goes_on == waits_to_go_on, "I9", "does its try go on?", ti)

    def _check_run(self, run: RunRow, tis: list[TiRow]) -> None:
        wrong = gaps(self.graphs[run.dag_id], (ti.slot for ti in tis))
        require(not wrong, "mapping", run, "has map indexes", wrong)
        if run.state in (RunState.QUEUED, RunState.RUNNING):
            return
        unfinished = [ti for ti in tis if ti.state not in FINISHED_TASK_STATES]
        require(not unfinished, "I16", run, "ended with", unfinished)
        leaves = self.graphs[run.dag_id].leaves
        bad = any(
            ti.slot.task_id in leaves and ti.state in (TaskState.FAILED, TaskState.UPSTREAM_FAILED)
            for ti in tis
        )
        expected = RunState.FAILED if bad or run.uid in self.abandoned_runs else RunState.SUCCESS
        is_so = run.state is expected or run.state in self.said[run.uid]
        # What fail_fast has ended may still have a good end, by its leaves.
        is_so = is_so or (self.specs[run.dag_id].fail_fast and not bad)
        require(is_so, "I16", run, "should be", expected)

    def _check_dates(self, picture: Picture) -> None:
        dates = Counter(
            (run.dag_id, run.logical_date)
            for run in picture.runs.values()
            if run.logical_date is not None
        )
        for date, count in dates.items():
            require(count == 1, "I12", date, "has several runs")
        for run in picture.runs.values():
            early = run.started_at is not None and run.started_at < run.run_after
            require(not early, "I12", run, "started before its time")


def _office(actor: Actor) -> Actor:
    """A scheduler is its own reaper."""
    return Actor.SCHEDULER if actor is Actor.REAPER else actor


def _within(count: int, limit: int | None, name: str, whose: Any) -> None:
    require(limit is None or count <= limit, "I5", f"{name}: {count} of {limit}", whose)
