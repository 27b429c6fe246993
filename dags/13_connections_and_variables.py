"""13 Connections and Variables: what an operator sets once, and no DAG file holds.

    orchestrator connections add warehouse --uri -   # type the URI: it is in no process list
    orchestrator variables set tutorial_threshold 60

Tasks and templates read them by name; they are found in installed secrets backends, the environment
(AIRFLOW_CONN_WAREHOUSE, AIRFLOW_VAR_TUTORIAL_THRESHOLD) or the store, where they lie encrypted.
What is secret in them is *** in every log, error and XCom that people see. This DAG runs without
any: it brings a default for each.
"""

import os
from pathlib import Path

from orchestrator.sdk import (
    DAG,
    AirflowNotFoundException,
    BashOperator,
    Connection,
    SqlHook,
    Variable,
    task,
)

WEATHER = Path(__file__).parent / "data" / "seattle-weather.csv"

with DAG(
    dag_id="connections_and_variables",
    description="A database by its Connection, a threshold by its Variable, and a masked secret.",
    tags=["tutorial"],
):

    def warehouse() -> SqlHook:
        """The database that somebody has set up, or a file of our own."""
        try:
            return SqlHook(connection=Connection.get("warehouse"))
        except AirflowNotFoundException:
            home = Path(os.environ.get("ORCHESTRATOR_HOME", ".orchestrator")).absolute()
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            own = Connection("warehouse", "sqlite", host=str(home / "tutorial.db"))
            return SqlHook(connection=own)

    @task
    def load() -> int:
        header, *lines = WEATHER.read_text().splitlines()
        rain = header.split(",").index("precipitation")
        rows = [(line.split(",")[0], float(line.split(",")[rain])) for line in lines]
        hook = warehouse()
        hook.run(
            ["DROP TABLE IF EXISTS tutorial_rain", "CREATE TABLE tutorial_rain (day TEXT, mm REAL)"]
        )
        return hook.insert_rows("tutorial_rain", rows, ["day", "mm"])

    @task
    def wet_days() -> int:
        threshold = float(Variable.get("tutorial_threshold", default="30"))
        [days] = warehouse().get_first(
            f"SELECT count(*) FROM tutorial_rain WHERE mm >= {threshold:f}"
        )
        print(f"{days} days with at least {threshold:g} mm")
        return days

    tell = BashOperator(
        task_id="tell",
        bash_command="echo threshold {{ var.value.get('tutorial_threshold', '30') }}, "
        "password {{ conn.get('warehouse', {'password': 'none'}).password }}",
    )

    load() >> wet_days() >> tell
