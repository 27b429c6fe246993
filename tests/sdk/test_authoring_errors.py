"""Every mistake in a DAG file is one sentence: the DAG, the task, the value, the cure, the line."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import DagInvalidError
from orchestrator.sdk import (
    DAG,
    BaseNotifier,
    BaseOperator,
    BashOperator,
    EmptyOperator,
    Label,
    Param,
    PythonOperator,
    ShortCircuitOperator,
    TaskGroup,
    chain,
    cross_downstream,
    dag,
    get_current_context,
    task,
)
from orchestrator.sdk.exceptions import TaskException
from orchestrator.sdk.scope import dags_of

DAG_ARGUMENTS: list[tuple[dict[str, Any], str]] = [
    ({"dag_id": ""}, "DAG '': missing argument 'dag_id'"),
    (
        {"dag_id": "a b"},
        "DAG 'a b': dag_id is 'a b'; only letters, digits and _ . ~ : + - are allowed, and "
        "something other than dots",
    ),
    ({"dag_id": ".."}, "something other than dots"),
    ({"dag_id": "ä"}, "only letters, digits"),
    ({"dag_id": "x" * 251}, "dag_id has 251 characters; at most 250 are allowed"),
    ({"dag_id": 7}, "dag_id is 7; it must be a text"),
    ({"schedul": "@daily"}, "DAG 'd': unknown argument 'schedul'; did you mean 'schedule'?"),
    (
        {"schedule": "@dayly"},
        "schedule is '@dayly'; did you mean '@daily'?; the presets are @once, @hourly",
    ),
    ({"schedule": "0 6 * *"}, "schedule is '0 6 * *', which has 4 fields; a cron expression has"),
    ({"schedule": "daily"}, "schedule is 'daily', which has 1 field; a cron expression has five"),
    ({"schedule": "0 25 * * *"}, "schedule is '0 25 * * *', which is no cron expression: "),
    ({"schedule": "0 0 30 2 *"}, "schedule is '0 0 30 2 *', which never comes"),
    ({"schedule": 5}, "schedule is 5; it must be a cron expression"),
    ({"schedule": [object()]}, "schedule is [<object>]; it must be a cron expression"),
    ({"schedule_interval": "@daily"}, "unknown argument 'schedule_interval'; did you mean 'schedu"),
    ({"concurrency": 3}, "unknown argument 'concurrency'; it is called max_active_tasks"),
    ({"sla": timedelta(hours=1)}, "sla=datetime.timedelta(seconds=3600): SLAs are gone"),
    ({"description": 5}, "description is 5; it must be a text"),
    ({"doc_md": Path("d.md")}, "doc_md is PosixPath('d.md'); it must be a text"),
    ({"template_searchpath": 5}, "template_searchpath is 5; it must be a folder or a list"),
    ({"user_defined_macros": 5}, "user_defined_macros is 5; it must be a dict with text keys"),
    ({"user_defined_filters": ["a"]}, "user_defined_filters is ['a']; it must be a dict"),
    ({"schedule": timedelta(0)}, "schedule is 0:00:00; it must be more"),
    ({"schedule": timedelta(seconds=-1)}, "schedule is -1 day, 23:59:59; it must be more"),
    (
        {"timezone": "Europe/Berln"},
        "timezone is 'Europe/Berln', which is not a known time zone; did you mean 'Europe/Berlin'?",
    ),
    (
        {"start_date": datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=2)))},
        "it must be a named zone, such as ZoneInfo('Europe/Berlin')",
    ),
    ({"start_date": "2024-01-01"}, "start_date is '2024-01-01'; it must be a datetime, or None"),
    (
        {
            "start_date": datetime(2024, 1, 2, tzinfo=UTC),
            "end_date": datetime(2024, 1, 1, tzinfo=UTC),
        },
        "end_date 2024-01-01 00:00:00+00:00 is before start_date 2024-01-02 00:00:00+00:00",
    ),
    ({"catchup": "yes"}, "catchup is 'yes'; it must be True or False"),
    ({"max_active_runs": 0}, "max_active_runs is 0; it must be at least 1"),
    ({"max_active_tasks": 1.5}, "max_active_tasks is 1.5; it must be a whole number"),
    ({"dagrun_timeout": 0}, "dagrun_timeout is 0:00:00; it must be more"),
    ({"tags": "one"}, "tags is 'one'; it must be a list of texts"),
    ({"tags": [""]}, "a tag is ''; it must be a text that is not empty"),
    ({"default_args": ["x"]}, "default_args is ['x']; it must be a dict of argument names"),
    ({"params": ["x"]}, "params is ['x']; it must be a dict of name to default or Param"),
    (
        {"params": {"when": datetime(2024, 1, 1, tzinfo=UTC)}},
        "the default of param 'when' is of type datetime, which is not JSON; use value.isoformat()",
    ),
    (
        {"params": {"n": Param(1, type="intger")}},
        "param 'n' has an invalid JSON schema: ['type']: 'intger' is not valid under any of",
    ),
    (
        {"on_failure_callback": "page"},
        "on_failure_callback is 'page'; it must be a function of the context or a notifier object,"
        " or a list of them",
    ),
    (
        {"on_success_callback": [print, lambda: None]},
        "on_success_callback is called with one argument, the context, but <lambda>() cannot be:"
        " too many positional arguments",
    ),
    (
        {"on_failure_callback": BaseNotifier},
        "on_failure_callback is <BaseNotifier>; it must be a function of the context or a notifier",
    ),
    (
        {"sla_miss_callback": print},
        "sla_miss_callback=<print>: SLAs are gone, as in Airflow 3; give the DAG"
        " deadline=DeadlineAlert(reference=DeadlineReference.DAGRUN_QUEUED_AT, interval=...,",
    ),
    (
        {"deadline": timedelta(hours=1)},
        "deadline is datetime.timedelta(seconds=3600); it must be a DeadlineAlert(reference=...,",
    ),
    (
        {"schedule": "@daily", "params": {"n": Param(type="integer")}},
        "param 'n' has no default, but scheduled runs have nobody to give it a value; give it a "
        "default or set schedule=None",
    ),
    (
        {"schedule": "@daily", "params": {"n": Param(1, type="integer", minimum=5)}},
        "param 'n' is invalid: 1 is less than the minimum of 5; scheduled runs would use this "
        "default",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), DAG_ARGUMENTS)
def test_wrong_arguments_of_a_dag(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DagInvalidError) as caught:
        DAG(**{"dag_id": "d", **arguments})
    assert message in str(caught.value)
    assert "(test_authoring_errors.py:" in str(caught.value)


TASK_ARGUMENTS: list[tuple[dict[str, Any], str]] = [
    ({"task_id": ""}, "DAG 'd', a task: missing argument 'task_id'"),
    ({"task_id": "a/b"}, "DAG 'd', task 'a/b': task_id is 'a/b'; only letters"),
    ({"retrys": 1}, "DAG 'd', task 't': unknown argument 'retrys'; did you mean 'retries'?"),
    ({"retries": -1}, "retries is -1; it must be at least 0"),
    ({"retries": "2"}, "retries is '2'; it must be a whole number"),
    ({"retries": True}, "retries is True; it must be a whole number"),
    ({"retry_delay": -5}, "retry_delay is -1 day, 23:59:55; it must be 0 or more"),
    ({"retry_delay": "5m"}, "retry_delay is '5m'; it must be a timedelta, or a number of seconds"),
    ({"retry_delay": float("nan")}, "retry_delay is nan; it must be finite"),
    ({"retry_exponential_backoff": 0.5}, "retry_exponential_backoff is 0.5; it must be True"),
    ({"max_retry_delay": 0}, "max_retry_delay is 0:00:00; it must be more"),
    ({"execution_timeout": 0}, "execution_timeout is 0:00:00; it must be more"),
    (
        {"trigger_rule": "all_sucess"},
        "trigger_rule is 'all_sucess'; did you mean 'all_success'?; it must be one of all_done, ",
    ),
    ({"trigger_rule": None}, "trigger_rule is None; it must be one of"),
    ({"weight_rule": "down"}, "weight_rule is 'down'; it must be one of absolute, critical_path"),
    ({"pool": ""}, "pool is ''; it must be a text that is not empty"),
    ({"pool_slots": 0}, "pool_slots is 0; it must be at least 1"),
    ({"priority_weight": "high"}, "priority_weight is 'high'; it must be a whole number"),
    ({"queue": ""}, "queue is ''; it must be a text that is not empty"),
    ({"max_active_tis_per_dag": 0}, "max_active_tis_per_dag is 0; it must be at least 1"),
    ({"do_xcom_push": None}, "do_xcom_push is None; it must be True or False"),
    (
        {"run_as_user": "x"},
        "run_as_user='x': this version does not have run_as_user yet; remove the argument",
    ),
    ({"bash_command": "echo {{ ds }"}, "bash_command is no valid template: "),
    ({"provide_context": True}, "unknown argument 'provide_context'; leave it out: functions are"),
    ({"start_date": datetime(2024, 1, 1)}, "start_date belongs to the DAG"),  # noqa: DTZ001
    ({"doc_md": 7}, "doc_md is 7; it must be a text"),
    ({"bash_command": "  "}, "bash_command is empty; it must be a command"),
    ({"env": {"A": "{% if %}"}}, "env is no valid template: Expected an expression"),
    ({"map_index_template": "{{ x }"}, "map_index_template is no valid template: "),
    ({"concurrency_limit": 2}, "concurrency_limit is 2, but there is no concurrency_key"),
    ({"output_encoding": "utf-9"}, "output_encoding is 'utf-9'; it must be an encoding"),
]


@pytest.mark.parametrize(("arguments", "message"), TASK_ARGUMENTS)
def test_wrong_arguments_of_a_task(arguments: dict[str, Any], message: str) -> None:
    def write() -> None:
        with DAG("d") as made:
            BashOperator(**{"task_id": "t", "bash_command": "true", **arguments})
        made.spec()

    with pytest.raises(DagInvalidError) as caught:
        write()
    assert message in str(caught.value)
    assert "(test_authoring_errors.py:" in str(caught.value)


class Closed(BaseOperator):
    """Takes nothing that it does not name."""

    def __init__(self, *, task_id: str, path: str) -> None:
        super().__init__(task_id=task_id)
        self.path = path


class Careless(BaseOperator):
    """Forgets its base class."""

    def __init__(self, *, path: str, **kwargs: Any) -> None:
        self.path = path


def takes_two(a: int, b: int) -> None: ...


def has_own_params(params: dict[str, int] = {}) -> None: ...  # noqa: B006


def cycle() -> None:
    with DAG("d") as made:
        c, a, b = (EmptyOperator(task_id=each) for each in "cab")
        c >> a >> b >> c
        made.spec()


def group_in_order_with_its_content() -> None:
    with DAG("d") as made:
        with TaskGroup("g") as g:
            a = EmptyOperator(task_id="a")
        a >> g
        made.spec()


def edge_between_dags() -> None:
    with DAG("one"):
        a = EmptyOperator(task_id="a")
    with DAG("two"):
        b = EmptyOperator(task_id="b")
    a >> b


def output_between_dags() -> None:
    with DAG("one"):
        a = EmptyOperator(task_id="a")
    with DAG("two") as two:
        task(takes_two)(a.output, 1)
    two.spec()


def output_in_an_argument_that_is_no_template() -> None:
    with DAG("d") as made:
        a = EmptyOperator(task_id="a")
        ShortCircuitOperator(task_id="s", python_callable=print, task_display_name="x").extra = (  # type: ignore[attr-defined]
            a.output
        )
    made.spec()


def two_tasks_of_one_id() -> None:
    with DAG("d"):
        EmptyOperator(task_id="a")
        EmptyOperator(task_id="a")


def positional() -> None:
    with DAG("d"):
        EmptyOperator("a")  # type: ignore[call-arg]


def misspelt_default_argument() -> None:
    with DAG("d", default_args={"retrys": 1}) as made:
        EmptyOperator(task_id="a")
    made.spec()


def misspelt_default_argument_of_a_group() -> None:
    with DAG("d") as made, TaskGroup("g", default_args={"poool": "x"}):
        EmptyOperator(task_id="a")
    made.spec()


def unpacked_output() -> None:
    with DAG("d"):
        _one, _two = EmptyOperator(task_id="a").output


def indexed_output() -> None:
    with DAG("d"):
        EmptyOperator(task_id="a").output[0]  # type: ignore[index]


def late_param() -> None:
    DAG("d", params={"limit": 1}).param("limt")


def wrong_dag_function_argument() -> None:
    @dag
    def etl(url: str) -> None: ...

    etl(ulr="x")


@task
def uncalled() -> None: ...


def uncalled_left_and_right() -> None:
    uncalled >> uncalled


def uncalled_beside_a_list() -> None:
    with DAG("d"):
        [EmptyOperator(task_id="a")] >> uncalled


def uncalled_beside_a_task() -> None:
    with DAG("d"):
        EmptyOperator(task_id="a") << uncalled


def uncalled_as_argument() -> None:
    with DAG("d"):
        task(takes_two)(1, [uncalled])


def task_as_argument() -> None:
    with DAG("d"):
        task(takes_two)(1, b=EmptyOperator(task_id="a"))


def output_of_a_task_without_dag() -> None:
    with DAG("d"):
        a = EmptyOperator(task_id="a")
    a >> task(takes_two)(1, 2)


MISTAKES: list[tuple[Callable[[], Any], str]] = [
    (uncalled_left_and_right, "<@task uncalled>: it is a function, and only a call of it is a"),
    (uncalled_beside_a_list, "only a call of it is a task: write uncalled(...)"),
    (uncalled_beside_a_task, "only a call of it is a task: write uncalled(...)"),
    (uncalled_as_argument, "takes_two() is given <@task uncalled>, a function that was not called"),
    (task_as_argument, "takes_two() is given the task 'a' itself; pass its output: a.output"),
    (lambda: task(uncalled), "@task: <@task uncalled> is no function; @task stands above a `def`"),
    (
        lambda: cross_downstream(EmptyOperator(task_id="a"), []),  # type: ignore[arg-type]
        "cross_downstream: from_tasks is <EmptyOperator: a>; it must be a list of tasks",
    ),
    (lambda: chain("a", "b"), "chain: 'a' is no task, task's output, task group or label"),
    (cycle, "DAG 'd': its tasks wait for each other in a cycle: a >> b >> c >> a; remove one of"),
    (group_in_order_with_its_content, "'g.a' >> 'g' puts a group in order with its own content"),
    (edge_between_dags, "'a' is in DAG 'one' and 'b' in DAG 'two'; an edge stays within one DAG"),
    (
        output_between_dags,
        "DAG 'two', task 'takes_two': it takes the output of 'a', which is in DAG 'one'",
    ),
    (
        output_in_an_argument_that_is_no_template,
        "DAG 'd', task 's': argument 'extra' is given the output of another task, but "
        "ShortCircuitOperator resolves outputs only in its template_fields",
    ),
    (two_tasks_of_one_id, "task 'a': the id 'a' is taken by the task created at test_authoring_"),
    (positional, "EmptyOperator was given 'a' by position; name every argument"),
    (
        misspelt_default_argument,
        "DAG 'd': unknown argument 'retrys' in default_args: no task takes it; did you mean "
        "'retries'?",
    ),
    (
        misspelt_default_argument_of_a_group,
        "DAG 'd', task group 'g': unknown argument 'poool' in default_args: no task takes it; did "
        "you mean 'pool'?",
    ),
    (unpacked_output, "XComArg('a', key='return_value'): the output is not known before the run"),
    (indexed_output, "output[0]: the output is not known before the run"),
    (late_param, "DAG 'd': there is no param 'limt'; did you mean 'limit'?"),
    (wrong_dag_function_argument, "DAG 'etl': etl(): missing a required argument: 'url'"),
    (
        output_of_a_task_without_dag,
        "<@task: takes_two>: it belongs to no DAG; create it inside `with DAG(...)` or pass dag=",
    ),
    (
        lambda: TaskGroup("g", dag=DAG("d"), tooltp="x"),
        "DAG 'd', task group 'g': unknown argument 'tooltp'; did you mean 'tooltip'?",
    ),
    (lambda: TaskGroup("g"), "task group 'g': it belongs to no DAG"),
    (lambda: Label(""), "Label: the text is ''; it must be a text that is not empty"),
    (lambda: Closed(task_id="t", path="p", retries=1), "unknown argument 'retries' of Closed"),  # type: ignore[call-arg]
    (lambda: BashOperator(task_id="t"), "task 't': missing argument 'bash_command' of BashOp"),  # type: ignore[call-arg]
    (
        lambda: Careless(task_id="t", path="p"),
        "Careless.__init__ does not call super().__init__(**kwargs); it must",
    ),
    (
        lambda: task(7),  # type: ignore[call-overload]
        "@task: 7 is no function; @task stands above a `def`",
    ),
    (lambda: task.dokcer, "there is no @task.dokcer in this version; there are bash, branch"),
    (
        lambda: PythonOperator(task_id="t", python_callable="print"),  # type: ignore[arg-type]
        "python_callable is 'print'; it must be a function",
    ),
    (task(lambda: None), "task_id is '<lambda>'; only letters, digits"),
    (lambda: task(partial(takes_two, 1))(2), "a task: missing argument 'task_id'"),
    (lambda: task(takes_two)(1), "takes_two(a: int, b: int) -> None: missing a required argu"),
    (lambda: task(takes_two)(1, 2, 3), "takes_two(a: int, b: int) -> None: too many positional"),
    (lambda: task(takes_two)(1, c=2), "got an unexpected keyword argument 'c'"),
    (
        task(has_own_params),
        "has_own_params() gives its argument 'params' the default {}, but that name is filled in",
    ),
    (
        lambda: dags_of({"a": DAG("d"), "b": DAG("d")}, []),
        "DAG 'd' exists twice in this file: first at test_authoring_errors.py:",
    ),
]


@pytest.mark.parametrize(("write", "message"), MISTAKES)
def test_mistakes(write: Callable[[], Any], message: str) -> None:
    with pytest.raises(DagInvalidError) as caught:
        write()
    assert message in str(caught.value)
    assert "(test_authoring_errors.py:" in str(caught.value) or "file: first at" in message


@pytest.mark.parametrize("other", ["b", 7, None, object])
def test_only_tasks_can_be_put_in_order(other: Any) -> None:
    with DAG("d"):
        a = EmptyOperator(task_id="a")
    with pytest.raises(DagInvalidError, match=r"<EmptyOperator: a>: .* cannot be upstream or down"):
        a >> other


def test_a_task_cannot_wait_for_itself() -> None:
    with DAG("d"):
        a = EmptyOperator(task_id="a")
    with pytest.raises(DagInvalidError, match="'a' cannot wait for itself"):
        a >> a


def test_the_line_is_the_authors_own_also_through_an_operator_of_theirs() -> None:
    with DAG("d"), pytest.raises(DagInvalidError) as caught:
        PythonOperator(task_id="t", python_callable=print, retries=-1)
    line = caught.traceback[0].lineno + 1
    assert str(caught.value).endswith(f"({Path(__file__).name}:{line})")


def test_s20_a_param_without_default_is_fine_where_people_trigger() -> None:
    spec = DAG("d", params={"n": Param(type="integer", description="how many")}).spec()
    assert (spec.params[0].has_default, spec.params[0].description) == (False, "how many")


def test_the_context_is_not_there_while_a_dag_is_written() -> None:
    with pytest.raises(TaskException, match="works only while a task runs"):
        get_current_context()
