"""Tasks that start other runs and wait for them, with the other runs in memory."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.errors import DagInvalidError
from orchestrator.sdk import (
    DAG,
    EmptyOperator,
    ExternalTaskMarker,
    ExternalTaskSensor,
    Param,
    TaskGroup,
    TaskInstanceState,
    TriggerDagRunOperator,
    task,
)
from orchestrator.testing import DagRunResult, TaskChange, run_dag
from tests.sdk.tries import try_task

DAY = datetime(2026, 3, 4, tzinfo=UTC)


def child(*, fails: bool = False) -> DAG:
    @task
    def work(params: Any, run_id: str) -> str:
        if fails:
            raise ValueError("odd")
        return f"{run_id} {params['count']}"

    with DAG("child", params={"count": Param(1, type="integer", maximum=5)}) as dag:
        with TaskGroup("section"):
            work()
            EmptyOperator(task_id="other")
        EmptyOperator(task_id="outside")
    return dag


def run_trigger(
    *others: DAG,
    runs: Any = (),
    on_event: Callable[[TaskChange], None] | None = None,
    **arguments: Any,
) -> DagRunResult:
    with DAG("parent") as dag:
        TriggerDagRunOperator(**{"task_id": "start", "trigger_dag_id": "child", **arguments})
    return run_dag(dag, logical_date=DAY, other_dags=others, other_runs=runs, on_event=on_event)


def test_it_starts_a_run_and_pushes_its_id() -> None:
    result = run_trigger(child(), conf={"count": 2, "day": "{{ ds }}"}, logical_date="{{ ts }}")
    (run,) = result.triggered
    assert (run.state, run.logical_date) == ("success", DAY)
    assert run.run_id == "operator_triggered__2026-03-04T00:00:00+00:00"
    assert result.xcom("start", "trigger_run_id") == run.run_id


def test_s20_the_conf_is_checked_like_a_persons() -> None:
    result = run_trigger(child(), conf={"count": 6}, retries=0)
    assert result["start"].state == "failed"
    assert "6 is greater than the maximum of 5" in str(result["start"].reason)
    assert result.triggered == ()


def test_a_conf_that_is_no_json_says_where() -> None:
    result = run_trigger(conf={"count": {1, 2}})
    assert "conf['count'] is of type set" in str(result["start"].reason)


def test_a_run_of_a_dag_that_is_not_here_is_noted() -> None:
    result = run_trigger(trigger_run_id="mine")
    assert [(run.dag_id, run.run_id, run.state) for run in result.triggered] == [
        ("child", "mine", "queued")
    ]
    result = run_trigger(wait_for_completion=True)
    assert "give it to run_dag: other_dags=[...]" in str(result["start"].reason)


@pytest.mark.parametrize(
    ("fails", "states", "end"),
    [
        (False, {}, "success"),
        (True, {}, "failed"),
        (True, {"allowed_states": ["failed"], "failed_states": []}, "success"),
        (False, {"allowed_states": ["failed"], "failed_states": []}, "failed"),
    ],
)
def test_it_waits_for_the_end_it_is_told_to(fails: bool, states: Any, end: str) -> None:
    result = run_trigger(child(fails=fails), wait_for_completion=True, retries=2, **states)
    assert (result["start"].state, result["start"].tries) == (end, 1)
    assert len(result.triggered) == 1


@pytest.mark.parametrize("deferrable", [False, True])
def test_s16_a_waiting_trigger_starts_one_run_a_try(
    deferrable: bool, caplog: pytest.LogCaptureFixture
) -> None:
    waits: dict[str, Any] = {"wait_for_completion": True, "deferrable": deferrable}
    changes: list[TaskChange] = []
    result = run_trigger(child(), on_event=changes.append, poke_interval=3600, **waits)
    assert [each.state for each in changes if each.state != "scheduled"] == [
        *("running", "up_for_reschedule", "running", "success")
    ]
    assert {each.try_number for each in changes if each.state != "scheduled"} == {1}
    begun, resumed = (each.at for each in changes if each.state == "running")
    assert resumed - begun >= timedelta(hours=1)
    (run,) = result.triggered
    assert result.xcom("start", "trigger_run_id") == run.run_id
    assert not [each for each in caplog.records if each.levelname == "WARNING"]
    # Of a DAG that is not here a run cannot be waited for: each try fails at its first look.
    result = run_trigger(retries=2, retry_delay=60, **waits)
    assert result["start"].tries == 3
    assert len({run.run_id for run in result.triggered}) == 3
    assert result.xcom("start", "trigger_run_id") == result.triggered[-1].run_id


@pytest.mark.parametrize(
    ("arguments", "end", "runs"),
    [
        ({}, "failed", 1),
        ({"skip_when_already_exists": True}, "skipped", 1),
        ({"reset_dag_run": True}, "success", 2),
    ],
)
@pytest.mark.parametrize("same", ["trigger_run_id", "logical_date"])
def test_a_run_that_exists(arguments: Any, end: str, runs: int, same: str) -> None:
    given: dict[str, Any] = {
        "trigger_dag_id": "child",
        same: "{{ ts }}" if same == "logical_date" else "mine",
    }
    with DAG("parent") as dag:
        first = TriggerDagRunOperator(task_id="first", **given)
        first >> TriggerDagRunOperator(task_id="start", **given, **arguments)
    result = run_dag(dag, logical_date=DAY, other_dags=[child()])
    assert (result["start"].state, len(result.triggered)) == (end, runs)
    if end == "failed":
        assert "has a run" in str(result["start"].reason)


def test_a_wrong_logical_date_is_told() -> None:
    result = run_trigger(logical_date="{{ 'soon' }}")
    assert "logical_date is 'soon'; it must be a date and time" in str(result["start"].reason)


def run_sensor(runs: Any = (), dags: Any = (), **arguments: Any) -> DagRunResult:
    with DAG("waits") as dag:
        ExternalTaskSensor(
            **{"task_id": "wait", "external_dag_id": "child", "timeout": 300, **arguments}
        )
    return run_dag(dag, logical_date=DAY, other_runs=runs, other_dags=dags)


def ran(at: datetime = DAY, **arguments: Any) -> DagRunResult:
    return run_dag(child(**arguments), logical_date=at)


WORK = "section.work"


@pytest.mark.parametrize(
    "what",
    [
        {},
        {"external_task_id": WORK},
        {"external_task_ids": [WORK, "outside"]},
        {"external_task_group_id": "section"},
    ],
)
@pytest.mark.parametrize("mode", ["poke", "reschedule"])
def test_it_waits_for_a_run_a_task_several_or_a_group(what: Any, mode: str) -> None:
    given = {**what, "mode": mode, "dags": [child()]}
    assert run_sensor([ran()], **given).state == "success"
    assert run_sensor([ran(DAY - timedelta(days=1))], **given)["wait"].state == "failed"
    assert run_sensor([], **given)["wait"].state == "failed"
    failed = [ran(fails=True)]
    late = run_sensor(failed, **given)["wait"]
    assert "did not come within its timeout of 300 s" in str(late.reason)
    assert run_sensor(failed, failed_states=["failed"], **given)["wait"].state == "failed"
    states = {"failed_states": ["failed"], "soft_fail": True}
    assert run_sensor(failed, **states, **given)["wait"].state == "skipped"
    assert run_sensor(failed, skipped_states=["failed"], **given)["wait"].state == "skipped"
    assert run_sensor(failed, allowed_states=["success", "failed"], **given).state == "success"


def test_a_failed_state_is_named() -> None:
    states = [TaskInstanceState.FAILED, "upstream_failed"]
    result = run_sensor([ran(fails=True)], external_task_id=WORK, failed_states=states, retries=0)
    assert result["wait"].reason == (
        "ExternalTaskFailedError: section.work of DAG 'child' is failed, one of failed_states"
    )


def test_a_task_that_the_other_run_does_not_have_is_waited_for() -> None:
    result = run_sensor([ran()], external_task_ids=["outside", "more"])
    assert "did not come within" in str(result["wait"].reason)


def test_the_date_is_moved_by_a_delta_or_a_function() -> None:
    earlier = [ran(DAY - timedelta(hours=6))]
    both = [*earlier, ran(DAY)]

    def two(logical_date: datetime, ds: str) -> list[datetime]:
        assert ds == "2026-03-04"
        return [logical_date, logical_date - timedelta(hours=6)]

    assert run_sensor(earlier, execution_delta=timedelta(hours=6)).state == "success"
    assert run_sensor(earlier, execution_delta=timedelta(hours=7)).state == "failed"
    assert run_sensor(both, execution_date_fn=two).state == "success"
    assert run_sensor(earlier, execution_date_fn=two).state == "failed"
    wrong = run_sensor(both, execution_date_fn=lambda _date: "yesterday")
    assert "must return" in str(wrong["wait"].reason)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"external_dag_id": "childs"}, "DAG 'childs', which 'wait' waits for, is unknown"),
        (
            {"external_task_id": "outsid"},
            "DAG 'child' has no task 'outsid'; did you mean 'outside'",
        ),
        ({"external_task_group_id": "sectio"}, "no task group 'sectio'; did you mean 'section'?"),
    ],
)
def test_check_existence_fails_at_once(what: Any, message: str) -> None:
    result = run_sensor([], [child()], check_existence=True, **what)
    assert message in str(result["wait"].reason)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"external_task_id": "a", "external_task_ids": ["b"]}, "exclude each other; give one"),
        ({"external_task_ids": "abc"}, "it must be a list (external_task_id is for one)"),
        ({"external_task_ids": ["a", "a"]}, "external_task_ids names a task twice"),
        ({"external_task_ids": []}, "external_task_ids is empty"),
        ({"external_dag_id": ""}, "external_dag_id is ''; it must be a text that is not empty"),
        ({"allowed_states": ["sucess"]}, "allowed_states is 'sucess'; did you mean 'success'?"),
        ({"allowed_states": ["skipped"]}, "allowed_states is 'skipped'"),
        ({"failed_states": ["success"]}, "state 'success' is in more than one of allowed_states"),
        ({"failed_states": "failed"}, "failed_states is 'failed'; it must be a list of states"),
        ({"execution_delta": 5}, "execution_delta is 5; it must be a timedelta"),
        (
            {"execution_delta": timedelta(1), "execution_date_fn": print},
            "execution_delta and execution_date_fn exclude each other",
        ),
    ],
)
def test_wrong_arguments_of_a_sensor(arguments: Any, message: str) -> None:
    with DAG("d"), pytest.raises(DagInvalidError) as caught:
        ExternalTaskSensor(**{"task_id": "wait", "external_dag_id": "child", **arguments})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"trigger_dag_id": ""}, "trigger_dag_id is ''; it must be a text"),
        ({"conf": [1]}, "conf is [1]; it must be a dict"),
        ({"poke_interval": 0}, "poke_interval is 0:00:00; it must be more"),
        ({"allowed_states": ["sucess"]}, "did you mean 'success'?"),
        ({"reset_dag_run": 1}, "reset_dag_run is 1; it must be True or False"),
    ],
)
def test_wrong_arguments_of_a_trigger(arguments: Any, message: str) -> None:
    with DAG("d"), pytest.raises(DagInvalidError) as caught:
        TriggerDagRunOperator(**{"task_id": "start", "trigger_dag_id": "child", **arguments})
    assert message in str(caught.value)


def test_a_marker_says_who_waits() -> None:
    with DAG("d") as dag:
        ExternalTaskMarker(task_id="mark", external_dag_id="other", external_task_id="wait")
    (spec,) = dag.spec().tasks
    assert not spec.needs_worker
    assert spec.template_fields["external_dag_id"] == "other"


def test_a_try_by_itself_has_no_other_runs() -> None:
    with DAG("parent") as dag:
        TriggerDagRunOperator(task_id="start", trigger_dag_id="child")
    assert "there are no other runs here" in str(try_task(dag, "start"))
