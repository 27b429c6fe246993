"""What a DAG says once it is frozen."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, TypedDict
from zoneinfo import ZoneInfo

import pytest

from orchestrator.core.codec import decode_spec, encode_spec
from orchestrator.core.specs import (
    CronSchedule,
    DagSpec,
    DeltaSchedule,
    OnceSchedule,
    ParamSpec,
    RetryPolicy,
    Schedule,
    TaskSpec,
    TriggerRule,
    WeightRule,
)
from orchestrator.sdk import (
    DAG,
    BaseOperator,
    BashOperator,
    EmptyOperator,
    Param,
    PythonOperator,
    TaskGroup,
    dag,
    task,
)
from orchestrator.sdk.scope import collecting, dags_of
from tests.costs import calls_of


def only_task(made: DAG) -> TaskSpec:
    (frozen,) = made.spec().tasks
    return frozen


def test_a_dag_without_arguments_has_the_documented_defaults() -> None:
    assert DAG("d").spec() == DagSpec(dag_id="d", tasks=(), owners=())


def test_every_argument_of_a_dag_arrives() -> None:
    made = DAG(
        "d",
        description="what",
        schedule="@daily",
        start_date=datetime(2024, 3, 31, 1, 30, tzinfo=ZoneInfo("Europe/Berlin")),
        end_date=datetime(2025, 1, 1, tzinfo=UTC),
        catchup=True,
        params={"n": 1},
        max_active_runs=2,
        max_active_tasks=3,
        dagrun_timeout=timedelta(hours=1),
        is_paused_upon_creation=True,
        doc_md="""
            # Title
              indented
        """,
        dag_display_name="The D",
        tags=["b", "a", "b"],
        render_template_as_native_obj=True,
    )
    with made:
        EmptyOperator(task_id="t", owner="zoe")
        EmptyOperator(task_id="u", owner="ann")
    assert made.spec() == DagSpec(
        dag_id="d",
        tasks=(
            TaskSpec(task_id="t", operator="EmptyOperator", owner="zoe", needs_worker=False),
            TaskSpec(task_id="u", operator="EmptyOperator", owner="ann", needs_worker=False),
        ),
        params=(ParamSpec(name="n", has_default=True, default=1),),
        schedule=CronSchedule(expression="@daily", timezone="Europe/Berlin"),
        start_date=datetime(2024, 3, 31, 0, 30, tzinfo=UTC),
        end_date=datetime(2025, 1, 1, tzinfo=UTC),
        timezone="Europe/Berlin",
        catchup=True,
        max_active_runs=2,
        max_active_tasks=3,
        dagrun_timeout_s=3600.0,
        is_paused_upon_creation=True,
        description="what",
        doc_md="# Title\n  indented",
        display_name="The D",
        tags=("a", "b"),
        owners=("ann", "zoe"),
        render_template_as_native_obj=True,
    )


def test_every_argument_of_a_task_arrives() -> None:
    with DAG("d") as made:
        BashOperator(
            task_id="t",
            bash_command="echo {{ ds }}",
            env={"A": "1"},
            owner="ann",
            retries=3,
            retry_delay=timedelta(minutes=1),
            retry_exponential_backoff=True,
            max_retry_delay=600,
            execution_timeout=timedelta(seconds=30),
            trigger_rule="all_done",
            pool="p",
            pool_slots=2,
            priority_weight=-5,
            weight_rule="absolute",
            queue="gpu",
            max_active_tis_per_dag=4,
            max_active_tis_per_dagrun=5,
            doc_md="why",
            task_display_name="The T",
        )
    assert only_task(made) == TaskSpec(
        task_id="t",
        operator="BashOperator",
        trigger_rule=TriggerRule.ALL_DONE,
        retry=RetryPolicy(retries=3, delay_s=60.0, backoff=2.0, max_delay_s=600.0),
        execution_timeout_s=30.0,
        pool="p",
        pool_slots=2,
        priority_weight=-5,
        weight_rule=WeightRule.ABSOLUTE,
        queue="gpu",
        max_active_tis_per_dag=4,
        max_active_tis_per_dagrun=5,
        display_name="The T",
        doc_md="why",
        owner="ann",
        template_fields={"bash_command": "echo {{ ds }}", "env": {"A": "1"}},
    )


@pytest.mark.parametrize("rule", list(TriggerRule))
def test_s2_all_13_trigger_rules_can_be_given_by_name_or_value(rule: TriggerRule) -> None:
    with DAG("d") as made:
        EmptyOperator(task_id="a", trigger_rule=rule)
        EmptyOperator(task_id="b", trigger_rule=rule.value)
    assert [each.trigger_rule for each in made.spec().tasks] == [rule, rule]


SCHEDULES: list[tuple[Any, Schedule]] = [
    (None, None),
    ("@once", OnceSchedule()),
    ("@daily", CronSchedule(expression="@daily")),
    ("@quarterly", CronSchedule(expression="0 0 1 */3 *")),
    ("  0  6 * * 1-5 ", CronSchedule(expression="0 6 * * 1-5")),
    (timedelta(hours=6), DeltaSchedule(seconds=21600.0)),
]


@pytest.mark.parametrize(("given", "frozen"), SCHEDULES)
def test_schedules(given: Any, frozen: Schedule) -> None:
    assert DAG("d", schedule=given).spec().schedule == frozen


ZONES: list[tuple[dict[str, Any], str, datetime]] = [
    ({"start_date": datetime(2024, 1, 1)}, "UTC", datetime(2024, 1, 1, tzinfo=UTC)),  # noqa: DTZ001
    ({"start_date": datetime(2024, 1, 1, tzinfo=UTC)}, "UTC", datetime(2024, 1, 1, tzinfo=UTC)),
    (
        {"start_date": datetime(2024, 7, 1, tzinfo=ZoneInfo("Europe/Berlin"))},
        "Europe/Berlin",
        datetime(2024, 6, 30, 22, tzinfo=UTC),
    ),
    (
        {"start_date": datetime(2024, 7, 1), "timezone": "Europe/Berlin"},  # noqa: DTZ001
        "Europe/Berlin",
        datetime(2024, 6, 30, 22, tzinfo=UTC),
    ),
    (
        {"start_date": datetime(2024, 7, 1, tzinfo=UTC), "timezone": ZoneInfo("Asia/Tokyo")},
        "Asia/Tokyo",
        datetime(2024, 7, 1, tzinfo=UTC),
    ),
    (
        {"start_date": datetime(2024, 7, 1, 2, tzinfo=timezone(timedelta(0), "Z"))},
        "UTC",
        datetime(2024, 7, 1, 2, tzinfo=UTC),
    ),
    (
        {"default_args": {"start_date": datetime(2024, 1, 1, tzinfo=UTC)}},
        "UTC",
        datetime(2024, 1, 1, tzinfo=UTC),
    ),
]


@pytest.mark.parametrize(("arguments", "zone", "start"), ZONES)
def test_start_dates_become_utc(arguments: dict[str, Any], zone: str, start: datetime) -> None:
    spec = DAG("d", **arguments).spec()
    assert (spec.timezone, spec.start_date) == (zone, start)
    assert type(spec.start_date) is datetime


def test_default_args_reach_the_arguments_of_own_operators() -> None:
    class Query(BaseOperator):
        def __init__(self, *, connection: str, limit: int = 1, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.connection, self.limit = connection, limit

        def execute(self, context: Any) -> None: ...

    with DAG("d", default_args={"connection": "db", "limit": 5, "retries": 2}) as made:
        query = Query(task_id="q", limit=7)  # type: ignore[call-arg]
        EmptyOperator(task_id="e")
    assert (query.connection, query.limit, query.retries) == ("db", 7, 2)
    assert [each.retry.retries for each in made.spec().tasks] == [2, 2]


def test_the_default_args_of_airflows_tutorial_are_accepted() -> None:
    arguments = {
        "owner": "airflow",
        "depends_on_past": False,
        "email": ["airflow@example.com"],
        "email_on_failure": False,
        "email_on_retry": False,
        "retries": 1,
        "retry_delay": timedelta(minutes=5),
    }
    with DAG("d", default_args=arguments) as made:
        EmptyOperator(task_id="a")
    assert only_task(made).owner == "airflow"


def test_arguments_that_change_nothing_here_are_accepted() -> None:
    with DAG("d", default_args={"ignore_first_depends_on_past": True}) as made:
        EmptyOperator(task_id="a", doc_rst="x", wait_for_past_depends_before_skipping=False)
    assert only_task(made).task_id == "a"


def test_arguments_about_looks_are_accepted() -> None:
    with DAG("d", orientation="LR") as made, TaskGroup("g", ui_color="red"):
        EmptyOperator(task_id="a", ui_color="blue")
    assert only_task(made).task_id == "g.a"


class Totals(TypedDict):
    total: int


def plain() -> int:
    return 1


def bare_dict() -> dict:  # type: ignore[type-arg]
    return {}


def typed_dict() -> Totals:
    return {"total": 1}


def text_annotation() -> "dict[str, int]":
    return {}


def mapping() -> Mapping[str, int]:
    return {}


def unknown_annotation() -> "Nowhere":  # type: ignore[name-defined]  # noqa: F821
    return {}


def list_of_dicts() -> list[dict[str, int]]:
    return []


@pytest.mark.parametrize(
    ("function", "inferred"),
    [
        (plain, False),
        (bare_dict, True),
        (typed_dict, True),
        (text_annotation, True),
        (mapping, True),
        (unknown_annotation, False),
        (list_of_dicts, False),
    ],
)
def test_multiple_outputs_are_inferred_from_the_annotation(
    function: Callable[..., Any], inferred: bool
) -> None:
    with DAG("d"):
        assert task(function)().operator.multiple_outputs is inferred
        assert task(multiple_outputs=not inferred)(function)().operator.multiple_outputs is (
            not inferred
        )


def test_a_task_function_called_again_gets_a_suffix() -> None:
    @task
    def load() -> None:
        """Load it."""

    with DAG("d") as made:
        load()
        load()
        with TaskGroup("g"):
            load()
            load()
        load.override(task_id="other", retries=9)()
    assert [(each.task_id, each.retry.retries, each.doc_md) for each in made.spec().tasks] == [
        ("g.load", 0, "Load it."),
        ("g.load__1", 0, "Load it."),
        ("load", 0, "Load it."),
        ("load__1", 0, "Load it."),
        ("other", 9, "Load it."),
    ]


def test_kinds_of_task_functions_say_what_they_are() -> None:
    with DAG("d") as made:
        task(plain)()
        task.branch(lambda: None, task_id="b")()
        task.short_circuit(lambda: True, task_id="s")()
        task.bash(lambda: "true", task_id="x")()
    assert [(each.task_id, each.operator) for each in made.spec().tasks] == [
        ("b", "@task.branch"),
        ("plain", "@task"),
        ("s", "@task.short_circuit"),
        ("x", "@task.bash"),
    ]


def test_a_task_function_is_still_the_plain_function() -> None:
    @task(retries=2)
    def double(x: int) -> int:
        """Twice."""
        return 2 * x

    assert double.function(4) == 8
    assert (double.__name__, double.__doc__) == ("double", "Twice.")


def test_an_empty_operator_needs_no_worker_unless_a_subclass_does_something() -> None:
    class Quiet(EmptyOperator):
        pass

    class Loud(EmptyOperator):
        def pre_execute(self, context: Any) -> None:
            self.log.info("loud")

    with DAG("d") as made:
        EmptyOperator(task_id="a")
        Quiet(task_id="b")
        Loud(task_id="c")
    assert [each.needs_worker for each in made.spec().tasks] == [False, False, True]


def test_a_dag_function_makes_a_dag_whose_arguments_are_params() -> None:
    @task
    def fetch(url: Any, n: int) -> None: ...

    @dag(schedule="@daily", params={"other": Param(1, type="integer")}, tags=["x"])
    def etl(url: str = "http://a", n: int = 3) -> None:
        """Fetches."""
        fetch(url, n)

    made = etl(n=4)
    spec = made.spec()
    assert (spec.dag_id, spec.doc_md) == ("etl", "Fetches.")
    assert [(each.name, each.default) for each in spec.params] == [
        ("n", 4),
        ("other", 1),
        ("url", "http://a"),
    ]
    assert spec.tasks[0].template_fields == {
        "op_args": ["{{ params['url'] }}", "{{ params['n'] }}"]
    }


def test_template_fields_are_readable_and_the_same_at_every_import() -> None:
    with DAG("d") as made:
        PythonOperator(
            task_id="t",
            python_callable=lambda *args, **kwargs: None,
            op_args=[{"b", "a"}, object(), print, 1.5, float("nan"), "x" * 5000],
            op_kwargs={"many": list(range(1000))},
        )
    fields = only_task(made).template_fields
    assert fields["op_args"][:5] == [["a", "b"], "<object>", "<print>", 1.5, "nan"]
    assert len(fields["op_args"][5]) == 4097
    assert fields["op_kwargs"]["many"][-1] == "… 800 more"


def test_equal_dags_written_in_another_order_freeze_to_equal_bytes() -> None:
    def build(ids: str) -> bytes:
        with DAG("d", tags=set(ids)) as made:
            made_tasks = {each: EmptyOperator(task_id=each) for each in ids}
            for each in ids[1:] if ids[0] == "a" else ids[:-1]:
                made_tasks["a"] >> made_tasks[each]
        return encode_spec(made.spec())

    assert build("abcd") == build("dcba")


def test_a_spec_survives_the_codec() -> None:
    with DAG("d", schedule=timedelta(hours=1), params={"n": Param(1, type="integer")}) as made:
        BashOperator(task_id="t", bash_command="true")
    assert decode_spec(encode_spec(made.spec())) == made.spec()


def test_dags_are_found_in_with_blocks_and_in_variables() -> None:
    with collecting() as found:
        with DAG("a"):
            pass
        b = DAG("b")
        with DAG("c") as c:
            pass
    assert [each.dag_id for each in dags_of({"b": b, "c": c, "n": 1}, found)] == ["a", "c", "b"]


def test_a_dag_whose_block_fails_is_not_found() -> None:
    with collecting() as found, pytest.raises(ZeroDivisionError), DAG("a"):
        _ = 1 // 0
    assert found == []


def test_building_and_freezing_cost_the_same_for_each_of_many_tasks() -> None:
    def build(tasks: int) -> None:
        with DAG("big", schedule="@daily", default_args={"retries": 2}) as made:
            outputs = [task(plain)() for _ in range(tasks // 2)]
            for number, output in enumerate(outputs[:-1]):
                BashOperator(task_id=f"b{number}", bash_command=f"echo {number}") << output
            EmptyOperator(task_id="end") << outputs
        assert len(decode_spec(encode_spec(made.spec())).tasks) == tasks

    build(10)  # what is cached is cached
    few, many = calls_of(lambda: build(200)), calls_of(lambda: build(1000))
    assert many < 5.5 * few, "a task of a large DAG costs more than one of a small DAG"
    assert many / 1000 < 1500, f"{many / 1000:.0f} Python calls a task"


def test_importing_the_sdk_pulls_in_no_service_library() -> None:
    script = (
        "import sys; import orchestrator.sdk;"
        "heavy = {'sqlalchemy', 'sqlmodel', 'celery', 'redis', 'fastapi', 'pydantic', 'structlog',"
        " 'jinja2', 'jsonschema', 'croniter', 'asyncio'};"
        "print(len(sys.modules), sorted(heavy & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    modules, heavy = answer.split(maxsplit=1)
    assert heavy.strip() == "[]"
    assert int(modules) < 200, "what an import of the SDK loads costs every start of every parser"


def test_numbers_among_the_keys_of_a_params_schema_become_text() -> None:
    shown = {1: "one", 2: "two"}
    with DAG("d", params={"n": Param(1, enum=[1, 2], values_display=shown)}) as made:
        pass
    assert made.spec().params[0].schema["values_display"] == {"1": "one", "2": "two"}
