"""A task on a real worker starts a run and waits for it, and looks at runs of another DAG."""

from datetime import UTC, datetime

from orchestrator.control import RunRequest
from orchestrator.core.listings import PageRequest, RunFilter
from orchestrator.core.states import TaskState, TriggeredBy
from orchestrator.core.views import RunView
from tests.workers.rig import Rig, Worker

CHILD = """
from orchestrator.sdk import DAG, Param, task
with DAG("{dag_id}", params={{"count": Param(1, type="integer", maximum=5)}}) as dag:
    @task
    def work(params): return params["count"]
    work()
"""
PARENT = """
from orchestrator.sdk import DAG, TriggerDagRunOperator
with DAG("{dag_id}") as dag:
    TriggerDagRunOperator(task_id="t", trigger_dag_id="{child}", {arguments})
"""
DAY = datetime(2026, 3, 4, tzinfo=UTC)


def add_pair(rig: Rig, name: str, arguments: str) -> None:
    rig.add(f"{name}_child.py", CHILD.format(dag_id=f"{name}_child"))
    rig.add(f"{name}.py", PARENT.format(dag_id=name, child=f"{name}_child", arguments=arguments))


def runs_of(rig: Rig, dag_id: str) -> tuple[RunView, ...]:
    return rig.reads.runs(RunFilter(dag_id=dag_id), PageRequest()).items


def test_s11_a_task_starts_a_run_and_waits_for_its_end(shared: Rig, worker: Worker) -> None:
    add_pair(shared, "starts", 'conf={"count": 3}, wait_for_completion=True, poke_interval=0.2')
    ti = shared.run("starts")
    assert ti.state is TaskState.SUCCESS, ti.reason
    ((_, run_id),) = shared.store.values.pull_xcoms(
        dag_id="starts", run_id=ti.key.run_id, task_ids=["t"], key="trigger_run_id"
    )
    run = shared.reads.run("starts_child", run_id)
    assert (run.state, run.run_type, run.triggered_by) == (
        "success",
        "operator_triggered",
        "operator",
    )
    prefix, _, suffix = run_id.rpartition("_")
    assert prefix == f"operator_triggered__{run.run_after.isoformat()}"
    assert len(suffix) == 8
    assert suffix.isalnum()
    assert run.conf == {"count": 3}
    assert run.note == f"triggered by starts/{ti.key.run_id}/t"


def test_s20_a_wrong_conf_fails_the_task_and_starts_nothing(shared: Rig, worker: Worker) -> None:
    add_pair(shared, "wrong", 'conf={"count": 6}')
    ti = shared.run("wrong")
    assert ti.state is TaskState.FAILED
    assert "6 is greater than the maximum of 5" in str(ti.reason)


def test_an_unknown_dag_is_named(shared: Rig, worker: Worker) -> None:
    add_pair(shared, "unknown", "conf={}")
    shared.add("lost.py", PARENT.format(dag_id="lost", child="unknown_chil", arguments=""))
    ti = shared.run("lost")
    assert "did you mean 'unknown_child'?" in str(ti.reason)


def test_a_run_that_exists_is_done_again(shared: Rig, worker: Worker) -> None:
    given = 'trigger_run_id="mine", reset_dag_run=True, wait_for_completion=True, poke_interval=0.2'
    add_pair(shared, "again", given)
    assert shared.run("again").state is TaskState.SUCCESS
    assert shared.run("again").state is TaskState.SUCCESS
    found = shared.reads.task_instance("again_child", "mine", "work")
    assert (found.state, found.try_number) == (TaskState.SUCCESS, 2)


def test_a_paused_dag_is_refused_when_asked(shared: Rig, worker: Worker) -> None:
    add_pair(shared, "paused", "fail_when_dag_is_paused=True")
    shared.control.pause("paused_child")
    assert "is paused, and fail_when_dag_is_paused is set" in str(shared.run("paused").reason)


def test_s16_a_sensor_waits_for_another_dag_between_reschedules(
    shared: Rig, worker: Worker
) -> None:
    shared.add("seen.py", CHILD.format(dag_id="seen"))
    shared.add(
        "sees.py",
        """
from orchestrator.sdk import DAG, ExternalTaskSensor
with DAG("sees") as dag:
    ExternalTaskSensor(
        task_id="t", external_dag_id="seen", external_task_id="work", check_existence=True,
        mode="reschedule", poke_interval=0.2, timeout=60,
    )
""",
    )
    by = {"triggered_by": TriggeredBy.TEST}
    run = shared.control.trigger("sees", RunRequest(logical_date=DAY), **by)
    waiting = shared.reached("sees", run.run_id, TaskState.UP_FOR_RESCHEDULE)
    assert waiting.try_number == 1
    shared.control.trigger("seen", RunRequest(logical_date=DAY), **by)
    done = shared.reached("sees", run.run_id, TaskState.SUCCESS, TaskState.FAILED)
    assert (done.state, done.try_number) == (TaskState.SUCCESS, 1)


def test_s16_a_waiting_trigger_gives_its_one_worker_to_its_child(rig: Rig) -> None:
    waits = "wait_for_completion=True, poke_interval=0.2"
    for name in ("one", "two"):
        add_pair(rig, name, waits)
    rig.start_worker("-Q", "default", "-c", "1")
    started = {name: rig.trigger(name) for name in ("one", "two")}
    for name, run_id in started.items():
        ended = rig.reached(name, run_id, TaskState.SUCCESS, TaskState.FAILED)
        assert (ended.state, ended.try_number, ended.reason) == (TaskState.SUCCESS, 1, None)
        (run,) = runs_of(rig, f"{name}_child")
        assert run.state == "success"
        pushed = rig.reads.xcom(name, run_id, "t", "trigger_run_id")
        assert pushed.value == run.run_id


def test_s16_the_time_limit_of_a_waiting_trigger_counts_all_its_looks(
    shared: Rig, worker: Worker
) -> None:
    waits = "wait_for_completion=True, poke_interval=0.2, deferrable=True"
    add_pair(shared, "limited", f"{waits}, execution_timeout=1.5, retries=1, retry_delay=0")
    shared.control.pause("limited_child")
    run_id = shared.trigger("limited")
    ended = shared.reached("limited", run_id, TaskState.SUCCESS, TaskState.FAILED)
    assert (ended.state, ended.try_number) == (TaskState.FAILED, 2)
    assert str(ended.reason).startswith("timed out after 1.5 s")
    assert [run.state for run in runs_of(shared, "limited_child")] == ["queued", "queued"]
