"""What does a DAG do, run here and now in this process, with no services?

    result = run_dag(my_dag, conf={"limit": 3})
    assert result.state == "success"
    assert result.xcom("count") == 3

The same core decides as in production. Tasks run one after the other in the calling thread, so
breakpoints work; a wait (before a retry, of a sensor) moves a clock of its own instead of taking
time.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from heapq import heappop, heappush
from pathlib import Path
from typing import Any
from uuid import uuid4

from orchestrator.core.assignments import Assignment, DagSource, RunFacts
from orchestrator.core.graph import build_graph
from orchestrator.core.ids import UNMAPPED, RunUid, Slot, TaskKey, TiId, VersionId
from orchestrator.core.lifecycle import TRANSITIONS, TaskEvent, advance
from orchestrator.core.outcomes import RETURN_VALUE, XCOM_BYTES_MAX, Outcome
from orchestrator.core.planning import run_id_of
from orchestrator.core.retries import Conclusion, conclude, jitter_seed
from orchestrator.core.scheduling import Expand, FinishRun, Instance, RunLedger
from orchestrator.core.specs import DagSpec
from orchestrator.core.states import RunState, RunType, TaskState
from orchestrator.errors import RequestInvalidError, did_you_mean
from orchestrator.sdk import DAG
from orchestrator.sdk.classes import classes_of
from orchestrator.sdk.clock import MovedClock
from orchestrator.sdk.connections import Connection
from orchestrator.sdk.execution import run_try
from orchestrator.sdk.given_secrets import GivenSecrets
from orchestrator.sdk.interruption import interrupt
from orchestrator.sdk.jsonvalues import json_value
from orchestrator.sdk.masking import secret_scope
from orchestrator.sdk.memory import MemoryXComs
from orchestrator.sdk.params import resolve_params
from orchestrator.sdk.secrets import (
    BaseSecretsBackend,
    EnvironmentVariablesBackend,
    SecretChain,
    Secrets,
)
from orchestrator.sdk.services import TaskServices
from orchestrator.sdk.time_limits import time_limit

__all__ = ["DagRunResult", "TaskChange", "TaskResult", "run_dag"]

_FROM_ENVIRONMENT = (EnvironmentVariablesBackend(),)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskChange:
    """One task instance came into another state. `try_number` is 0 before its first try."""

    task_id: str
    map_index: int
    event: TaskEvent
    state: TaskState
    try_number: int
    reason: str | None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult:
    """How a task instance ended: why, after how many tries, in how many seconds of execution."""

    task_id: str
    map_index: int = UNMAPPED
    map_name: str | None = None
    """What its map_index_template gave."""
    state: TaskState = TaskState.NONE
    reason: str | None = None
    tries: int = 0
    duration_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DagRunResult:
    """How a run ended. As text: the run and one line for each task instance."""

    dag_id: str
    run_id: str
    state: RunState
    reason: str
    duration_s: float
    instances: Mapping[Slot, TaskResult]
    xcoms: Mapping[Slot, Mapping[str, Any]]

    def __getitem__(self, key: str | tuple[str, int]) -> TaskResult:
        """`result["task"]`, or `result["task", 3]` for one map index of a mapped task."""
        task_id, map_index = (key, UNMAPPED) if isinstance(key, str) else key
        return self.instances[self._slot(task_id, map_index)]

    def __str__(self) -> str:
        title = f"{self.dag_id} {self.run_id}: {self.state} in {self.duration_s:.2f} s"
        width = max((len(slot.task_id) for slot in self.instances), default=0)
        lines = [_line(result, width) for result in self.instances.values()]
        return "\n".join([f"{title} ({self.reason})", *lines])

    @property
    def states(self) -> dict[str, TaskState]:
        """The state of each task that is not mapped, by its id."""
        return {
            slot.task_id: result.state
            for slot, result in self.instances.items()
            if slot.map_index == UNMAPPED
        }

    def instances_of(self, task_id: str) -> list[TaskResult]:
        """Return how each instance of a task ended, in order of map index."""
        found = [each for slot, each in self.instances.items() if slot.task_id == task_id]
        if not found:
            self._slot(task_id, UNMAPPED)
        return found

    def xcom(self, task_id: str, key: str = RETURN_VALUE, *, map_index: int = UNMAPPED) -> Any:
        """Return what a task instance pushed under `key`, or None."""
        return self.xcoms.get(self._slot(task_id, map_index), {}).get(key)

    def _slot(self, task_id: str, map_index: int) -> Slot:
        slot = Slot(task_id, map_index)
        if slot not in self.instances:
            indexes = [each.map_index for each in self.instances if each.task_id == task_id]
            if indexes:
                raise KeyError(
                    f"task {task_id!r} has no map index {map_index}: it has "
                    f"{indexes[0]} to {indexes[-1]}"
                )
            known = [each.task_id for each in self.instances]
            raise KeyError(f"the run has no task {task_id!r}{did_you_mean(task_id, known)}")
        return slot


def run_dag(
    dag: DAG,
    *,
    conf: Mapping[str, Any] | None = None,
    logical_date: datetime | None = None,
    run_id: str | None = None,
    xcom_bytes_max: int = XCOM_BYTES_MAX,
    on_event: Callable[[TaskChange], None] | None = None,
    variables: Mapping[str, Any] | None = None,
    connections: Mapping[str, Connection | str] | None = None,
    secrets_backends: Sequence[BaseSecretsBackend] = _FROM_ENVIRONMENT,
) -> DagRunResult:
    """Run a DAG to its end in this process and say what came of it.

    `logical_date` is now unless given. `on_event` is called at each change of a task instance's
    state. An invalid DAG raises DagInvalidError, a conf that breaks a param's schema
    ParamInvalidError; whatever a task raises is in the result, and its traceback in the log.

    Tasks read the `variables` (texts, or values that stand as their JSON) and `connections` (or
    their URIs) given here, then those of `secrets_backends`: of the environment.
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
        run = _InProcessRun(dag, spec, facts, xcom_bytes_max, on_event or _ignore, secrets=secrets)
        return run.to_the_end(now)


class _InProcessRun:
    """One run: the ledger that decides, the clock, and what was pushed."""

    def __init__(
        self,
        dag: DAG,
        spec: DagSpec,
        facts: RunFacts,
        xcom_bytes_max: int,
        on_event: Callable[[TaskChange], None],
        *,
        secrets: Secrets,
    ) -> None:
        self._dag, self._spec, self._facts = dag, spec, facts
        self._xcom_bytes_max = xcom_bytes_max
        self._secrets = secrets
        self._on_event = on_event
        self._graph = build_graph(spec)
        self._xcoms = MemoryXComs(spec.dag_id, facts.run_id)
        self._source = _source_of(dag)
        self._order = {task_id: rank for rank, task_id in enumerate(self._graph.order)}
        self._results = {Slot(id_): TaskResult(task_id=id_) for id_ in self._graph.order}
        self._ready: list[tuple[int, Slot]] = []
        self._clock = MovedClock()
        self._began: dict[Slot, datetime] = {}
        """When the tries began that are not over."""

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
        return DagRunResult(
            dag_id=self._spec.dag_id,
            run_id=self._facts.run_id,
            state=finish.state,
            reason=finish.reason,
            duration_s=time.perf_counter() - began,
            instances={slot: self._results[slot] for slot in sorted(self._results, key=self._rank)},
            xcoms=self._xcoms.restored(classes_of(self._dag)),
        )

    def _decide(self) -> FinishRun | None:
        """Carry decisions out until a task is ready or the run is over."""
        while True:
            decision = self._ledger.decide(self._now())
            for expand in decision.expansions:
                self._expand(expand)
            for move in decision.moves:
                if move.event is TaskEvent.BECAME_READY:
                    priority = self._graph.priorities[move.slot.task_id]
                    heappush(self._ready, (-priority, move.slot))
                self._tell(move.slot, move.event, move.reason)
            if decision.finish or self._ready:
                return decision.finish
            assert decision.wake_at is not None, "the run waits for nothing and is not over"
            self._clock.move_to(decision.wake_at)

    def _expand(self, expand: Expand) -> None:
        """Have an instance for each index, in place of the one that stood for all of them."""
        if expand.first is not None:
            del self._results[expand.first]
        for index in expand.indexes:
            slot = Slot(expand.task_id, index)
            self._results[slot] = TaskResult(task_id=expand.task_id, map_index=index)

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
        outcome = self._execute(slot)
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

    def _execute(self, slot: Slot) -> Outcome:
        task = self._graph.tasks[slot.task_id]
        assignment = Assignment(
            ti_id=TiId(uuid4()),
            epoch=self._ledger.instances[slot].epoch,
            key=TaskKey(self._spec.dag_id, self._facts.run_id, *slot),
            try_number=self._results[slot].tries,
            max_tries=task.retry.retries,
            started_at=self._now(),
            began_at=self._began[slot],
            run=self._facts,
            dag=self._spec,
            task=task,
            source=self._source,
        )
        limit_s = task.execution_timeout_s
        with time_limit(limit_s), self._clock.limited(limit_s):
            return run_try(
                self._dag,
                assignment,
                services=TaskServices(xcoms=self._xcoms, clock=self._clock, secrets=self._secrets),
                xcom_bytes_max=self._xcom_bytes_max,
            )

    def _conclude(self, slot: Slot, outcome: Outcome) -> Conclusion:
        task, try_number = self._graph.tasks[slot.task_id], self._results[slot].tries
        assert self._facts.logical_date is not None
        return conclude(
            outcome,
            policy=task.retry,
            try_number=try_number,
            max_tries=task.retry.retries,
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
        )
        self._ledger.apply(slot, instance)

    def _tell(self, slot: Slot, event: TaskEvent, reason: str | None) -> None:
        state = TRANSITIONS[event].target
        result = self._results[slot] = replace(self._results[slot], state=state, reason=reason)
        self._xcoms.note_state(slot, state)
        self._on_event(
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


def _line(result: TaskResult, width: int) -> str:
    index = "" if result.map_index == UNMAPPED else f"[{result.map_index}]"
    tries = {0: "not run", 1: "1 try"}.get(result.tries, f"{result.tries} tries")
    reason = "".join(f"  {each}" for each in (result.map_name, result.reason) if each)
    return (
        f"  {result.task_id + index:<{width}}  {result.state:<15}  {tries:<8}"
        f"  {result.duration_s:7.3f} s{reason}"
    )


def _ignore(_change: TaskChange) -> None:
    """Nobody watches the run."""
