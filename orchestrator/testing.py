"""What does a DAG do, run here and now in this process, with no services?

    result = run_dag(my_dag, conf={"limit": 3})
    assert result.state == "success"
    assert result.xcom("count") == 3

The same core decides as in production. Tasks run one after the other in the calling thread, sensors
after what else is ready, so breakpoints work; a wait (before a retry, of a sensor) moves a clock of
its own instead of taking time.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from heapq import heappop, heappush
from pathlib import Path
from typing import Any
from uuid import uuid4

from orchestrator.core.assignments import Assignment, DagSource, RunFacts
from orchestrator.core.graph import build_graph
from orchestrator.core.ids import RunUid, Slot, TaskKey, TiId, VersionId, path_of
from orchestrator.core.lifecycle import TRANSITIONS, TaskEvent, advance
from orchestrator.core.outcomes import XCOM_BYTES_MAX, Outcome
from orchestrator.core.planning import run_id_of
from orchestrator.core.retries import Conclusion, conclude, jitter_seed
from orchestrator.core.scheduling import Expand, FinishRun, Instance, RunLedger
from orchestrator.core.specs import DagSpec
from orchestrator.core.states import RunType, TaskState
from orchestrator.errors import RequestInvalidError
from orchestrator.sdk import DAG
from orchestrator.sdk.caching import ResultCache
from orchestrator.sdk.called_callbacks import CalledCallbacks
from orchestrator.sdk.classes import classes_of
from orchestrator.sdk.clock import MovedClock
from orchestrator.sdk.connections import Connection
from orchestrator.sdk.execution import run_try
from orchestrator.sdk.given_secrets import GivenSecrets
from orchestrator.sdk.jsonvalues import json_value
from orchestrator.sdk.masking import secret_scope
from orchestrator.sdk.memory import MemoryResults, MemoryState, MemoryXComs
from orchestrator.sdk.other_runs import RunWish
from orchestrator.sdk.params import resolve_params
from orchestrator.sdk.recorded_runs import RecordedRun, RecordedRuns
from orchestrator.sdk.run_results import DagRunResult, TaskChange, TaskResult
from orchestrator.sdk.secrets import (
    BaseSecretsBackend,
    EnvironmentVariablesBackend,
    SecretChain,
    Secrets,
)
from orchestrator.sdk.services import TaskServices
from orchestrator.sdk.time_limits import time_limit
from orchestrator.sdk.turns import Turn, turns

__all__ = ["DagRunResult", "MemoryResults", "TaskChange", "TaskResult", "run_dag"]

_FROM_ENVIRONMENT = (EnvironmentVariablesBackend(),)


def run_dag(
    dag: DAG,
    *,
    conf: Mapping[str, Any] | None = None,
    logical_date: datetime | None = None,
    run_id: str | None = None,
    xcom_bytes_max: int = XCOM_BYTES_MAX,
    results: ResultCache | None = None,
    on_event: Callable[[TaskChange], None] | None = None,
    variables: Mapping[str, Any] | None = None,
    connections: Mapping[str, Connection | str] | None = None,
    secrets_backends: Sequence[BaseSecretsBackend] = _FROM_ENVIRONMENT,
    other_runs: Sequence[DagRunResult] = (),
    other_dags: Sequence[DAG] = (),
) -> DagRunResult:
    """Run a DAG to its end in this process and say what came of it.

    `logical_date` is now unless given. Cached results come from this run only, unless several runs
    are given the same `results=MemoryResults()`. `on_event` is called at each change of a task
    instance's state. An invalid DAG raises DagInvalidError, a conf that breaks a param's schema
    ParamInvalidError; whatever a task raises is in the result, and its traceback in the log.

    Tasks read the `variables` (texts, or values that stand as their JSON) and `connections` (or
    their URIs) given here, then those of `secrets_backends`: of the environment.

    They see the runs `other_runs`. A run that one of them triggers is run here and now, in the
    same way, if its DAG is among `other_dags`; else it is only noted in the result.
    """
    spec = dag.spec()
    conf = json_value(dict(conf or {}), name="conf")
    resolve_params(spec.params, conf)
    now = datetime.now(UTC)
    logical_date = now if logical_date is None else _in_utc(logical_date)
    facts = RunFacts(
        uid=RunUid(uuid4()),
        dag_id=spec.dag_id,
        run_id=run_id or run_id_of(RunType.MANUAL, logical_date),
        run_type=RunType.MANUAL,
        logical_date=logical_date,
        data_interval_start=logical_date,
        data_interval_end=logical_date,
        run_after=logical_date,
        started_at=now,
        conf=conf,
    )
    with secret_scope():
        given = GivenSecrets(variables=variables, connections=connections)
        secrets = SecretChain([given, *secrets_backends], keeper=given)
        clock = MovedClock()
        alike: dict[str, Any] = {
            "xcom_bytes_max": xcom_bytes_max,
            "results": results,
            "variables": variables,
            "connections": connections,
            "secrets_backends": secrets_backends,
            "other_runs": other_runs,
        }
        around = _Surroundings(
            xcom_bytes_max=xcom_bytes_max,
            on_event=on_event or _ignore,
            clock=clock,
            results=MemoryResults(clock) if results is None else results,
            secrets=secrets,
            other_runs=RecordedRuns(
                {dag.dag_id: dag.spec() for dag in other_dags},
                [each.recorded(logical_date=each.logical_date) for each in other_runs],
                start=partial(_run_triggered, dags=other_dags, now=clock.now, alike=alike),
                now=clock.now,
            ),
        )
        return _InProcessRun(dag, spec, facts, around).to_the_end(now)


def _run_triggered(
    wish: RunWish,
    *,
    dags: Sequence[DAG],
    now: Callable[[], datetime],
    alike: Mapping[str, Any],
) -> RecordedRun:
    """Run a DAG because a task asked for it. It may not start itself again without end."""
    result = run_dag(
        next(dag for dag in dags if dag.dag_id == wish.dag_id),
        conf=wish.conf,
        logical_date=wish.logical_date or now(),
        run_id=wish.run_id,
        other_dags=[dag for dag in dags if dag.dag_id != wish.dag_id],
        **alike,
    )
    return result.recorded(logical_date=wish.logical_date, conf=wish.conf)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Surroundings:
    """What a run has around it."""

    xcom_bytes_max: int
    on_event: Callable[[TaskChange], None]
    clock: MovedClock
    results: ResultCache
    secrets: Secrets
    other_runs: RecordedRuns


class _InProcessRun:
    """One run: the ledger that decides, the clock, and what was pushed."""

    def __init__(self, dag: DAG, spec: DagSpec, facts: RunFacts, around: _Surroundings) -> None:
        self._dag, self._spec, self._facts = dag, spec, facts
        self._around = around
        self._graph = build_graph(spec)
        self._xcoms = MemoryXComs(spec.dag_id, facts.run_id)
        self._states: defaultdict[Slot, MemoryState] = defaultdict(MemoryState)
        self._source = _source_of(dag)
        self._order = {task_id: rank for rank, task_id in enumerate(self._graph.order)}
        self._results = {Slot(id_): TaskResult(task_id=id_) for id_ in self._graph.order}
        self._turns = turns(dag.tasks, self._graph.priorities)
        self._ready: list[tuple[Turn, Slot]] = []
        self._clock = around.clock
        self._began: dict[Slot, datetime] = {}
        """When the tries began that are not over."""
        self._callbacks = CalledCallbacks(
            dag,
            spec,
            facts,
            self._source,
            services=self._services,
            now=self._now,
            xcom_bytes_max=around.xcom_bytes_max,
        )
        self._max_tries: dict[Slot, int] = {}
        """Of those whose group was retried: they have all their retries again."""

    def to_the_end(self, now: datetime) -> DagRunResult:
        """Decide and execute until nothing is left to do."""
        began = time.perf_counter()
        self._ledger = RunLedger(
            self._graph, [(slot, Instance()) for slot in self._results], started_at=now
        )
        finish = self._decide()
        while finish is None:
            _, slot = heappop(self._ready)
            self._run_one(slot)
            finish = self._decide()
        self._callbacks.after_run(finish)
        return DagRunResult(
            dag_id=self._spec.dag_id,
            run_id=self._facts.run_id,
            state=finish.state,
            reason=finish.reason,
            duration_s=time.perf_counter() - began,
            instances={slot: self._results[slot] for slot in sorted(self._results, key=self._rank)},
            xcoms=self._xcoms.restored(classes_of(self._dag)),
            logical_date=self._facts.logical_date or now,
            triggered=tuple(self._around.other_runs.triggered),
            callbacks=tuple(self._callbacks.results),
        )

    def _decide(self) -> FinishRun | None:
        """Carry decisions out until a task is ready or the run is over."""
        while True:
            decision = self._ledger.decide(self._now())
            for expand in decision.expansions:
                self._expand(expand)
            for move in decision.moves:
                if move.event is TaskEvent.BECAME_READY:
                    heappush(self._ready, (self._turns[move.slot.task_id], move.slot))
                elif move.event is TaskEvent.GROUP_RETRIED:
                    tried = self._results[move.slot].tries
                    self._max_tries[move.slot] = tried + self._retries_of(move.slot)
                self._tell(move.slot, move.event, move.reason)
                if move.event is TaskEvent.EXPANSION_FAILED:
                    assignment = self._assignment(move.slot)
                    self._callbacks.after(assignment, move.event, reason=move.reason)
            self._drop_stale()
            if decision.finish or self._ready:
                return decision.finish
            assert decision.wake_at is not None, "the run waits for nothing and is not over"
            self._clock.move_to(decision.wake_at)
            self._callbacks.miss_deadlines()

    def _drop_stale(self) -> None:
        """Forget what was ready and is no longer, such as what a failure put an end to."""
        known = self._ledger.instances
        while self._ready and known[self._ready[0][1]].state is not TaskState.SCHEDULED:
            heappop(self._ready)

    def _expand(self, expand: Expand) -> None:
        """Have an instance for each index, in place of the one that stood for all of them."""
        if expand.first is not None:
            del self._results[expand.first]
        for index in expand.indexes:
            slot = Slot(expand.task_id, index)
            path = path_of(index, depth=self._graph.depth(expand.task_id))
            self._results[slot] = TaskResult(task_id=expand.task_id, map_index=index, map_path=path)

    def _retries_of(self, slot: Slot) -> int:
        return self._graph.tasks[slot.task_id].retry.retries

    def _rank(self, slot: Slot) -> tuple[int, int]:
        return self._order[slot.task_id], slot.map_index

    def _run_one(self, slot: Slot) -> None:
        self._apply(slot, TaskEvent.ADMITTED)
        self._apply(slot, TaskEvent.STARTED)
        goes_on = slot in self._began
        self._began.setdefault(slot, self._now())
        result = self._results[slot] = replace(
            self._results[slot], tries=self._results[slot].tries + (not goes_on)
        )
        self._tell(slot, TaskEvent.STARTED, None)
        self._xcoms.forget(slot)
        began = time.perf_counter()
        assignment, services = self._assignment(slot), self._services(slot)
        outcome = self._execute(assignment, services)
        self._results[slot] = replace(
            result,
            duration_s=result.duration_s + time.perf_counter() - began,
            map_name=outcome.map_name,
        )
        self._xcoms.keep(slot, outcome)
        conclusion = self._conclude(slot, outcome)
        if conclusion.event is not TaskEvent.WILL_RESCHEDULE:
            del self._began[slot]
        self._apply(slot, conclusion.event, conclusion)
        self._tell(slot, conclusion.event, conclusion.reason)
        self._callbacks.after(
            assignment, conclusion.event, reason=conclusion.reason, trace=services.trace
        )
        self._callbacks.miss_deadlines()

    def _assignment(self, slot: Slot) -> Assignment:
        task = self._graph.tasks[slot.task_id]
        return Assignment(
            ti_id=TiId(uuid4()),
            epoch=self._ledger.instances[slot].epoch,
            key=TaskKey(self._spec.dag_id, self._facts.run_id, *slot),
            try_number=self._results[slot].tries,
            max_tries=self._max_tries.get(slot, task.retry.retries),
            started_at=self._now(),
            began_at=self._began.get(slot, self._now()),
            run=self._facts,
            dag=self._spec,
            task=task,
            source=self._source,
        )

    def _services(self, slot: Slot) -> TaskServices:
        return TaskServices(
            xcoms=self._xcoms,
            clock=self._clock,
            state=self._states[slot],
            results=self._around.results,
            secrets=self._around.secrets,
            other_runs=self._around.other_runs,
        )

    def _execute(self, assignment: Assignment, services: TaskServices) -> Outcome:
        limit_s = assignment.task.execution_timeout_s
        with time_limit(limit_s), self._clock.limited(limit_s):
            return run_try(
                self._dag,
                assignment,
                services=services,
                xcom_bytes_max=self._around.xcom_bytes_max,
            )

    def _conclude(self, slot: Slot, outcome: Outcome) -> Conclusion:
        task, try_number = self._graph.tasks[slot.task_id], self._results[slot].tries
        assert self._facts.logical_date is not None
        return conclude(
            outcome,
            policy=task.retry,
            try_number=try_number,
            max_tries=self._max_tries.get(slot, task.retry.retries),
            seed=jitter_seed(
                dag_id=self._spec.dag_id,
                task_id=slot.task_id,
                logical_date=self._facts.logical_date.isoformat(),
                try_number=try_number,
            ),
        )

    def _apply(self, slot: Slot, event: TaskEvent, conclusion: Conclusion | None = None) -> None:
        known = self._ledger.instances[slot]
        retry_in_s = conclusion.retry_in_s if conclusion else None
        instance = replace(
            known,
            state=advance(known.state, event),
            epoch=known.epoch + TRANSITIONS[event].bumps_epoch,
            eligible_at=None if retry_in_s is None else self._now() + timedelta(seconds=retry_in_s),
            skip=conclusion.skip if conclusion else None,
            length=conclusion.length if conclusion else None,
            ended_at=self._now(),
        )
        self._ledger.apply(slot, instance)

    def _tell(self, slot: Slot, event: TaskEvent, reason: str | None) -> None:
        state = TRANSITIONS[event].target
        result = self._results[slot] = replace(self._results[slot], state=state, reason=reason)
        self._xcoms.note_state(slot, state)
        self._around.on_event(
            TaskChange(
                task_id=slot.task_id,
                map_index=slot.map_index,
                event=event,
                state=state,
                try_number=result.tries,
                reason=reason,
                at=self._now(),
            )
        )

    def _now(self) -> datetime:
        return self._clock.now()


def _in_utc(logical_date: object) -> datetime:
    if not isinstance(logical_date, datetime):
        raise RequestInvalidError(f"logical_date is {logical_date!r}; it must be a datetime")
    if logical_date.utcoffset() is None:
        return logical_date.replace(tzinfo=UTC)
    return logical_date.astimezone(UTC)


def _source_of(dag: DAG) -> DagSource:
    path = Path(dag.fileloc)
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    digest = sha256(text.encode()).hexdigest()
    return DagSource(version_id=VersionId(uuid4()), path=path.name, text=text, digest=digest)


def _ignore(_change: TaskChange) -> None:
    """Nobody watches the run."""
