"""03 Branching: choose a way, short-circuit the rest, and join again.

A task below a branch is skipped when the branch did not choose it. A join behind a branch needs a
trigger rule that a skipped upstream does not stop: `none_failed_min_one_success`.
"""

from orchestrator.sdk import DAG, EmptyOperator, Label, Param, TriggerRule, task

with DAG(
    dag_id="branching",
    description="@task.branch, @task.short_circuit, edge labels, and a join that does not skip.",
    params={"amount": Param(120, type="number", minimum=0)},
    tags=["tutorial"],
):

    @task.branch
    def size_of(*, params: dict) -> str:
        return "large" if params["amount"] >= 100 else "small"

    @task
    def large() -> str:
        return "two people approve"

    @task
    def small() -> str:
        return "approved automatically"

    @task.short_circuit(ignore_downstream_trigger_rules=False)
    def anything_to_pay(*, params: dict) -> bool:
        return params["amount"] > 0

    choice = size_of()
    joined = EmptyOperator(task_id="joined", trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS)
    choice >> Label("100 or more") >> large() >> joined
    choice >> Label("less") >> small() >> joined

    pay = EmptyOperator(task_id="pay")
    archive = EmptyOperator(task_id="archive", trigger_rule=TriggerRule.ALL_DONE)
    joined >> anything_to_pay() >> pay >> archive
