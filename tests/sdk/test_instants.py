"""Instants in the context are what DAG files written for Airflow expect."""

from datetime import UTC, datetime, time
from typing import Any

import pendulum
import pytest

from orchestrator.core.outcomes import Succeeded
from orchestrator.core.specs import CronSchedule
from orchestrator.sdk import DAG, BaseOperator, Context
from orchestrator.sdk.instants import plain_utc
from tests.sdk.tries import LOGICAL_DATE, try_task


class Show(BaseOperator):
    """Returns a rendered text."""

    template_fields = ("text",)

    def __init__(self, *, text: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.text = text

    def execute(self, context: Context) -> str:
        for name in ("logical_date", "data_interval_start", "data_interval_end"):
            assert isinstance(context[name], pendulum.DateTime)
        run = context["dag_run"]
        assert isinstance(run.logical_date, pendulum.DateTime)
        assert isinstance(run.run_after, pendulum.DateTime)
        return self.text


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ logical_date }}", str(LOGICAL_DATE)),
        ("{{ logical_date.isoformat() }}", LOGICAL_DATE.isoformat()),
        ("{{ data_interval_start.subtract(days=1) | ds }}", "2024-05-05"),
        ("{{ data_interval_end.add(months=1).to_date_string() }}", "2024-06-06"),
        (
            "{{ logical_date.in_timezone('Asia/Seoul').to_datetime_string() }}",
            "2024-05-06 16:08:09",
        ),
        ("{{ dag_run.logical_date.format('YYYY/MM/DD') }}", "2024/05/06"),
    ],
)
def test_templates_of_airflow_render_as_there(template: str, text: str) -> None:
    with DAG("d") as made:
        Show(task_id="t", text=template)
    outcome = try_task(made, "t")
    assert isinstance(outcome, Succeeded), outcome
    assert outcome.xcoms["return_value"] == text


def test_a_dag_may_be_dated_with_pendulum() -> None:
    with DAG(
        "d", schedule="@daily", start_date=pendulum.datetime(2024, 3, 1, tz="America/New_York")
    ) as made:
        pass
    spec = made.spec()
    assert spec.start_date == datetime(2024, 3, 1, 5, tzinfo=UTC)
    assert spec.timezone == "America/New_York"
    assert isinstance(spec.schedule, CronSchedule)
    assert spec.schedule.timezone == "America/New_York"


def test_what_leaves_the_sdk_is_pythons_own() -> None:
    paris = pendulum.datetime(2026, 7, 1, 12, 30, 1, 7, tz="Europe/Paris")
    plain = plain_utc(paris)
    assert type(plain) is datetime
    assert plain == datetime(2026, 7, 1, 10, 30, 1, 7, tzinfo=UTC)
    assert type(plain.time()) is time
    assert plain_utc(datetime(2026, 7, 1)) == datetime(2026, 7, 1, tzinfo=UTC)  # noqa: DTZ001
