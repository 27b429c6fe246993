"""22 Waiting and other runs: sensors, conditions, async tasks, an interpreter of its own, and a run
that starts another."""

import asyncio
from datetime import timedelta

from orchestrator.sdk import (
    DAG,
    ExternalTaskSensor,
    LatestOnlyOperator,
    Param,
    PokeReturnValue,
    TimeDeltaSensor,
    TriggerDagRunOperator,
    task,
)

with DAG("waiting", params={"careful": True}):

    @task.sensor(mode="reschedule", poke_interval=1, timeout=timedelta(minutes=5))
    def delivery(ti) -> PokeReturnValue:
        """Between two looks it holds no worker: waits of hours cost nothing."""
        here = ti.start_date > ti.began_at  # a look after the first one
        return PokeReturnValue(is_done=here, xcom_value=["a.csv", "b.csv"])

    @task
    async def fetch(names: list[str]) -> list[int]:
        """An `async def` is a task like any other; what cuts it short cancels it."""

        async def size_of(name: str) -> int:
            await asyncio.sleep(0)
            return len(name)

        return list(await asyncio.gather(*(size_of(name) for name in names)))

    @task.run_if(lambda context: context["params"]["careful"], "nobody asked for care")
    @task
    def check(sizes: list[int]) -> None:
        assert all(sizes)

    @task(isolation="process")
    def crunch(sizes: list[int]) -> int:
        """A crash or a leak in here ends with this try, not with the worker."""
        return sum(sizes)

    sizes = fetch(delivery())
    check(sizes)
    # Of runs that catch up, only the latest goes on from here.
    (
        TimeDeltaSensor(task_id="settle", delta=timedelta(0))
        >> LatestOnlyOperator(task_id="latest_only")
        >> crunch(sizes)
    )

with DAG("monthly_report", params={"month": Param("2026-01", type="string")}):

    @task
    def write(params) -> str:
        return f"the report of {params['month']}"

    write()

with DAG("starts_another"):
    # The conf is checked against the other DAG's params, as when a person triggers it.
    TriggerDagRunOperator(
        task_id="start_report",
        trigger_dag_id="monthly_report",
        conf={"month": "{{ macros.ds_format(ds, '%Y-%m-%d', '%Y-%m') }}"},
    ) >> ExternalTaskSensor(
        task_id="see_what_else_ran",
        external_dag_id="waiting",
        mode="reschedule",
        timeout=timedelta(minutes=1),
        soft_fail=True,  # nothing of that date: skipped, not failed
    )
