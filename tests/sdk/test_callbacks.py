"""Callbacks are checked where they are written and called apart from each other."""

import logging
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from orchestrator.core.outcomes import Succeeded
from orchestrator.core.specs import CallbackKind, DeadlineSpec
from orchestrator.errors import DagInvalidError
from orchestrator.sdk import (
    DAG,
    AsyncCallback,
    BaseNotifier,
    Context,
    DeadlineAlert,
    DeadlineReference,
    EmptyOperator,
    PythonOperator,
    SyncCallback,
    TemplateError,
    task,
)
from orchestrator.sdk.callbacks import Delivery
from orchestrator.sdk.exceptions import TaskTimeoutError
from tests.sdk.tries import try_task


def note(context: Any) -> None:
    """Do nothing with the context."""


class Page(BaseNotifier):
    template_fields = ("message",)

    def __init__(self, message: str, sent: list[str]) -> None:
        super().__init__()
        self.message = message
        self.sent = sent

    def notify(self, context: Any) -> None:
        self.sent.append(self.message)


def test_a_spec_says_which_kinds_there_are_and_not_what_they_do() -> None:
    with DAG("d", on_failure_callback=note, on_success_callback=[note, note]) as made:
        EmptyOperator(task_id="plain")
        PythonOperator(
            task_id="t",
            python_callable=print,
            on_execute_callback=note,
            on_retry_callback=[],
            on_skipped_callback=(note,),
        )
    spec = made.spec()
    assert spec.callbacks == (CallbackKind.FAILURE, CallbackKind.SUCCESS)
    assert [each.callbacks for each in spec.tasks] == [
        (),
        (CallbackKind.EXECUTE, CallbackKind.SKIPPED),
    ]


def test_default_args_give_every_task_callbacks() -> None:
    with DAG("d", default_args={"on_failure_callback": note}) as made:
        EmptyOperator(task_id="a")
        EmptyOperator(task_id="b", on_failure_callback=None)
    a, b = made.spec().tasks
    assert (a.callbacks, b.callbacks) == ((CallbackKind.FAILURE,), ())


def test_s9_an_empty_operator_with_a_callback_needs_a_worker() -> None:
    with DAG("d") as made:
        EmptyOperator(task_id="a")
        EmptyOperator(task_id="b", on_success_callback=note)
    assert [each.needs_worker for each in made.spec().tasks] == [False, True]


def test_a_task_is_no_callback() -> None:
    @task
    def report() -> None: ...

    with pytest.raises(DagInvalidError, match=r"is given <@task .*report>, a task; give it"):
        DAG("d", on_failure_callback=report)


def test_more_functions_than_anybody_needs_are_refused() -> None:
    with pytest.raises(DagInvalidError, match="has 33 functions; at most 32 are allowed"):
        DAG("d", on_failure_callback=[note] * 33)


def test_s22_on_execute_comes_between_pre_execute_and_execute() -> None:
    seen = []

    class Operator(PythonOperator):
        def pre_execute(self, context: Any) -> None:
            seen.append("pre")

    with DAG("d") as made:
        Operator(
            task_id="t",
            python_callable=lambda: seen.append("execute"),
            on_execute_callback=lambda context: seen.append(context["ti"].task_id),
        )
    assert isinstance(try_task(made, "t"), Succeeded)
    assert seen == ["pre", "t", "execute"]


def test_s17_a_callback_that_raises_is_logged_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen = []

    def breaks(context: Any) -> None:
        raise ValueError("no network")

    with DAG("d") as made:
        PythonOperator(
            task_id="t",
            python_callable=lambda: 1,
            on_execute_callback=[breaks, lambda context: seen.append("called")],
        )
    with caplog.at_level(logging.ERROR, logger="orchestrator.task"):
        assert isinstance(try_task(made, "t"), Succeeded)
    assert seen == ["called"]
    assert "the callback breaks failed" in caplog.text


def test_an_attempt_calls_what_is_left_and_remembers_what_is_done() -> None:
    seen = []

    def breaks(context: Any) -> None:
        raise SystemExit(3)

    functions = [lambda _: seen.append("first"), breaks, lambda _: seen.append("last")]
    attempt = Delivery(functions)
    attempt.call({})
    assert (attempt.delivered, attempt.error) == ((0, 2), "breaks: SystemExit: 3")
    again = Delivery(functions, delivered=attempt.delivered)
    again.call({})
    assert again.delivered == (0, 2)
    assert seen == ["first", "last"]


def test_o9_one_that_hangs_does_not_keep_those_behind_it_from_being_called() -> None:
    called: list[str] = []

    def hang(_context: object) -> None:
        called.append("hang")
        raise TaskTimeoutError  # as the worker raises it in what takes too long

    def tell(_context: object) -> None:
        called.append("tell")

    first = Delivery([hang, tell], attempt=1)
    with pytest.raises(TaskTimeoutError):
        first.call({})
    second = Delivery([hang, tell], delivered=first.delivered, attempt=2)
    with pytest.raises(TaskTimeoutError):
        second.call({})

    assert called == ["hang", "tell", "hang"]
    assert second.delivered == (1,)


def test_an_async_callback_is_run_to_its_end() -> None:
    seen = []

    async def tell(context: Any) -> None:
        seen.append(context["n"])

    attempt = Delivery([tell])
    attempt.call({"n": 1})
    assert (seen, attempt.error) == ([1], None)


def test_a_notifier_renders_its_templates_for_each_call() -> None:
    sent: list[str] = []
    page = Page("{{ run_id }} failed: {{ reason }}", sent)
    for run_id in ("r1", "r2"):
        page(Context(dag=DAG("d"), run_id=run_id, reason="boom"))
    assert sent == ["r1 failed: boom", "r2 failed: boom"]
    assert page.message.startswith("{{"), "the next call finds the template"


def test_a_notifiers_bad_template_names_the_notifier() -> None:
    page = Page("{{ nothing }}", [])
    with pytest.raises(TemplateError, match="notifier Page, template in message: 'nothing' is"):
        page(Context(dag=DAG("d")))


def test_a_notifier_may_be_asynchronous() -> None:
    class Post(Page):
        async def async_notify(self, context: Any) -> None:
            self.sent.append(f"async {self.message}")

    sent: list[str] = []
    attempt = Delivery([Post("hello", sent)])
    attempt.call({"dag": DAG("d")})
    assert (sent, attempt.error) == (["async hello"], None)


NOON = datetime(2026, 3, 1, 12)  # noqa: DTZ001 - a local time of the DAG's zone


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        (DeadlineReference.DAGRUN_QUEUED_AT, {"reference": "queued_at"}),
        (DeadlineReference.DAGRUN_LOGICAL_DATE, {"reference": "logical_date"}),
        (
            DeadlineReference.FIXED_DATETIME(NOON),
            {"reference": "fixed", "fixed_at": datetime(2026, 3, 1, 11, tzinfo=UTC)},
        ),
        (
            DeadlineReference.AVERAGE_RUNTIME(max_runs=5, min_runs=2),
            {"reference": "average_runtime", "max_runs": 5, "min_runs": 2},
        ),
        (
            DeadlineReference.AVERAGE_RUNTIME(max_runs=3),
            {"reference": "average_runtime", "max_runs": 3, "min_runs": 3},
        ),
    ],
)
def test_s17_a_deadline_is_frozen_with_its_reference(
    reference: Any, expected: dict[str, Any]
) -> None:
    alert = DeadlineAlert(reference=reference, interval=timedelta(minutes=15), callback=note)
    spec = DAG("d", timezone="Europe/Berlin", deadline=alert).spec()
    assert spec.deadlines == (DeadlineSpec(index=0, interval_s=900.0, **expected),)


def test_several_deadlines_are_numbered_as_written() -> None:
    def alert(minutes: int) -> DeadlineAlert:
        return DeadlineAlert(
            DeadlineReference.DAGRUN_QUEUED_AT, timedelta(minutes=minutes), partial(note)
        )

    made = DAG("d", deadline=[alert(30), alert(-5)])
    found = [(each.index, each.interval_s) for each in made.spec().deadlines]
    assert found == [(0, 1800.0), (1, -300.0)]


@pytest.mark.parametrize("kind", [AsyncCallback, SyncCallback])
def test_a_wrapped_callback_gets_its_arguments_and_the_context(kind: Any) -> None:
    seen = []

    def tell(text: str, context: Any = None) -> None:
        seen.append((text, context))

    sent: list[str] = []
    kind(tell, kwargs={"text": "late"})({"run_id": "r"})
    kind(Page, kwargs={"message": "{{ run_id }}", "sent": sent})({"dag": DAG("d"), "run_id": "r"})
    kind("tests.sdk.test_callbacks.note")({})
    assert (seen, sent) == ([("late", {"run_id": "r"})], ["r"])


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            lambda: DeadlineAlert("queued_at", timedelta(1), note),
            "reference is 'queued_at'; it must be one of DeadlineReference.DAGRUN_QUEUED_AT",
        ),
        (
            lambda: DeadlineAlert(DeadlineReference.DAGRUN_QUEUED_AT, "1h", note),  # type: ignore[arg-type]
            "interval is '1h'; it must be a timedelta",
        ),
        (
            lambda: DeadlineAlert(DeadlineReference.DAGRUN_QUEUED_AT, timedelta(1), "page"),  # type: ignore[arg-type]
            "callback is 'page'; it must be a function of the context",
        ),
        (
            lambda: DeadlineReference.AVERAGE_RUNTIME(max_runs=2, min_runs=3),
            "min_runs is 3, and cannot exceed max_runs, 2",
        ),
        (lambda: DeadlineReference.AVERAGE_RUNTIME(max_runs=0), "max_runs is 0; it must be at"),
        (lambda: AsyncCallback("page"), "'page' is neither a function nor the dotted path of one"),
        (
            lambda: DAG(
                "d",
                deadline=DeadlineAlert(
                    DeadlineReference.FIXED_DATETIME("noon"),  # type: ignore[arg-type]
                    timedelta(1),
                    note,
                ),
            ),
            "FIXED_DATETIME is 'noon'; it must be a datetime",
        ),
    ],
)
def test_a_wrong_deadline_is_refused_where_it_is_written(write: Any, message: str) -> None:
    with pytest.raises(DagInvalidError) as caught:
        write()
    assert message in str(caught.value)
    assert "(test_callbacks.py:" in str(caught.value)
