"""Each way a DAG file can break is one import error with file, line and cause."""

from pathlib import Path

import pytest

from orchestrator.parsing import (
    ForkServer,
    ParsedFile,
    ParseLimits,
    ProblemKind,
    WarningKind,
    parse_file,
)
from tests.parsing.conftest import Parse, Write

GOOD = """
from orchestrator.sdk import DAG, EmptyOperator

with DAG("etl"):
    EmptyOperator(task_id="load")
"""


def problem(parsed: ParsedFile, kind: ProblemKind, line: int | None) -> str:
    """Check what every problem has; return its message."""
    assert parsed.dags == ()
    assert parsed.error is not None
    assert (parsed.error.kind, parsed.error.line) == (kind, line)
    place = "etl.py" if line is None else f"etl.py:{line}"
    assert parsed.error.message.startswith(f"{place}: ")
    return parsed.error.message


def test_a_good_file(parse: Parse) -> None:
    parsed = parse(GOOD)
    assert parsed.error is None
    assert [(dag.spec.dag_id, dag.volatile, dag.line) for dag in parsed.dags] == [("etl", (), 3)]
    assert [task.task_id for task in parsed.dags[0].spec.tasks] == ["load"]
    assert parsed.path == "etl.py"
    assert parsed.text == GOOD.lstrip("\n")
    assert len(parsed.digest) == 64
    assert parsed.warnings == ()


def test_a_syntax_error(parse: Parse) -> None:
    message = problem(parse("x = 1\ndef broken(:\n"), ProblemKind.SYNTAX, 2)
    assert message == "etl.py:2: SyntaxError: invalid syntax in `def broken(:`"


def test_a_tab_among_spaces(parse: Parse) -> None:
    assert "TabError" in problem(parse("if 1:\n        a = 1\n\tb = 2\n"), ProblemKind.SYNTAX, 3)


def test_an_exception_names_the_line_and_the_code(parse: Parse) -> None:
    parsed = parse(GOOD + "\nlimit = int('many')\n")
    assert problem(parsed, ProblemKind.EXCEPTION, 6) == (
        "etl.py:6: ValueError: invalid literal for int() with base 10: 'many' "
        "in `limit = int('many')`"
    )
    assert parsed.error is not None
    assert 'etl.py", line 6' in parsed.error.stacktrace
    assert "orchestrator/parsing" not in parsed.error.stacktrace


def test_an_exception_in_a_helper_names_both_lines(parse: Parse, write: Write) -> None:
    write("helper.py", "x = 1\ny = 2\nraise RuntimeError('no')\n")
    parsed = parse("import helper\n")
    assert parsed.error is not None
    assert parsed.error.line == 1
    assert parsed.error.message.startswith("helper.py:3 (from etl.py:1): RuntimeError: no")


def test_a_missing_module(parse: Parse) -> None:
    parsed = parse("import not_there_at_all\n")
    message = problem(parsed, ProblemKind.EXCEPTION, 1)
    assert "install not_there_at_all where schedulers and workers run" in message
    assert "not_there_at_all.py" in parsed.dependencies


def test_a_file_for_airflow_is_told_where_to_import_from(parse: Parse) -> None:
    message = problem(parse("from airflow.sdk import DAG\n"), ProblemKind.EXCEPTION, 1)
    assert "from orchestrator.sdk import DAG" in message


def test_tasks_without_a_dag_are_named(parse: Parse) -> None:
    parsed = parse(
        """
        from orchestrator.sdk import DAG, EmptyOperator
        dag = DAG("d")
        EmptyOperator(task_id="inside", dag=dag)
        EmptyOperator(task_id="lost")
        adopted = EmptyOperator(task_id="adopted")
        dag.add_task(adopted)
        """
    )
    (warning,) = parsed.warnings
    assert warning.kind is WarningKind.WITHOUT_DAG
    assert warning.message.startswith(
        "tasks that belong to no DAG and so never run: 'lost' (etl.py:4); create them inside"
    )
    assert [task.task_id for task in parsed.dags[0].spec.tasks] == ["adopted", "inside"]


def test_a_misspelt_name_of_the_sdk(parse: Parse) -> None:
    text = "from orchestrator.sdk import EmptyOperater\n"
    assert "did you mean 'EmptyOperator'?" in problem(parse(text), ProblemKind.EXCEPTION, 1)


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        (
            "from orchestrator.sdk.operators import BashOperator",
            "from orchestrator.sdk import Bash",
        ),
        ("import orchestrator.sdk.assets", "import what DAG files need from orchestrator.sdk"),
        ("from orchestrator.sdk import Asset", "etl.py:1: orchestrator.sdk: Asset: this version"),
    ],
)
def test_what_is_imported_from_the_wrong_place(parse: Parse, text: str, cure: str) -> None:
    error = parse(text).error
    assert error is not None
    assert error.line == 1
    assert cure in error.message
    assert "install orchestrator" not in error.message


@pytest.mark.parametrize(
    ("line", "cure"),
    [
        ("[a] >> [a]", "two lists are joined by cross_downstream"),
        ("if a.output > 5: pass", "a task's output is not known before the run"),
        ("len(a.output)", "a task's output is not known before the run"),
        ("a.output.get('x')", "a task's output is not known before the run"),
        ("Early(task_id='e')", "call super().__init__(**kwargs) before anything else in __init__"),
    ],
)
def test_what_python_refuses_of_the_sdks_objects_has_a_cure(
    parse: Parse, line: str, cure: str
) -> None:
    parsed = parse(
        f"""
        from orchestrator.sdk import DAG, BaseOperator, EmptyOperator
        class Early(BaseOperator):
            def __init__(self, **kwargs): self.name = self.task_id
        with DAG("d"):
            a = EmptyOperator(task_id="a")
            {line}
        """
    )
    assert parsed.error is not None
    assert cure in parsed.error.message


def test_the_code_shown_is_the_authors_where_a_library_raised(parse: Parse) -> None:
    message = problem(parse("import json\njson.loads('{')\n"), ProblemKind.EXCEPTION, 2)
    assert message.endswith("in `json.loads('{')`")


def test_an_exception_that_cannot_even_be_shown(parse: Parse) -> None:
    parsed = parse(
        """
        class Nasty(Exception):
            def __str__(self):
                raise RuntimeError("ha")

        raise Nasty
        """
    )
    assert "Nasty: (its text cannot be shown" in problem(parsed, ProblemKind.EXCEPTION, 5)


def test_endless_recursion(parse: Parse) -> None:
    parsed = parse("def f():\n    f()\n\nf()\n")
    assert "a function calls itself without end" in problem(parsed, ProblemKind.EXCEPTION, 2)


@pytest.mark.parametrize(
    "loop",
    [
        "while True: pass",
        "import time; time.sleep(3600)",
        "import re; re.match('(a+)+$', 'a'*60+'b')",
    ],
    ids=["python", "sleep", "within C"],
)
def test_an_endless_import_is_stopped_and_its_line_known(parse: Parse, loop: str) -> None:
    parsed = parse(GOOD + loop + "\n", limits=ParseLimits(timeout_s=0.5))
    message = problem(parsed, ProblemKind.TIMEOUT, 5)
    assert "was not done after 0.5 s" in message
    assert "ORCHESTRATOR_PARSE_TIMEOUT_S" in message
    assert parsed.duration_s < 5


def test_an_endless_import_that_swallows_exceptions(parse: Parse) -> None:
    text = """
        while True:
            try:
                while True: pass
            except BaseException:
                pass
        """
    parsed = parse(text, limits=ParseLimits(timeout_s=0.5))
    problem(parsed, ProblemKind.TIMEOUT, 3)


def test_a_large_allocation_is_refused_at_its_line(parse: Parse) -> None:
    parsed = parse(GOOD + "x = b'x' * (1 << 30)\n", limits=ParseLimits(memory_mb=200))
    message = problem(parsed, ProblemKind.MEMORY, 5)
    assert "ORCHESTRATOR_PARSE_MEMORY_MB" in message


def test_many_small_allocations_are_refused(parse: Parse) -> None:
    text = GOOD + "x = []\nwhile True: x.append(bytearray(100_000))\n"
    problem(parse(text, limits=ParseLimits(memory_mb=100)), ProblemKind.MEMORY, 6)


def test_the_memory_limit_counts_from_the_empty_parser(parse: Parse) -> None:
    text = GOOD + "x = b'x' * (50 << 20)\n"
    assert parse(text, limits=ParseLimits(memory_mb=80)).error is None


@pytest.mark.parametrize("call", ["sys.exit(3)", "raise SystemExit(3)", "exit(3)"])
def test_sys_exit(parse: Parse, call: str) -> None:
    assert "sys.exit(3)" in problem(parse(f"import sys\n{call}\n"), ProblemKind.EXIT, 2)


def test_os_exit(parse: Parse) -> None:
    message = problem(parse("import os\nos._exit(3)\n"), ProblemKind.EXIT, None)
    assert "ended the process with status 3" in message


def test_a_segmentation_fault_names_signal_and_line(parse: Parse) -> None:
    parsed = parse("import ctypes\n\nctypes.string_at(0)\n")
    assert "crashed with SIGSEGV" in problem(parsed, ProblemKind.CRASH, 3)


def test_an_abort(parse: Parse) -> None:
    parsed = parse("import os\n\nos.abort()\n")
    assert "crashed with SIGABRT" in problem(parsed, ProblemKind.CRASH, 3)


def test_a_kill(parse: Parse) -> None:
    parsed = parse("import os\nos.kill(os.getpid(), 9)\n")
    assert "SIGKILL" in problem(parsed, ProblemKind.CRASH, None)


def test_a_dag_id_twice(parse: Parse) -> None:
    parsed = parse(GOOD + '\nwith DAG("etl"):\n    pass\n')
    assert parsed.error is not None
    assert parsed.error.kind is ProblemKind.DUPLICATE
    assert "'etl'" in parsed.error.message
    assert "etl.py:3" in parsed.error.message
    assert "etl.py:6" in parsed.error.message


def test_a_cycle(parse: Parse) -> None:
    parsed = parse(
        """
        from orchestrator.sdk import DAG, EmptyOperator

        with DAG("etl"):
            a, b = EmptyOperator(task_id="a"), EmptyOperator(task_id="b")
            a >> b >> a
        """
    )
    assert parsed.error is not None
    assert parsed.error.kind is ProblemKind.CYCLE
    assert "a >> b >> a" in parsed.error.message
    assert parsed.error.message.startswith("etl.py:3: ")


def test_an_invalid_argument(parse: Parse) -> None:
    parsed = parse(
        """
        from orchestrator.sdk import DAG, EmptyOperator

        with DAG("etl"):
            EmptyOperator(task_id="a", retires=3)
        """
    )
    message = problem(parsed, ProblemKind.INVALID, 4)
    assert "did you mean 'retries'?" in message
    assert message.count("etl.py:4") == 1


def test_text_that_is_not_utf_8(folder: Path, fork_server: ForkServer) -> None:
    path = folder / "etl.py"
    path.write_bytes(b"# caf\xe9\nx = 1\n")
    parsed = parse_file(path, folder, server=fork_server)
    assert "UTF-8" in problem(parsed, ProblemKind.SYNTAX, 1)


def test_a_coding_line_is_obeyed(folder: Path, fork_server: ForkServer) -> None:
    path = folder / "etl.py"
    text = GOOD.replace('"etl"', '"etl", description="café"')
    path.write_bytes(b"# coding: latin-1\n" + text.encode("latin-1"))
    parsed = parse_file(path, folder, server=fork_server)
    assert parsed.error is None
    assert parsed.dags[0].spec.description == "café"


def test_a_null_byte(parse: Parse) -> None:
    parsed = parse("x = 1\n\0\n")
    assert parsed.error is not None
    assert parsed.error.kind is ProblemKind.SYNTAX
    assert parsed.error.line == 2


def test_a_file_that_is_gone(folder: Path, fork_server: ForkServer) -> None:
    parsed = parse_file(folder / "etl.py", folder, server=fork_server)
    assert parsed.error is not None
    assert parsed.error.message == "etl.py: cannot be read: No such file or directory"


def test_a_file_of_data(parse: Parse) -> None:
    parsed = parse("x = '" + "x" * 5_000_000 + "'\n")
    assert "Keep its data in a file of its own" in problem(parsed, ProblemKind.INVALID, None)


def test_the_parser_is_unharmed_by_all_that(parse: Parse) -> None:
    assert parse(GOOD).error is None
