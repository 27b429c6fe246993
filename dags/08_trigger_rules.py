"""08 Trigger rules: all of them over one task that succeeds, one that fails and one that skips.

Look at the run to learn them: each task is named after its rule. The run ends failed, because a
leaf task may not be failed or upstream_failed for a run to succeed.
"""

from orchestrator.sdk import DAG, AirflowFailException, AirflowSkipException, TriggerRule, task

with DAG(
    dag_id="trigger_rules",
    description="The thirteen trigger rules side by side.",
    tags=["tutorial"],
):

    @task
    def succeeds() -> None: ...

    @task
    def fails() -> None:
        raise AirflowFailException("on purpose")

    @task
    def skips() -> None:
        raise AirflowSkipException("on purpose")

    @task
    def runs() -> str:
        return "its rule let it run"

    upstream = [succeeds(), fails(), skips()]
    for rule in TriggerRule:
        upstream >> runs.override(task_id=rule.value, trigger_rule=rule)()
