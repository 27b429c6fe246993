"""12 When things fail: retries by exception, callbacks, a notifier of your own, a deadline."""

from datetime import timedelta

from orchestrator.sdk import (
    DAG,
    BaseNotifier,
    DeadlineAlert,
    DeadlineReference,
    ExceptionRetryPolicy,
    RetryAction,
    RetryRule,
    TriggerRule,
    task,
)


class Note(BaseNotifier):
    """Prints a line; yours would send it. What `template_fields` names may be a template."""

    template_fields = ("text",)

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def notify(self, context) -> None:  # noqa: ARG002 - the text is rendered already
        print(self.text)


def release(context) -> None:
    """A callback is any function of the context; `exception` is what ended the try."""
    print(f"releasing what {context['ti'].task_id} held, because of: {context['exception']}")


POLICY = ExceptionRetryPolicy(
    rules=[
        # The service is asleep: come back soon, whatever retry_delay says.
        RetryRule(ConnectionError, RetryAction.RETRY, retry_delay=timedelta(seconds=1)),
        # No use in trying again.
        RetryRule([PermissionError, ValueError], RetryAction.FAIL, reason="it would fail again"),
    ],
)

with DAG(
    dag_id="when_things_fail",
    description="A retry that helps, a failure for good, and who is told.",
    default_args={"retries": 3, "retry_policy": POLICY},
    on_success_callback=Note("{{ dag_run.run_id }} is through"),
    on_failure_callback=Note("{{ dag_run.run_id }} failed: {{ reason }}"),
    deadline=DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(minutes=15),
        callback=Note("{{ dag_run.run_id }} is late"),
    ),
    tags=["tutorial"],
):

    @task(on_retry_callback=Note("try {{ ti.try_number }} failed: {{ exception }}"))
    def asks_a_sleepy_service(*, try_number: int) -> str:
        if try_number == 1:
            raise ConnectionError("nobody answered")
        return f"answered on try {try_number}"

    @task(on_failure_callback=[release, Note("{{ ti.task_id }} needs a person: {{ reason }}")])
    def reads_a_broken_file() -> None:
        raise ValueError("column 3 is missing")

    @task(trigger_rule=TriggerRule.ALL_DONE)
    def report(answer: str | None) -> str:
        return f"the service {answer}; the file is for a person to look at"

    reads_a_broken_file() >> report(asks_a_sleepy_service())
