"""17 Keys, rates and critical paths: limits that follow the data, and an order that learns.

06 has the limits by count. Here tasks of one tenant exclude each other, over all DAGs and runs
(`concurrency_key`), a service is called so often a minute and no more (`rate_limit`), and what the
rest of the run waits longest for goes first (`critical_path`, measured in earlier runs).
"""

from orchestrator.sdk import DAG, Param, WeightRule, task

with DAG(
    dag_id="keys_and_rates",
    description="concurrency_key, rate_limit, weight_rule critical_path.",
    params={"tenant": Param("acme", type="string")},
    default_args={"weight_rule": WeightRule.CRITICAL_PATH},
    max_active_runs=8,
    tags=["tutorial"],
):

    @task(concurrency_key="ledger of {{ params.tenant }}", concurrency_limit=1)
    def post(entry: int) -> int:
        return entry

    # Up to 60 starts in a minute, over all runs; the next waits its turn and says so.
    @task(rate_limit="60/m", retries=2)
    def ask_the_bank(entry: int) -> bool:
        return entry > 0

    @task
    def balance(entries: list[int], answers: list[bool]) -> int:
        return sum(entry for entry, is_fine in zip(entries, answers, strict=True) if is_fine)

    balance(post.expand(entry=[100, -40, 7]), ask_the_bank.expand(entry=[100, -40, 7]))
