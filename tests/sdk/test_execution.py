"""What one try of a task comes to, whatever its code does."""

import logging
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.outcomes import Failed, Skipped, Succeeded
from orchestrator.sdk import (
    DAG,
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    BaseOperator,
    EmptyOperator,
    FailException,
    Param,
    PythonOperator,
    SkipException,
    TaskTimeoutError,
    XComNotFound,
    get_current_context,
    task,
)
from tests.sdk.tries import LOGICAL_DATE, RUN_ID, StoredXComs, stored, try_task


def outcome_of(function: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
    """Run a function as the only task of a DAG; options are the try's."""
    with DAG("d") as dag:
        task(function, task_id="t")(*args)
    return try_task(dag, "t", **options)


def raises(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def test_what_a_task_returns_is_its_xcom() -> None:
    assert outcome_of(lambda: {"n": [1, 2]}) == Succeeded(
        xcoms={"return_value": {"n": [1, 2]}}, length=1
    )


def test_what_a_task_returns_keeps_its_type() -> None:
    kept = outcome_of(lambda: (1, Decimal(2))).xcoms
    assert kept == {
        "return_value": {"__type": "tuple", "items": [1, {"__type": "decimal", "value": "2"}]}
    }
    pulled: list[Any] = []
    xcoms = StoredXComs({("p", "return_value", -1): kept["return_value"]})
    outcome_of(lambda ti: pulled.append(ti.xcom_pull("p")), xcoms=xcoms)
    outcome_of(lambda ti: pulled.append(ti.xcom_item("p", 1)), xcoms=xcoms)
    assert pulled == [(1, Decimal(2)), Decimal(2)]
    assert type(pulled[1]) is Decimal


def test_none_pushes_nothing() -> None:
    assert outcome_of(lambda: None) == Succeeded()


def test_do_xcom_push_false_pushes_nothing() -> None:
    with DAG("d") as dag:
        PythonOperator(task_id="t", python_callable=lambda: 1, do_xcom_push=False)
    assert try_task(dag, "t") == Succeeded()


def test_multiple_outputs_push_each_key_too() -> None:
    def both() -> dict[str, int]:
        return {"a": 1, "b": 2}

    xcoms = {"a": 1, "b": 2, "return_value": {"a": 1, "b": 2}}
    assert outcome_of(both) == Succeeded(xcoms=xcoms, length=2)


def test_multiple_outputs_must_be_a_dict() -> None:
    def both() -> dict[str, int]:
        return [1]  # type: ignore[return-value]

    outcome = outcome_of(both)
    assert outcome.reason.startswith("TaskException: the task has multiple_outputs, so it must ")


def test_xcoms_are_pushed_under_own_keys() -> None:
    def push(ti: Any) -> int:
        ti.xcom_push("rows", 3)
        ti.xcom_push(key="empty", value=None)
        return 4

    assert outcome_of(push).xcoms == {"rows": 3, "empty": None, "return_value": 4}


ENDINGS: list[tuple[BaseException, Any]] = [
    (SkipException("no data"), Skipped(reason="no data")),
    (AirflowSkipException(), Skipped(reason="the task asked to be skipped")),
    (
        FailException("bad input"),
        Failed(reason="FailException: bad input (test_execution.py:LINE)", retryable=False),
    ),
    (
        AirflowFailException("x"),
        Failed(reason="FailException: x (test_execution.py:LINE)", retryable=False),
    ),
    (AirflowException("x"), Failed(reason="TaskException: x (test_execution.py:LINE)")),
    (
        ValueError("two\n  lines"),
        Failed(reason="ValueError: two lines (test_execution.py:LINE)"),
    ),
    (KeyError(), Failed(reason="KeyError (test_execution.py:LINE)")),
    (
        ValueError("x" * 600),
        Failed(reason=f"ValueError: {'x' * 499}… (test_execution.py:LINE)"),
    ),
    (KeyboardInterrupt(), Failed(reason="interrupted (KeyboardInterrupt)")),
    (GeneratorExit("x"), Failed(reason="GeneratorExit: x (test_execution.py:LINE)")),
]


@pytest.mark.parametrize(("error", "outcome"), ENDINGS, ids=lambda each: type(each).__name__)
def test_how_exceptions_end_a_try(error: BaseException, outcome: Any) -> None:
    line = raises.__code__.co_firstlineno + 2
    expected = outcome
    if isinstance(outcome, Failed):
        expected = Failed(
            reason=outcome.reason.replace("LINE", str(line)), retryable=outcome.retryable
        )
    assert outcome_of(raises(error)) == expected


@pytest.mark.parametrize("code", [0, 1, None, "bye"])
def test_s8_system_exit_is_a_failure_that_is_retried_whatever_its_code(code: Any) -> None:
    outcome = outcome_of(lambda: sys.exit(code))
    assert outcome.reason.startswith(f"SystemExit: the task called sys.exit({code!r}) (test_exec")
    assert outcome.retryable


def test_a_timeout_names_the_limit_and_the_line_it_was_at() -> None:
    with DAG("d") as dag:
        PythonOperator(
            task_id="t", python_callable=raises(TaskTimeoutError()), execution_timeout=30
        )
    line = raises.__code__.co_firstlineno + 2
    assert try_task(dag, "t") == Failed(reason=f"timed out after 30 s (test_execution.py:{line})")


def test_a_timeout_passes_through_the_tasks_own_except() -> None:
    def stubborn() -> str:
        try:
            raise TaskTimeoutError
        except Exception:
            return "swallowed"

    assert outcome_of(stubborn).reason.startswith("timed out")


def test_what_was_pushed_before_a_failure_is_part_of_it() -> None:
    def fail(ti: Any) -> None:
        ti.xcom_push("seen", 3)
        raise ValueError("late")

    assert outcome_of(fail).xcoms == {"seen": 3}


def test_the_traceback_in_the_log_begins_with_the_authors_code(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outcome_of(raises(ValueError("boom")))
    (record,) = [each for each in caplog.records if each.name == "orchestrator.task"]
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    trace = record.exc_info[2]
    assert trace is not None
    assert Path(trace.tb_frame.f_code.co_filename).name == "test_execution.py"


def test_an_exception_that_cannot_be_shown_is_still_a_reason() -> None:
    class RudeError(Exception):
        def __str__(self) -> str:
            raise ValueError

    assert outcome_of(raises(RudeError())).reason.startswith(
        "RudeError: (its message cannot be shown)"
    )


def test_s22_the_order_of_a_try() -> None:
    seen: list[Any] = []

    class Steps(BaseOperator):
        template_fields = ("field",)

        def __init__(self, *, field: str, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.field = field

        def pre_execute(self, context: Any) -> None:
            seen.append(("pre", self.field))

        def execute(self, context: Any) -> str:
            seen.append(("execute", context["task"] is self, context["ti"].task is self))
            return "result"

        def post_execute(self, context: Any, result: Any = None) -> None:
            seen.append(("post", result))

    with DAG("d") as dag:
        authored = Steps(task_id="t", field="{{ ds }}")
    assert try_task(dag, "t") == Succeeded(xcoms={"return_value": "result"})
    assert seen == [("pre", "2024-05-06"), ("execute", True, True), ("post", "result")]
    assert authored.field == "{{ ds }}"


def test_on_kill_runs_when_a_task_is_cut_short_and_may_itself_fail() -> None:
    killed: list[str] = []

    class Long(BaseOperator):
        def execute(self, context: Any) -> None:
            raise TaskTimeoutError

        def on_kill(self) -> None:
            killed.append(self.task_id)
            raise OSError

    with DAG("d") as dag:
        Long(task_id="t")
    assert try_task(dag, "t").reason.startswith("timed out")  # type: ignore[union-attr]
    assert killed == ["t"]


def test_an_operator_without_execute_says_so() -> None:
    class Half(BaseOperator):
        pass

    with DAG("d") as dag:
        Half(task_id="t")
    assert try_task(dag, "t") == Failed(
        reason="NotImplementedError: Half does not define execute(context)"
    )


def test_an_async_function_is_run_to_its_end() -> None:
    async def later() -> int:
        return 5

    assert outcome_of(later).xcoms == {"return_value": 5}


def test_the_context() -> None:
    seen: dict[str, Any] = {}

    def look(**context: Any) -> None:
        seen.update(context)
        assert get_current_context() == context

    assert outcome_of(look, conf={"a": 1}, epoch=7, try_number=2) == Succeeded()
    assert sorted(seen) == [
        "conf",
        "conn",
        "dag",
        "dag_run",
        "data_interval_end",
        "data_interval_start",
        "ds",
        "ds_nodash",
        "fence",
        "idempotency_key",
        "logical_date",
        "macros",
        "map_index",
        "params",
        "run_id",
        "task",
        "task_instance",
        "task_instance_key_str",
        "task_state",
        "task_state_store",
        "ti",
        "try_number",
        "ts",
        "ts_nodash",
        "ts_nodash_with_tz",
        "var",
    ]
    plain = {key: each for key, each in seen.items() if isinstance(each, str | int)}
    assert plain == {
        "ds": "2024-05-06",
        "ds_nodash": "20240506",
        "fence": 7,
        "idempotency_key": f"d/{RUN_ID}/t/-1",
        "map_index": -1,
        "run_id": RUN_ID,
        "task_instance_key_str": "d__t__20240506",
        "try_number": 2,
        "ts": "2024-05-06T07:08:09+00:00",
        "ts_nodash": "20240506T070809",
        "ts_nodash_with_tz": "20240506T070809+0000",
    }
    assert (seen["conf"], seen["params"]) == ({"a": 1}, {"a": 1})
    assert seen["logical_date"] == seen["dag_run"].logical_date == LOGICAL_DATE
    assert (seen["ti"].try_number, seen["ti"].get_dagrun().run_id) == (2, RUN_ID)


def test_a_run_without_logical_date_has_no_ds() -> None:
    outcome = outcome_of(lambda **context: context["ds"], logical_date=None)
    assert outcome.reason.startswith("KeyError")

    def read() -> Any:
        return get_current_context()["ds"]

    reason = outcome_of(read, logical_date=None).reason
    assert "the context has no 'ds'; this run has no logical date" in reason


def test_a_misspelt_context_key_is_suggested() -> None:
    def read() -> Any:
        return get_current_context()["parms"]

    assert "the context has no 'parms'; did you mean 'params'?" in outcome_of(read).reason


def test_only_the_arguments_a_function_names_are_filled_in() -> None:
    def named(x: int, ds: Any = None, *, run_id: str, other: int = 9) -> list[Any]:
        return [x, ds, run_id, other]

    assert outcome_of(named, 1).xcoms["return_value"] == [1, "2024-05-06", RUN_ID, 9]
    assert outcome_of(named, 1, "given").xcoms["return_value"] == [1, "given", RUN_ID, 9]


def test_templates_dict_reaches_the_context() -> None:
    with DAG("d") as dag:
        PythonOperator(
            task_id="t",
            python_callable=lambda templates_dict: templates_dict,
            templates_dict={"day": "{{ ds }}"},
        )
    assert try_task(dag, "t").xcoms == {"return_value": {"day": "2024-05-06"}}


def test_a_task_function_called_within_a_task_says_what_to_call() -> None:
    @task
    def inner() -> int:
        return 1

    assert outcome_of(inner.function) == Succeeded(xcoms={"return_value": 1})
    assert "call inner.function(...) to run the plain function" in (
        outcome_of(lambda: inner()).reason  # noqa: PLW0108 - called where the task runs
    )


def test_arguments_that_arrive_wrong_are_named() -> None:
    def take(a: int) -> int:
        return a

    with DAG("d") as dag:
        source = EmptyOperator(task_id="source")
        PythonOperator(task_id="t", python_callable=take, op_kwargs=source.output)
    outcome = try_task(dag, "t", xcoms=stored(source={"b": 1}))
    assert outcome == Failed(
        reason="TaskException: take(a: int) -> int cannot be called: missing a required argument: "
        "'a'"
    )


UNSTORABLE: list[tuple[Any, str]] = [
    (
        {"rows": [1, 2, 3, object()]},
        "the returned value of task 't' cannot be stored: result['rows'][3] is of type object, "
        "which no registry knows; return dict, list, str",
    ),
    (iter([1]), "result is of type list_iterator"),
    ("\ud800", "the returned value of task 't' cannot be stored: it holds text that is not valid"),
    (
        "x" * 2000,
        "the returned value of task 't' takes 2,002 bytes as JSON, and xcom_bytes_max allows 1,000"
        ": write it to a file or table and push its path or name, or have the limit raised",
    ),
]


@pytest.mark.parametrize(("value", "message"), UNSTORABLE, ids=lambda each: type(each).__name__)
def test_what_cannot_be_stored_is_refused_with_its_place_and_a_cure(
    value: Any, message: str
) -> None:
    outcome = outcome_of(lambda: value, xcom_bytes_max=1000)
    assert isinstance(outcome, Failed)
    assert message in outcome.reason
    assert outcome.xcoms == {}


def test_a_value_that_contains_itself_is_refused() -> None:
    ring: list[Any] = []
    ring.append(ring)
    assert "nested deeper than 100 levels, or contains itself" in outcome_of(lambda: ring).reason


def test_subclasses_of_json_types_become_plain() -> None:
    class Text(str):
        __slots__ = ()

        def __str__(self) -> str:
            return "other"

    value = outcome_of(lambda: {Text("k"): Text("v")}).xcoms["return_value"]
    assert value == {"k": "v"}
    assert type(value["k"]) is str


def test_a_bad_push_fails_at_the_line_that_pushes() -> None:
    def push(ti: Any) -> None:
        ti.xcom_push("rows", {1, object()})

    line = push.__code__.co_firstlineno + 1
    reason = outcome_of(push).reason
    assert reason.startswith("UnstorableError: XCom 'rows' of task 't' cannot be stored: value[")
    assert reason.endswith(f"(test_execution.py:{line})")


@pytest.mark.parametrize("key", ["", "x" * 513, "a\0b", "\ud800", 7])
def test_xcom_keys_are_short_printable_text(key: Any) -> None:
    assert (
        "must be a text of 1 to 512 printable characters"
        in outcome_of(lambda ti: ti.xcom_push(key, 1)).reason
    )


# --- S19: pulling -----------------------------------------------------------------------------

PLAIN_AND_MAPPED = StoredXComs(
    {
        ("plain", "return_value", -1): "p",
        ("plain", "k", -1): "pk",
        ("none", "return_value", -1): None,
        ("mapped", "return_value", 0): "m0",
        ("mapped", "return_value", 1): None,
        ("mapped", "return_value", 2): "m2",
        ("t", "return_value", -1): "my own",
    }
)

PULLS: list[tuple[dict[str, Any], Any]] = [
    ({"task_ids": "plain"}, "p"),
    ({"task_ids": "plain", "key": "k"}, "pk"),
    ({"task_ids": "mapped"}, ["m0", None, "m2"]),
    ({"task_ids": ["mapped", "plain"]}, ["m0", None, "m2", "p"]),
    ({"task_ids": ("plain", "nobody", "mapped")}, ["p", None, "m0", None, "m2"]),
    ({"task_ids": ["nobody"], "default": 0}, [0]),
    ({"task_ids": "mapped", "map_indexes": 2}, "m2"),
    ({"task_ids": "mapped", "map_indexes": [2, 0]}, ["m2", "m0"]),
    ({"task_ids": "mapped", "map_indexes": [2, 9], "default": "-"}, ["m2", "-"]),
    ({"task_ids": ["mapped", "plain"], "map_indexes": 0}, ["m0", None]),
    ({"task_ids": "nobody"}, None),
    ({"task_ids": "nobody", "default": 7}, 7),
    ({"task_ids": "plain", "key": "missing", "default": 7}, 7),
    ({"task_ids": "none", "default": 7}, None),
    ({"task_ids": None}, "my own"),
    ({}, "my own"),
    ({"key": "missing", "default": 7}, 7),
]


@pytest.mark.parametrize(("arguments", "value"), PULLS)
def test_s19_what_a_pull_gives(arguments: dict[str, Any], value: Any) -> None:
    pulled: list[Any] = []
    outcome_of(lambda ti: pulled.append(ti.xcom_pull(**arguments)), xcoms=PLAIN_AND_MAPPED)
    assert pulled == [value]


def test_s19_a_task_sees_what_it_pushed_in_this_try() -> None:
    def push_and_pull(ti: Any) -> list[Any]:
        ti.xcom_push("k", 1)
        return [ti.xcom_pull(key="k"), ti.xcom_pull(task_ids="t", key="k")]

    # By its own id it asks the store, which has it only once the try has ended.
    assert outcome_of(push_and_pull).xcoms["return_value"] == [1, None]


def test_s19_another_dag_and_run_can_be_pulled_from() -> None:
    xcoms = StoredXComs()
    outcome_of(lambda ti: ti.xcom_pull("x", dag_id="other", run_id="r"), xcoms=xcoms)
    outcome_of(lambda ti: ti.xcom_pull("x"), xcoms=xcoms)
    assert xcoms.asked == [("other", "r"), ("d", RUN_ID)]


def arguments_through(reference: Callable[[Any], Any], xcoms: StoredXComs) -> Any:
    with DAG("d") as dag:
        up = EmptyOperator(task_id="up")
        PythonOperator(task_id="t", python_callable=lambda x: x, op_args=[reference(up.output)])
    return try_task(dag, "t", xcoms=xcoms)


def test_s19_prior_dates_are_searched_for_the_latest_run_with_the_key() -> None:
    pulled: list[Any] = []

    def pull(ti: Any) -> None:
        pulled.append(ti.xcom_pull("p", include_prior_dates=True, default="none"))
        pulled.append(ti.xcom_pull("p", None, "k", True))
        pulled.append(ti.xcom_pull("m2", include_prior_dates=True, default="none"))

    xcoms = StoredXComs({("p", "return_value", -1): 5, ("p", "k", -1): 6})
    outcome_of(pull, xcoms=xcoms)
    assert pulled == [5, 6, "none"]
    assert xcoms.asked == [("d", RUN_ID), ("d", RUN_ID)], "the run that the reader named"


def test_s19_prior_dates_and_one_run_exclude_each_other() -> None:
    reason = outcome_of(lambda ti: ti.xcom_pull("p", run_id="r", include_prior_dates=True)).reason
    assert "xcom_pull was given both run_id and include_prior_dates=True" in reason


def test_s19_an_argument_is_the_value_of_its_upstream() -> None:
    assert arguments_through(lambda out: {"a": [out]}, stored(up=5)).xcoms == {
        "return_value": {"a": [5]}
    }


def test_s19_a_missing_return_value_is_none_as_an_argument() -> None:
    assert arguments_through(lambda out: [out], StoredXComs()).xcoms == {"return_value": [None]}


def test_s19_a_missing_custom_key_as_an_argument_is_an_error() -> None:
    reason = arguments_through(lambda out: out["rows"], stored(up={"rows": 1})).reason
    assert reason.startswith(f"{XComNotFound.__name__}: task 'up' pushed no XCom 'rows'; to take")
    assert "multiple_outputs=True" in reason


# --- S20: params ------------------------------------------------------------------------------


def params_outcome(conf: dict[str, Any], **params: Any) -> Any:
    with DAG("d", params=params) as dag:
        task(lambda params: params, task_id="t")()
    return try_task(dag, "t", conf=conf)


def test_s20_conf_overrides_params_and_unknown_keys_come_along() -> None:
    outcome = params_outcome({"b": 5, "new": 1}, a=1, b=Param(2, type="integer"))
    assert outcome.xcoms["return_value"] == {"a": 1, "b": 5, "new": 1}


def test_s20_merged_params_are_validated() -> None:
    outcome = params_outcome({"b": 1}, b=Param(5, type="integer", minimum=3))
    assert outcome.reason == (
        "ParamInvalidError: param 'b' is invalid: 1 is less than the minimum of 3"
    )


def test_s20_a_param_without_default_needs_a_value() -> None:
    assert params_outcome({}, b=Param(type="integer")).reason == (
        "ParamInvalidError: param 'b' has no default; give it a value in the run's conf, as in "
        '{"b": ...}'
    )


@pytest.mark.parametrize(
    ("value", "is_fine"), [("2024-05-06T07:08:09+00:00", True), ("yesterday", False)]
)
def test_s20_formats_are_checked(value: str, is_fine: bool) -> None:
    outcome = params_outcome({"at": value}, at=Param("", type="string", format="date-time"))
    assert isinstance(outcome, Succeeded) is is_fine


def test_params_of_a_task_come_before_those_of_the_dag() -> None:
    with DAG("d", params={"a": 1, "b": 2}) as dag:
        PythonOperator(task_id="t", python_callable=lambda params: params, params={"b": 3, "c": 4})
    assert try_task(dag, "t", conf={"c": 5}).xcoms["return_value"] == {"a": 1, "b": 3, "c": 5}


def test_a_task_that_is_gone_from_the_file_is_named() -> None:
    with DAG("d") as before:
        EmptyOperator(task_id="load")
    with DAG("d") as now:
        EmptyOperator(task_id="loads")
    now.spec = before.spec  # type: ignore[method-assign]
    assert try_task(now, "load") == Failed(
        reason="NotFoundError: DAG 'd' of test_execution.py has no task 'load'; did you mean "
        "'loads'?"
    )
