"""The examples of docs/failure.md run, and do what the text around them says."""

import re
from pathlib import Path
from typing import Any, Self

import pytest

from orchestrator.core.specs import CallbackKind
from orchestrator.core.states import RunState, TaskState
from orchestrator.sdk import DAG
from orchestrator.testing import DagRunResult, run_dag
from tests.dags.test_tutorial import run

GUIDE = Path(__file__).parents[2] / "docs" / "failure.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)


def example(dag_id: str) -> tuple[DagRunResult, dict[str, Any]]:
    """Run the guide's example that defines this DAG; also return the names it defines."""
    (source,) = [each for each in EXAMPLES if f'"{dag_id}"' in each]
    made: list[DAG] = []

    class Noted(DAG):
        def __enter__(self) -> Self:
            made.append(self)
            return super().__enter__()

    names: dict[str, Any] = {"__name__": "guide", "Noted": Noted}
    exec(source.replace("with DAG(", "with Noted("), names)
    return run_dag(made[0]), names


def test_every_example_is_looked_at() -> None:
    assert len(EXAMPLES) == 4


def test_a_policy_retries_by_exception() -> None:
    result, _ = example("by_exception")
    assert result["fetch"].tries == 3
    assert result.state is RunState.SUCCESS


def test_a_function_is_a_policy_too() -> None:
    result, _ = example("by_function")
    assert result["fetch"].tries == 2


def test_callbacks_are_called_as_the_guide_says() -> None:
    result, names = example("told")
    assert names["sent"] == [
        "released: no rows",
        "load needs a person",
        f"{result.run_id}: {result.reason}",
    ]
    assert result.state is RunState.FAILED
    called = [(each.kind, each.task_id, each.error) for each in result.callbacks]
    assert called == [(CallbackKind.FAILURE, "load", None), (CallbackKind.FAILURE, None, None)]


def test_a_run_in_time_is_not_late() -> None:
    result, names = example("in_time")
    assert names["late"] == []
    assert (result.state, result.callbacks) == (RunState.SUCCESS, ())


def test_the_tutorial_tells_who_must_know(capsys: pytest.CaptureFixture[str]) -> None:
    result = run("when_things_fail", run_id="r1")
    assert result["asks_a_sleepy_service"].tries == 2
    assert result["reads_a_broken_file"].state is TaskState.FAILED
    assert result["reads_a_broken_file"].tries == 1
    assert [(each.kind, each.task_id) for each in result.callbacks] == [
        (CallbackKind.RETRY, "asks_a_sleepy_service"),
        (CallbackKind.FAILURE, "reads_a_broken_file"),
        (CallbackKind.SUCCESS, None),
    ]
    said = capsys.readouterr().out
    assert "try 1 failed: nobody answered" in said
    assert "releasing what reads_a_broken_file held, because of: column 3 is missing" in said
    assert "r1 is through" in said
