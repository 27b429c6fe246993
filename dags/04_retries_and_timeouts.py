"""04 Retries and timeouts: what happens when things go wrong, on purpose and harmlessly."""

from datetime import timedelta

from orchestrator.sdk import DAG, AirflowFailException, AirflowSkipException, TriggerRule, task

with DAG(
    dag_id="retries_and_timeouts",
    description="A try that fails and the next that works, a timeout, a skip, and a clean-up.",
    default_args={"retries": 2, "retry_delay": timedelta(seconds=1)},
    dagrun_timeout=timedelta(minutes=5),
    tags=["tutorial"],
):

    @task(retry_exponential_backoff=True, max_retry_delay=timedelta(seconds=5))
    def flaky(*, try_number: int) -> str:
        if try_number < 2:
            raise ConnectionError("the service did not answer; the next try will find it awake")
        return f"worked on try {try_number}"

    @task(execution_timeout=timedelta(seconds=30), retries=0)
    def bounded(result: str) -> str:
        return result.upper()

    @task
    def nothing_new() -> None:
        raise AirflowSkipException("no new files since the last run")

    @task
    def no_use_to_retry() -> None:
        # Another try would fail in the same way, so none is made, whatever `retries` says.
        raise AirflowFailException("the contract says 3 columns, the file has 2")

    @task(trigger_rule=TriggerRule.ALL_DONE)
    def clean_up() -> str:
        return "runs whatever happened above"

    [bounded(flaky()), nothing_new(), no_use_to_retry()] >> clean_up()
