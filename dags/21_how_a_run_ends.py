"""21 How a run ends: by its leaves, by all tasks, by some, or at the first failure.

A run has failed if one of its last tasks has. `run_state="all"` counts every failure, a list counts
those of the named tasks. `fail_fast` ends what has not run yet at the first failure; whether the
run has failed by it is still for `run_state` to say.
"""

from orchestrator.sdk import DAG, EmptyOperator, TriggerRule, task

with DAG(
    dag_id="how_a_run_ends",
    description="run_state: what is nice to have may fail, what counts is named.",
    run_state=["load", "publish"],
    tags=["tutorial"],
):

    @task
    def load() -> int:
        return 3

    @task
    def publish(rows: int) -> str:
        return f"{rows} rows are out"

    # A leaf that fails: by the default, run_state="leaves", the run would have failed.
    @task
    def tell_the_press(message: str) -> None:
        raise ConnectionError(f"nobody wanted to know that {message}")

    tell_the_press(publish(load()))

with DAG(
    dag_id="fail_fast",
    description="The first failure ends what has not begun; a teardown would still run.",
    fail_fast=True,  # with run_state="all" the run would have failed: as it is, no leaf has
    tags=["tutorial"],
):

    @task(priority_weight=10)
    def check_licence() -> None:
        raise PermissionError("the licence has run out")

    @task
    def expensive() -> None:
        print("this is not reached when check_licence has failed before")

    check_licence() >> EmptyOperator(task_id="never", trigger_rule=TriggerRule.ALL_SUCCESS)
    expensive()
