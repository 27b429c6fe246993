"""06 Limits: pools, priorities, and caps on how much runs at a time.

`tasks explain` names the limit that a waiting task is under and who holds it.
"""

import time

from orchestrator.sdk import DAG, WeightRule, task

with DAG(
    dag_id="limits",
    description="max_active_tasks, a cap on one task, pool slots and priority weights.",
    max_active_runs=2,
    max_active_tasks=3,
    tags=["tutorial"],
):

    @task(max_active_tis_per_dag=1)
    def one_at_a_time_over_all_runs() -> None:
        time.sleep(0.2)

    @task(pool="default_pool", pool_slots=2)
    def takes_two_slots() -> None:
        time.sleep(0.2)

    one_at_a_time_over_all_runs()
    takes_two_slots()
    for number in range(4):

        @task(
            task_id=f"by_priority_{number}", priority_weight=number, weight_rule=WeightRule.ABSOLUTE
        )
        def by_priority(weight: int) -> int:
            return weight

        by_priority(number)
