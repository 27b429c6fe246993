"""A function in another interpreter: what it gets, what comes back, and what it cannot have."""

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import DagInvalidError
from orchestrator.sdk import (
    DAG,
    BranchPythonVirtualenvOperator,
    EmptyOperator,
    ExternalPythonOperator,
    PythonVirtualenvOperator,
    task,
)
from orchestrator.testing import DagRunResult, run_dag
from tests.workers.rig import until

DAY = datetime(2026, 3, 4, 5, tzinfo=UTC)
OUTER = "of the file"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter that has none of our packages."""
    folder = tmp_path_factory.mktemp("other") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return str(folder / "bin" / "python")


def run(function: Any, *args: Any, kind: Any = ExternalPythonOperator, **given: Any) -> Any:
    arguments = {"op_args": args, **given}
    with DAG("d") as dag:
        kind(task_id="t", python_callable=function, **arguments)
    return run_dag(dag, logical_date=DAY, conf=given.get("conf"))


def value_of(result: DagRunResult) -> Any:
    assert result["t"].state == "success", result["t"].reason
    return result.xcom("t")


def where() -> "tuple[str, bool]":
    import importlib.util
    import sys

    return sys.prefix, importlib.util.find_spec("orchestrator") is None


def test_it_runs_elsewhere(python: str) -> None:
    prefix, is_alone = value_of(run(where, python=python))
    assert python.startswith(prefix)
    assert is_alone


def test_arguments_and_result_travel_with_dates_and_durations(python: str) -> None:
    def shift(day, by, options, logical_date, params):  # type: ignore[no-untyped-def]
        assert type(logical_date).__module__ == "datetime"
        return [day + by, logical_date + by, options, params]

    given = (date(2026, 3, 1), timedelta(days=1), {"deep": [1, (2.5, None), True]})
    assert value_of(run(shift, *given, python=python, params={"a": 1})) == [
        date(2026, 3, 2),
        DAY + timedelta(days=1),
        {"deep": [1, [2.5, None], True]},
        {"a": 1},
    ]


def test_everything_json_can_say_of_the_context_for_kwargs(python: str) -> None:
    def names(**context):  # type: ignore[no-untyped-def]
        return sorted(context)

    found = set(value_of(run(names, python=python)))
    assert {"ds", "params", "run_id", "logical_date", "try_number"} <= found
    assert found.isdisjoint({"ti", "task", "task_state", "dag", "dag_run", "macros"})


def test_templates_are_rendered_before(python: str) -> None:
    def join(text, templates_dict):  # type: ignore[no-untyped-def]
        import os

        return f"{text} {templates_dict['of']} {os.environ['DAY']}"

    result = run(
        join,
        "{{ ds }}",
        python=python,
        templates_dict={"of": "{{ run_id[:6] }}"},
        env_vars={"DAY": "{{ ds_nodash }}"},
    )
    assert value_of(result) == "2026-03-04 manual 20260304"


def test_pickle_if_asked(python: str) -> None:
    def both(number, letters):  # type: ignore[no-untyped-def]
        return {"sum": number + 1j, "letters": letters | {"c"}}

    given = {"python": python, "serializer": "pickle", "do_xcom_push": False}
    made = value_of_operator(both, (1 + 1j, {"a", "b"}), **given)
    assert made == {"sum": 1 + 2j, "letters": {"a", "b", "c"}}


def value_of_operator(function: Any, args: Any, **given: Any) -> Any:
    seen: list[Any] = []
    with DAG("d") as dag:
        ExternalPythonOperator(
            task_id="t",
            python_callable=function,
            op_args=args,
            post_execute=lambda _context, result: seen.append(result),
            **given,
        )
    assert run_dag(dag).state == "success"
    return seen[0]


def test_output_is_the_log_line_by_line(python: str, caplog: pytest.LogCaptureFixture) -> None:
    def talk():  # type: ignore[no-untyped-def]
        import sys

        sys.stdout.write("first\n")
        sys.stderr.write("second\n")

    with caplog.at_level("INFO", logger="orchestrator.task"):
        run(talk, python=python)
    assert [m for m in caplog.messages if m in ("first", "second")] == ["first", "second"]


def test_an_exception_names_the_authors_line(python: str, caplog: pytest.LogCaptureFixture) -> None:
    def broken():  # type: ignore[no-untyped-def]
        raise ValueError("odd")  # the line

    text = Path(__file__).read_text().splitlines()
    line = next(number for number, each in enumerate(text, 1) if each.endswith("# the line"))
    with caplog.at_level("INFO", logger="orchestrator.task"):
        reason = run(broken, python=python)["t"].reason
    assert reason == f"TaskException: ValueError: odd (test_other_interpreters.py:{line})"
    assert f'test_other_interpreters.py", line {line}, in broken' in caplog.text


def test_the_file_around_it_is_not_there(python: str) -> None:
    def uses():  # type: ignore[no-untyped-def]
        return OUTER

    assert "NameError: name 'OUTER' is not defined" in str(run(uses, python=python)["t"].reason)


@pytest.mark.parametrize(
    ("code", "skips", "state", "reason"),
    [
        (99, 99, "skipped", "exited with code 99, which means skip"),
        (3, [3, 4], "skipped", "exited with code 3, which means skip"),
        (5, [3, 4], "failed", "the interpreter exited with code 5"),
        (0, None, "failed", "the interpreter exited with code 0"),
    ],
)
def test_exit_codes_of_the_function(
    python: str, code: int, skips: Any, state: str, reason: str
) -> None:
    def leave(code):  # type: ignore[no-untyped-def]
        import sys

        sys.exit(code)

    result = run(leave, code, python=python, skip_on_exit_code=skips)["t"]
    assert (result.state, reason in str(result.reason)) == (state, True), result.reason


def test_a_crash_is_said(python: str) -> None:
    def crash():  # type: ignore[no-untyped-def]
        import os
        import signal

        os.kill(os.getpid(), signal.SIGSEGV)

    assert "was ended by SIGSEGV" in str(run(crash, python=python)["t"].reason)


def test_skip_and_fail_exceptions_are_known_by_their_names(python: str) -> None:
    def skips():  # type: ignore[no-untyped-def]
        class AirflowSkipException(Exception):  # noqa: N818 - its name is what counts
            pass

        raise AirflowSkipException("enough")

    result = run(skips, python=python)["t"]
    assert (result.state, result.reason) == ("skipped", "enough")


def test_what_json_cannot_say_is_refused_with_its_name(python: str) -> None:
    def fine(value):  # type: ignore[no-untyped-def]
        return len(value)

    def returns():  # type: ignore[no-untyped-def]
        return {1, 2}

    reason = str(run(fine, {1, 2}, python=python)["t"].reason)
    assert "argument 0 is or holds a value of type set, which does not travel as JSON" in reason
    reason = str(run(returns, python=python)["t"].reason)
    assert "returns returned a value of type set, which does not travel as JSON" in reason


def test_the_program_ends_with_the_task(python: str, tmp_path: Path) -> None:
    def waits(folder):  # type: ignore[no-untyped-def]
        import os
        import time

        with open(f"{folder}/pid", "w") as file:  # noqa: PTH123 - a plain function
            file.write(str(os.getpid()))
        time.sleep(600)

    with DAG("d") as dag:
        ExternalPythonOperator(
            task_id="t",
            python_callable=waits,
            op_args=[str(tmp_path)],
            python=python,
            execution_timeout=1.5,
        )
    assert "timed out after 1.5 s" in str(run_dag(dag)["t"].reason)
    pid = int((tmp_path / "pid").read_text())
    until(lambda: not Path(f"/proc/{pid}").exists(), what="the end of the program")


def test_a_missing_interpreter_is_named() -> None:
    reason = str(run(where, python="/no/such/python")["t"].reason)
    assert "python is '/no/such/python', and there is no such file on this worker" in reason


def test_a_virtual_environment_is_built_once_and_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = {"venv_cache_path": tmp_path, "system_site_packages": False}
    with caplog.at_level("INFO", logger="orchestrator.task"):
        first = value_of(run(where, kind=PythonVirtualenvOperator, **given))
        second = value_of(run(where, kind=PythonVirtualenvOperator, **given))
    assert first == second
    assert first[0].startswith(str(tmp_path))
    assert caplog.text.count("building the virtual environment") == 1
    (tmp_path / Path(first[0]).name / "orchestrator-complete").unlink()
    assert value_of(run(where, kind=PythonVirtualenvOperator, **given)) == first, "built anew"


def test_a_virtual_environment_that_is_not_kept_goes_with_the_try() -> None:
    prefix, _ = value_of(run(where, kind=PythonVirtualenvOperator))
    assert not Path(prefix).exists()


def test_what_pip_cannot_install_is_said_in_a_sentence(tmp_path: Path) -> None:
    result = run(
        where,
        kind=PythonVirtualenvOperator,
        requirements="# none of them\n./no-such-folder-{{ ds }}\n",
        index_urls=[],
        venv_cache_path=tmp_path,
    )
    reason = str(result["t"].reason)
    assert "pip cannot install the requirements ./no-such-folder-2026-03-04: " in reason
    assert reason.endswith("does not exist.")


def test_a_python_that_is_not_there_is_said(tmp_path: Path) -> None:
    result = run(
        where, kind=PythonVirtualenvOperator, python_version="3.2", venv_cache_path=tmp_path
    )
    assert "there is no python3.2 on this worker's PATH; install it" in str(result["t"].reason)


def test_the_decorators(python: str, tmp_path: Path) -> None:
    @task.virtualenv(venv_cache_path=str(tmp_path))
    def make(a: int) -> "dict[str, int]":
        """Makes two."""
        return {"a": a, "b": a + 1}

    @task.external_python(python=python)
    def add(a: int, b: int) -> int:
        return a + b

    @task.branch_external_python(python=python)
    def choose(total: int) -> "str | None":
        return "left" if total == 3 else None

    @task.branch_virtualenv(venv_cache_path=str(tmp_path))
    def both() -> "list[str]":
        return ["right"]

    with DAG("d") as dag:
        made = make(1)
        left, right = EmptyOperator(task_id="left"), EmptyOperator(task_id="right")
        choose(add(made["a"], made["b"])) >> left
        both() >> right
    result = run_dag(dag)
    assert result.xcom("add") == 3
    assert set(result.states.values()) == {"success"}
    kinds = {each.task_id: each.operator for each in dag.spec().tasks}
    assert (kinds["make"], kinds["add"]) == ("@task.virtualenv", "@task.external_python")
    assert {each.task_id for each in dag.spec().tasks if each.chooses} == {"choose", "both"}


def test_a_branch_as_an_operator(tmp_path: Path) -> None:
    def nowhere():  # type: ignore[no-untyped-def]
        return None

    with DAG("d") as dag:
        branch = BranchPythonVirtualenvOperator(
            task_id="t", python_callable=nowhere, venv_cache_path=str(tmp_path)
        )
        branch >> EmptyOperator(task_id="left")
    assert run_dag(dag).states == {"t": "success", "left": "skipped"}


def refusals() -> list[tuple[Any, dict[str, Any], str]]:
    closed = 3

    def closes() -> int:
        return closed

    def asks(ti: Any) -> None: ...

    return [
        (lambda: 1, {}, "python_callable is <lambda>, which cannot be sent"),
        (print, {}, "python_callable is print, which cannot be sent"),
        (closes, {}, "closes() uses closed of the function around it"),
        (asks, {}, "asks() asks for 'ti', which lives in the worker's process"),
        (where, {"serializer": "xml"}, "serializer is 'xml'; it must be one of json, pickle"),
        (where, {"python": ""}, "python is ''; it must be a text that is not empty"),
        (where, {"use_airflow_context": True}, "name what the function needs of it as arguments"),
        (where, {"op_args": [1]}, "too many positional arguments"),
    ]


@pytest.mark.parametrize(("function", "arguments", "message"), refusals())
def test_what_cannot_be_sent_is_refused_where_it_is_written(
    function: Any, arguments: dict[str, Any], message: str
) -> None:
    given = {"python": sys.executable, **arguments}
    with DAG("d"), pytest.raises(DagInvalidError) as caught:
        ExternalPythonOperator(task_id="t", python_callable=function, **given)
    assert message in str(caught.value)
