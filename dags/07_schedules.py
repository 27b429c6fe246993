"""07 Schedules: cron in a time zone, an interval, and what a run knows of its date.

These start paused: `orchestrator dags unpause nightly` lets them run.
"""

from datetime import UTC, datetime, timedelta

from orchestrator.sdk import DAG, task


@task
def for_date(day: str, run_type: str) -> str:
    return f"{run_type} run for {day}"


with DAG(
    dag_id="nightly",
    schedule="30 2 * * *",
    # 02:30 in New York, once a day, also on the two days a year when clocks change.
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    timezone="America/New_York",
    catchup=False,
    is_paused_upon_creation=True,
    tags=["tutorial"],
):
    for_date("{{ ds }}", "{{ dag_run.run_type }}")

with DAG(
    dag_id="every_six_hours_since_new_year",
    schedule=timedelta(hours=6),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=True,
    max_active_runs=4,
    is_paused_upon_creation=True,
    tags=["tutorial"],
):
    for_date("{{ ts }}", "{{ dag_run.run_type }}")
