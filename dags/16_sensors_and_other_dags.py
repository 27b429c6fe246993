"""16 Sensors and other DAGs: tasks that wait, and tasks that start and watch other runs.

    orchestrator dags trigger shop_opens

A sensor in mode "reschedule" gives its worker back between two looks and keeps its try. The DAG
`bakery` is one that `shop_opens` starts; unpause both.
"""

from datetime import timedelta
from pathlib import Path
from tempfile import gettempdir

from orchestrator.sdk import (
    DAG,
    EmptyOperator,
    ExternalTaskSensor,
    FileSensor,
    LatestOnlyOperator,
    Param,
    PokeReturnValue,
    TriggerDagRunOperator,
    task,
)

with DAG(
    dag_id="bakery",
    description="What shop_opens starts and waits for.",
    params={"rolls": Param(10, type="integer", minimum=1)},
    tags=["tutorial"],
):

    @task
    def bake(*, params: dict) -> int:
        return params["rolls"]

    bake()

with DAG(
    dag_id="shop_opens",
    description="FileSensor, @task.sensor, TriggerDagRun, ExternalTaskSensor, LatestOnly.",
    tags=["tutorial"],
):

    @task
    def leave_the_key(run_id: str) -> str:
        path = Path(gettempdir()) / f"tutorial-key-{run_id.replace(':', '-')}"
        path.touch()
        return str(path)

    key = leave_the_key("{{ run_id }}")
    key_is_there = FileSensor(
        task_id="key_is_there",
        filepath=key,
        mode="reschedule",
        poke_interval=timedelta(seconds=1),
        timeout=timedelta(minutes=1),
    )

    # A sensor may also find something: the value is its XCom.
    @task.sensor(poke_interval=1, timeout=60, soft_fail=True)
    def how_cold(*, ti) -> PokeReturnValue:
        return PokeReturnValue(is_done=ti.try_number > 0, xcom_value=-4)

    @task
    def take_the_key(path: str, degrees: int) -> str:
        Path(path).unlink(missing_ok=True)
        return f"in, out of {degrees} degrees"

    # Its conf is checked against the params of the other DAG, before there is a run.
    order = TriggerDagRunOperator(
        task_id="order_rolls",
        trigger_dag_id="bakery",
        trigger_run_id="for_{{ run_id }}",
        logical_date="{{ dag_run.run_after.isoformat() }}",
        conf={"rolls": 40},
        wait_for_completion=True,
        poke_interval=1,
    )
    # The same wait, for one task of a run that somebody else has started.
    rolls_are_baked = ExternalTaskSensor(
        task_id="rolls_are_baked",
        external_dag_id="bakery",
        external_task_id="bake",
        execution_date_fn=lambda _logical_date, *, dag_run: dag_run.run_after,
        mode="reschedule",
        poke_interval=1,
        timeout=60,
    )

    # Of runs that were missed only the latest goes on from here; one you asked for always does.
    only_today = LatestOnlyOperator(task_id="only_today")

    inside = take_the_key(key, how_cold())
    key_is_there >> inside >> order >> rolls_are_baked
    rolls_are_baked >> only_today >> EmptyOperator(task_id="put_up_the_sign")
