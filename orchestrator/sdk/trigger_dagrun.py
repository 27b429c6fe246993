"""Tasks that start a run of another DAG, and may wait for its end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from orchestrator.core.states import FINISHED_RUN_STATES, RunState
from orchestrator.errors import ConflictError
from orchestrator.sdk.exceptions import (
    FailException,
    RescheduleException,
    SkipException,
    TaskException,
    TaskTimeoutError,
)
from orchestrator.sdk.instants import plain_utc
from orchestrator.sdk.jsonvalues import json_value
from orchestrator.sdk.operators import BaseOperator
from orchestrator.sdk.other_runs import ForeignRun, OtherRuns, RunWish
from orchestrator.sdk.references import Reference
from orchestrator.sdk.services import current_services
from orchestrator.sdk.state_names import states_named

if TYPE_CHECKING:
    from orchestrator.sdk.context import Context

__all__ = ["TriggerDagRunOperator", "other_runs"]

TRIGGERED_RUN_ID = "trigger_run_id"
"""The XCom key under which the id of the triggered run is pushed, as in Airflow."""
WAITS_FOR = "TriggerDagRunOperator.waits_for"
"""The key of task_state under which a try that gave its worker back keeps the run it waits for."""


class TriggerDagRunOperator(BaseOperator):
    """Starts a run of the DAG `trigger_dag_id` and pushes its id as XCom `trigger_run_id`.

    `conf` is checked against that DAG's params like a person's trigger. If the run exists already
    (its `trigger_run_id` or `logical_date` is taken) the task fails, or with
    `skip_when_already_exists` is skipped, or with `reset_dag_run` has it done again. With
    `wait_for_completion` it looks every `poke_interval` seconds and ends as the run does:
    `allowed_states` are fine, `failed_states` fail it without another try. Between two looks it
    holds no worker, with or without `deferrable`, so that the run it waits for can have it.
    """

    template_fields: Sequence[str] = ("trigger_dag_id", "trigger_run_id", "logical_date", "conf")

    def __init__(
        self,
        *,
        trigger_dag_id: str,
        trigger_run_id: str | None = None,
        conf: Mapping[str, Any] | None = None,
        logical_date: str | datetime | None = None,
        reset_dag_run: bool = False,
        wait_for_completion: bool = False,
        poke_interval: timedelta | float = 60,
        allowed_states: Iterable[str] | None = None,
        failed_states: Iterable[str] | None = None,
        skip_when_already_exists: bool = False,
        fail_when_dag_is_paused: bool = False,
        note: str | None = None,
        deferrable: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        subject = self.subject
        self.trigger_dag_id = _text_to_come(trigger_dag_id, "trigger_dag_id", self)
        self.trigger_run_id = trigger_run_id
        if conf is not None and not isinstance(conf, Mapping | Reference | str):
            raise subject.error(f"conf is {conf!r}; it must be a dict")
        self.conf: Any = conf
        self.logical_date = logical_date
        self.reset_dag_run = subject.flag("reset_dag_run", reset_dag_run)
        self.wait_for_completion = subject.flag("wait_for_completion", wait_for_completion)
        interval = subject.duration("poke_interval", poke_interval, zero=False)
        self.poke_interval = interval.total_seconds()
        self.allowed_states = states_named("allowed_states", allowed_states, RunState, subject)
        self.failed_states = states_named("failed_states", failed_states, RunState, subject)
        if allowed_states is None:
            self.allowed_states = frozenset({RunState.SUCCESS})
        if failed_states is None:
            self.failed_states = frozenset({RunState.FAILED})
        self.skip_when_already_exists = subject.flag(
            "skip_when_already_exists", skip_when_already_exists
        )
        self.fail_when_dag_is_paused = subject.flag(
            "fail_when_dag_is_paused", fail_when_dag_is_paused
        )
        self.note = subject.prose("note", note)
        self.deferrable = subject.flag("deferrable", deferrable)

    def execute(self, context: Context) -> None:
        """Start the run, and wait for it if asked to."""
        runs, ti = other_runs(), context["ti"]
        waits_for = ti.task_state.get(WAITS_FOR) if self.wait_for_completion else None
        if waits_for is not None and waits_for["try_number"] == ti.try_number:
            ti.xcom_push(TRIGGERED_RUN_ID, waits_for["run_id"])
            if not self._is_over(runs, waits_for["dag_id"], waits_for["run_id"]):
                self._look_later(ti.began_at)
            return
        if self.fail_when_dag_is_paused:
            self._refuse_paused(runs)
        run_id = self._start(runs, self._wish(context))
        ti.xcom_push(TRIGGERED_RUN_ID, run_id)
        if self.wait_for_completion:
            started = {"try_number": ti.try_number, "dag_id": self.trigger_dag_id, "run_id": run_id}
            ti.task_state.set(WAITS_FOR, started)
            self._look_later(ti.began_at)

    def _wish(self, context: Context) -> RunWish:
        conf = {} if self.conf is None else self.conf
        if not isinstance(conf, Mapping):
            raise TaskException(f"conf is {conf!r}; it must be a dict")
        ti = context["ti"]
        return RunWish(
            dag_id=self.trigger_dag_id,
            run_id=self.trigger_run_id or None,
            logical_date=_instant(self.logical_date),
            conf=json_value(dict(conf), name="conf"),
            note=self.note or f"triggered by {ti.dag_id}/{ti.run_id}/{ti.task_id}",
        )

    def _refuse_paused(self, runs: OtherRuns) -> None:
        dag = runs.dag(self.trigger_dag_id)
        if dag is not None and dag.is_paused:
            raise TaskException(
                f"DAG {self.trigger_dag_id!r} is paused, and fail_when_dag_is_paused is set; "
                "unpause it"
            )

    def _start(self, runs: OtherRuns, wish: RunWish) -> str:
        try:
            run_id = runs.trigger(wish)
        except ConflictError as error:
            run = _existing(runs, wish)
            if run is None:
                raise
            if self.skip_when_already_exists:
                raise SkipException(f"{error} (skip_when_already_exists is set)") from error
            if not self.reset_dag_run:
                raise
            self.log.info("run %s of DAG %s exists: it is done again", run.run_id, run.dag_id)
            runs.clear(run.dag_id, run.run_id)
            return run.run_id
        self.log.info("triggered run %s of DAG %s", run_id, wish.dag_id)
        return run_id

    def _is_over(self, runs: OtherRuns, dag_id: str, run_id: str) -> bool:
        """Whether the run ended as it is allowed to; raise if it ended in another way."""
        run = runs.watch(dag_id, run_id=run_id)
        name = f"run {run_id!r} of DAG {dag_id!r}"
        if run is None:
            raise TaskException(f"{name} does not exist any more; somebody deleted it")
        if run.state in self.failed_states:
            raise FailException(f"{name} is {run.state}")
        is_allowed = run.state in self.allowed_states
        if run.state in FINISHED_RUN_STATES and not is_allowed:
            wanted = ", ".join(sorted(self.allowed_states))
            raise FailException(f"{name} is {run.state}, which is none of {wanted}")
        self.log.info("%s is %s", name, run.state)
        return is_allowed

    def _look_later(self, began_at: datetime) -> NoReturn:
        """Give the worker back until the next look, which its time limit does not outlast: that
        counts from the beginning of the try, over all the looks."""
        now, wait = current_services().clock.now(), timedelta(seconds=self.poke_interval)
        if self.execution_timeout is not None:
            left = began_at + self.execution_timeout - now
            if left <= timedelta(0):
                raise TaskTimeoutError
            wait = min(wait, left)
        raise RescheduleException(now + wait)


def other_runs() -> OtherRuns:
    """Return the access to other runs that this try has."""
    runs = current_services().other_runs
    if runs is None:
        raise TaskException("there are no other runs here: this try runs by itself")
    return runs


def _existing(runs: OtherRuns, wish: RunWish) -> ForeignRun | None:
    if wish.run_id is not None:
        found = runs.find(wish.dag_id, run_id=wish.run_id)
        if found is not None:
            return found
    if wish.logical_date is None:
        return None
    return runs.at(wish.dag_id, (wish.logical_date,)).get(wish.logical_date)


def _instant(value: object) -> datetime | None:
    if value is None or value == "":
        return None
    try:
        instant = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        raise TaskException(
            f"logical_date is {value!r}; it must be a date and time such as "
            "2026-01-31T08:00:00+00:00"
        ) from None
    return plain_utc(instant)


def _text_to_come(value: object, name: str, task: BaseOperator) -> Any:
    """Return a text, or what gives one at run time."""
    return value if isinstance(value, Reference) else task.subject.text(name, value)
