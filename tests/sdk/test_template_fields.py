"""What may be a template may be the output of a task: for each operator that there is."""

import inspect
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest

from orchestrator import sdk
from orchestrator.sdk import DAG, BaseOperator, DateTimeSensor, FileSensor, XComArg, task
from orchestrator.testing import run_dag

LATER = datetime(2026, 1, 2, tzinfo=UTC)


def work() -> None:
    pass


# What else an operator must be given, by the argument's name.
NEEDED: dict[str, Any] = {
    "delta": timedelta(days=1),
    "python_callable": work,
    "week_day": "Monday",
}
OF_OPERATORS: dict[str, dict[str, Any]] = {
    "BranchDateTimeOperator": {"target_lower": datetime(2026, 1, 1, tzinfo=UTC)}
    | {"target_upper": LATER},
    "DateTimeSensor": {"target_time": LATER},
    "TimeSensor": {"target_time": time(8)},
}
# A marker is read when its DAG is, not when it runs; a template field that is no argument is made.
EXCEPT = {
    ("ExternalTaskMarker", "external_dag_id"),
    ("ExternalTaskMarker", "external_task_id"),
    ("EmailOperator", "mail_subject"),
}
ALTERNATIVES = {
    "external_task_ids": "external_task_id",
    "external_task_group_id": "external_task_id",
}


def operators() -> dict[str, Any]:
    named = {name: getattr(sdk, name) for name in sdk.__all__}
    return {
        name: each
        for name, each in named.items()
        if isinstance(each, type) and issubclass(each, BaseOperator)
    }


def needed(operator: Any) -> dict[str, Any]:
    names = [
        parameter.name
        for cls in operator.__mro__
        if "__init__" in vars(cls)
        for parameter in inspect.signature(inspect.unwrap(cls.__init__)).parameters.values()
        if parameter.default is parameter.empty and parameter.kind is parameter.KEYWORD_ONLY
    ]
    arguments = {name: NEEDED.get(name, "x") for name in names} | OF_OPERATORS.get(
        operator.__name__, {}
    )
    return arguments | ({"conn_id": "x"} if "SQL" in operator.__name__ else {})


CASES = [
    (name, field)
    for name, operator in operators().items()
    for field in operator.template_fields
    if (name, field) not in EXCEPT
]


@pytest.mark.parametrize(("name", "field"), CASES)
def test_a_template_field_takes_the_output_of_a_task(name: str, field: str) -> None:
    operator = operators()[name]
    with DAG("d") as dag:
        source: Any = task(lambda: 1, task_id="source")()
        arguments = needed(operator) | {field: source}
        arguments.pop(ALTERNATIVES.get(field, ""), None)
        made = operator(task_id="t", **arguments)
    assert isinstance(getattr(made, field), XComArg | dict | list)
    (spec,) = [each for each in dag.spec().tasks if each.task_id == "t"]
    assert spec.upstream == ("source",)


def test_sensors_wait_for_what_a_task_returned(tmp_path: Any) -> None:
    there = tmp_path / "there"
    there.touch()

    @task
    def find() -> str:
        return str(there)

    @task
    def when() -> datetime:
        return datetime.now(UTC) + timedelta(minutes=3)

    with DAG("d") as dag:
        FileSensor(task_id="file", filepath=find())
        DateTimeSensor(task_id="date", target_time=when())
    result = run_dag(dag)
    assert {result["file"].state, result["date"].state} == {"success"}
