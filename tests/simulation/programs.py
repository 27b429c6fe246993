"""Random DAGs, what their tasks will do, and how each run must end.

Every answer is a function of the seed and of names, never of time, so that the simulated world and
the pure core (the oracle) are told the same and must come to the same end.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from orchestrator.core.graph import build_graph
from orchestrator.core.ids import Slot
from orchestrator.core.lifecycle import TaskEvent
from orchestrator.core.outcomes import Failed, Outcome, Rescheduled, Skipped, Succeeded
from orchestrator.core.past import needs_past
from orchestrator.core.scheduling import Instance, RunLedger
from orchestrator.core.specs import (
    CronSchedule,
    DagSpec,
    DeltaSchedule,
    OnceSchedule,
    RetryPolicy,
    Schedule,
    TaskSpec,
    TriggerRule,
)
from orchestrator.core.states import RunState, TaskState
from tests.builders import NOW, a_dag, a_task
from tests.simulation.callbacks import with_callbacks
from tests.simulation.structures import looking_back, mapped, retried, torn_down

LOOKS_MAX = 4
STEPS_MAX = 20_000


@dataclass(frozen=True, slots=True)
class Try:
    """One try: how long its last look takes, and what it comes to; and before that, how long each
    look takes that ends with a reschedule, and for how long it then waits."""

    duration_s: float
    outcome: Outcome
    looks: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Script:
    """What a task's tries do, one after the other."""

    tries: tuple[Try, ...]

    def at(self, accounted_tries: int, looks: int) -> tuple[float, Outcome]:
        """Return what comes after so many tries that counted (a lost one does not), and in this
        one so many looks."""
        this = self.tries[min(accounted_tries, len(self.tries) - 1)]
        if looks < len(this.looks):
            duration_s, wait_s = this.looks[looks]
            return duration_s, Rescheduled(wait_s=wait_s, reason="not yet, as scripted")
        return this.duration_s, this.outcome


@dataclass(frozen=True, slots=True)
class Program:
    """A DAG and what its tasks do in each run."""

    spec: DagSpec
    seed: int
    mishap_rate: float = 0.35
    skip_rate: float = 0.12
    duration_s: float | None = None
    """How long every try takes; None draws a duration for each."""
    looks_rate: float = 0.0
    """How often a try looks several times, giving its worker back in between."""

    def script(self, run_id: str, slot: Slot, *, group_try: int = 0) -> Script:
        """Say what the task does in this run, each time its group runs anew."""
        anew = f"/{group_try}" if group_try else ""
        rng = random.Random(f"{self.seed}/{self.spec.dag_id}/{run_id}/{slot}{anew}")
        task = next(task for task in self.spec.tasks if task.task_id == slot.task_id)
        children = [t.task_id for t in self.spec.tasks if slot.task_id in t.upstream]
        tries: list[Try] = []
        while rng.random() < self.mishap_rate and len(tries) < task.retry.retries + 2:
            retryable = rng.random() < 0.9
            tries.append(self._try(rng, Failed(reason="as scripted", retryable=retryable)))
        if rng.random() < self.skip_rate:
            tries.append(self._try(rng, Skipped(reason="as scripted")))
        elif task.operator == "BranchOperator":
            skip = tuple(sorted(child for child in children if rng.random() < 0.5))
            tries.append(self._try(rng, Succeeded(skip=skip)))
        else:
            length = rng.choice([0, 1, 2, 2, 3, 3, 3, None])
            tries.append(
                self._try(
                    rng, Succeeded(xcoms={"return_value": rng.randrange(1000)}, length=length)
                )
            )
        return Script(tuple(tries))

    def _try(self, rng: random.Random, outcome: Outcome) -> Try:
        looks: list[tuple[float, float]] = []
        while self.looks_rate and rng.random() < self.looks_rate and len(looks) < LOOKS_MAX:
            looks.append((self._duration(rng), rng.choice([0.0, 1.0, 30.0])))
        return Try(self._duration(rng), outcome, tuple(looks))

    def _duration(self, rng: random.Random) -> float:
        drawn = rng.choice([0.0, 0.2, 1.0, 5.0, 20.0, rng.uniform(0, 60)])
        return drawn if self.duration_s is None else self.duration_s

    def end_of(self, run_id: str, slot: Slot, known: Instance) -> Instance:
        """Say how the task ends if nothing is lost for good."""
        task = next(task for task in self.spec.tasks if task.task_id == slot.task_id)
        script = self.script(run_id, slot, group_try=known.group_try)
        ended = replace(known, state=TaskState.FAILED, epoch=known.epoch + 1)
        for number in range(task.retry.retries + 1):
            match script.tries[min(number, len(script.tries) - 1)].outcome:
                case Succeeded(skip=skip, length=length):
                    return replace(ended, state=TaskState.SUCCESS, skip=skip, length=length)
                case Skipped():
                    return replace(ended, state=TaskState.SKIPPED)
                case Failed(retryable=False):
                    return ended
                case _:
                    pass
        return ended


def expected_end(
    program: Program,
    run_id: str,
    *,
    lost_for_good: frozenset[tuple[Slot, int]],
    past: Mapping[str, str] = MappingProxyType({}),
    order_seed: int = 0,
) -> tuple[RunState, Mapping[Slot, TaskState]]:
    """Run the program through the pure core alone: no clock, no store, no faults. The order in
    which tasks end is shuffled by `order_seed`, and must not matter. `lost_for_good` are the task
    instances, with their group's try, whose workers were lost once too often. The run goes on for
    ever (RUNNING) if all that is left waits for its `past`."""
    rng = random.Random(order_seed)
    ledger = RunLedger(
        build_graph(replace(program.spec, dagrun_timeout_s=None)),
        [(Slot(task.task_id), Instance()) for task in program.spec.tasks],
        started_at=NOW,
    )
    ledger.learn_past(past)
    running: list[Slot] = []
    now = NOW
    for _ in range(STEPS_MAX):
        decision = ledger.decide(now)
        running += [m.slot for m in decision.moves if m.event is TaskEvent.BECAME_READY]
        is_waiting = bool(past) and not running and decision.wake_at is None
        if decision.finish is not None or is_waiting:
            states = {slot: known.state for slot, known in ledger.instances.items()}
            return decision.finish.state if decision.finish else RunState.RUNNING, states
        if decision.wake_at is not None and (decision.wake_at == now or not running):
            now = decision.wake_at
            continue
        assert running, f"the pure core is stuck in {ledger.instances}"
        slot = running.pop(rng.randrange(len(running)))
        known = ledger.instances[slot]
        end = program.end_of(run_id, slot, known)
        if (slot, known.group_try) in lost_for_good:
            end = replace(known, state=TaskState.FAILED, epoch=known.epoch + 1)
        ledger.apply(slot, end)
    raise AssertionError("the pure core did not end the run")


def random_program(rng: random.Random, dag_id: str, *, lasts_s: float) -> Program:
    """A DAG of 1 to 12 tasks with everything that has a limit, a rule or a deadline in it; its
    schedule ends after `lasts_s`."""
    count = rng.choice([1, 2, 3, 5, 5, 8, 8, 12])
    names = [f"t{index:02}" for index in range(count)]
    branches = {name for name in names if rng.random() < 0.2}
    tasks: list[TaskSpec] = []
    for index, name in enumerate(names):
        upstream = tuple(
            sorted(up for up in names[:index] if rng.random() < min(0.9, 1.8 / max(1, index)))
        )
        tasks.append(_random_task(rng, name, upstream, branches))
    is_mapped = rng.random() < 0.6
    grouped, groups = mapped(rng, tasks) if is_mapped else (tuple(tasks), ())
    if rng.random() < 0.3:
        grouped = torn_down(rng, grouped)
    # What a later run has seen must not run again: then its end would depend on who is quicker.
    kind = rng.random()
    if kind < 0.25:
        grouped = looking_back(rng, grouped)
    elif kind < 0.5:
        grouped, groups = retried(rng, grouped, groups)
    spec = DagSpec(
        dag_id=dag_id,
        tasks=grouped,
        fail_fast=rng.random() < 0.15,
        groups=groups,
        schedule=_random_schedule(rng),
        start_date=NOW,
        # As many instances in all, whether by mapping or by runs.
        end_date=NOW + timedelta(seconds=lasts_s / 4 if is_mapped else lasts_s),
        catchup=rng.random() < 0.5,
        max_active_runs=rng.choice([1, 1, 2, 3]),
        max_active_tasks=rng.choice([1, 2, 4, 16]),
        dagrun_timeout_s=rng.choice([None, None, None, 150.0]),
    )
    looks_back = any(map(needs_past, spec.tasks))
    if looks_back:  # several runs beside each other, most of which go well
        minutely = CronSchedule(expression="* * * * *")
        spec = replace(spec, schedule=minutely, max_active_runs=3, max_active_tasks=16)
    seed = rng.randrange(2**32)
    return Program(
        spec=with_callbacks(spec, seed=seed),
        seed=seed,
        mishap_rate=rng.choice([0.0, 0.2, 0.4]) if not looks_back else 0.1,
        duration_s=rng.choice([0.0, 1.0, 5.0]) if is_mapped else None,
        looks_rate=rng.choice([0.0, 0.0, 0.4]),
    )


def diamond(dag_id: str = "diamond", *, duration_s: float = 1.0, **fields: Any) -> Program:
    """Five tasks: a, then b, c and d beside each other, then e; once, and all succeed."""
    below = ("b", "c", "d")
    tasks = (a_task("a"), *(a_task(name, "a") for name in below), a_task("e", *below))
    return steady(dag_id, *tasks, duration_s=duration_s, **fields)


def steady(
    dag_id: str, *tasks: TaskSpec, duration_s: float, mishap_rate: float = 0.0, **fields: Any
) -> Program:
    """A DAG that runs once at the start of the world; every try takes so long."""
    fields = {"schedule": OnceSchedule(), "start_date": NOW, **fields}
    return Program(
        spec=a_dag(*tasks, dag_id=dag_id, **fields),
        seed=1,
        mishap_rate=mishap_rate,
        skip_rate=0.0,
        duration_s=duration_s,
    )


def _random_task(
    rng: random.Random, name: str, upstream: tuple[str, ...], branches: set[str]
) -> TaskSpec:
    rule = TriggerRule.ALL_SUCCESS if rng.random() < 0.4 else rng.choice(list(TriggerRule))
    return TaskSpec(
        task_id=name,
        operator="BranchOperator" if name in branches else "PythonOperator",
        upstream=upstream,
        trigger_rule=rule,
        retry=RetryPolicy(
            retries=rng.choice([0, 0, 1, 2, 3]),
            delay_s=rng.choice([0.0, 5.0, 30.0]),
            backoff=rng.choice([0.0, 0.0, 2.0]),
            max_delay_s=120.0,
        ),
        pool=rng.choice(["default_pool", "small", "small", "wide"]),
        pool_slots=rng.choice([1, 1, 1, 2]),
        priority_weight=rng.choice([1, 1, 5]),
        queue=rng.choice([None, None, "gpu"]),
        max_active_tis_per_dag=rng.choice([None, None, None, 1]),
        max_active_tis_per_dagrun=rng.choice([None, None, None, 1]),
        needs_worker=name in branches or rng.random() < 0.9,
        chooses=name in branches,
    )


def _random_schedule(rng: random.Random) -> Schedule:
    schedules: list[Schedule] = [
        OnceSchedule(),
        DeltaSchedule(seconds=rng.choice([60.0, 120.0])),
        CronSchedule(expression="* * * * *"),
    ]
    return rng.choice(schedules)
