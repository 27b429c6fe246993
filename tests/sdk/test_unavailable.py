"""What only Airflow has is refused in words that say so, never as if it were a typing mistake."""

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator import sdk
from orchestrator.errors import DagInvalidError
from orchestrator.sdk import DAG, BashOperator, EmptyOperator, task, task_group
from orchestrator.sdk.unavailable import missing_name
from tests.sdk.test_execution import outcome_of


@task
def extract() -> None: ...


@task_group
def section() -> None: ...


def in_a_dag(write: Callable[[], Any]) -> Callable[[], Any]:
    def written() -> Any:
        with DAG("d"):
            return write()

    return written


ATTRIBUTES: list[tuple[Callable[[], Any], str]] = [
    (lambda: BashOperator.expand(x=[1]), "BashOperator: .expand: write .partial(...).expand(...)"),  # type: ignore[attr-defined]
    (in_a_dag(lambda: extract().expand(x=[1])), "or expand a task function that is not called yet"),  # type: ignore[attr-defined]
    (
        in_a_dag(lambda: EmptyOperator(task_id="e").defer()),  # type: ignore[attr-defined]
        "<EmptyOperator: e>: .defer: this version does not have deferral",
    ),
    (lambda: DAG("d").test(), "run `orchestrator dags test FILE`"),  # type: ignore[attr-defined]
    (lambda: task.kubernetes, "there is no @task.kubernetes in this version"),
    (lambda: sdk.Asset, "orchestrator.sdk: Asset: this version does not have assets"),  # type: ignore[attr-defined]
]


@pytest.mark.parametrize(("use", "message"), ATTRIBUTES)
def test_what_only_airflow_has(use: Callable[[], Any], message: str) -> None:
    with pytest.raises(DagInvalidError) as caught:
        use()
    assert message in str(caught.value)
    assert "(test_unavailable.py:" in str(caught.value)


def test_an_import_names_the_line_of_the_import() -> None:
    with pytest.raises(DagInvalidError, match=r"does not have assets \(test_unavailable.py:\d+\)"):
        from orchestrator.sdk import Asset  # type: ignore[attr-defined]  # noqa: F401


def test_deferral_fails_the_try_in_words() -> None:
    def defer() -> None:
        EmptyOperator(task_id="e").defer(trigger=None)  # type: ignore[attr-defined]

    reason = outcome_of(defer).reason
    assert ".defer: this version does not have deferral" in reason
    assert reason.count("(test_unavailable.py:") == 1


def test_other_attributes_are_missing_as_in_any_python_object() -> None:
    with DAG("d") as dag:
        made = EmptyOperator(task_id="e")
    for owner in (dag, made, made.output, extract, section, EmptyOperator, sdk):
        assert not hasattr(owner, "no_such_thing")
        with pytest.raises(AttributeError, match="no attribute 'no_such_thing'"):
            _ = owner.no_such_thing  # type: ignore[union-attr]


DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "from-airflow.md").read_text()


def test_the_page_for_who_comes_from_airflow_says_what_the_errors_say() -> None:
    table = PAGE.partition("| name | the error says |")[2]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| `")]
    assert len(rows) == 10
    for names, said in rows:
        for name in re.findall(r"`(\w+)`", names):
            error = missing_name(name)
            assert error is not None, name
            assert said in str(error), name


def test_the_page_names_statements_that_stand_in_semantics() -> None:
    semantics = (DOCS / "semantics.md").read_text()
    for name in re.findall(r"\bS\d+\.\d+\b", PAGE):
        assert f"**{name}" in semantics, name


def test_every_import_that_the_page_gives_is_there() -> None:
    for names in re.findall(r"`from orchestrator\.sdk import ([^`]*?)`", PAGE):
        for name in re.findall(r"\w+", names):
            if not hasattr(sdk, name):
                importlib.import_module(f"orchestrator.sdk.{name}")
