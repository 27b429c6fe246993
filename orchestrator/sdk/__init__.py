"""What DAG authors import.

from orchestrator.sdk import dag, task

@dag(schedule="@daily")
def hello():
    @task
    def greet(name: str) -> str:
        return f"hello {name}"

    greet("world")

hello()
"""

from typing import TYPE_CHECKING, NoReturn

from orchestrator.core.specs import TriggerRule, WeightRule
from orchestrator.sdk.bash import BashOperator
from orchestrator.sdk.context import Context, DagRun, TaskInstance, get_current_context
from orchestrator.sdk.dag import DAG, dag
from orchestrator.sdk.decorators import task
from orchestrator.sdk.edges import Label, chain, chain_linear, cross_downstream
from orchestrator.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    FailException,
    SkipException,
    TaskException,
    TaskTimeoutError,
    TemplateError,
    XComNotFound,
)
from orchestrator.sdk.groups import TaskGroup, task_group
from orchestrator.sdk.operators import BaseOperator, EmptyOperator
from orchestrator.sdk.params import Param
from orchestrator.sdk.python import (
    BaseBranchOperator,
    BranchPythonOperator,
    PythonOperator,
    ShortCircuitOperator,
)
from orchestrator.sdk.references import XComArg
from orchestrator.sdk.templates import literal
from orchestrator.sdk.unavailable import missing_name

__all__ = [
    "DAG",
    "AirflowException",
    "AirflowFailException",
    "AirflowSkipException",
    "BaseBranchOperator",
    "BaseOperator",
    "BashOperator",
    "BranchPythonOperator",
    "Context",
    "DagRun",
    "EmptyOperator",
    "FailException",
    "Label",
    "Param",
    "PythonOperator",
    "ShortCircuitOperator",
    "SkipException",
    "TaskException",
    "TaskGroup",
    "TaskInstance",
    "TaskTimeoutError",
    "TemplateError",
    "TriggerRule",
    "WeightRule",
    "XComArg",
    "XComNotFound",
    "chain",
    "chain_linear",
    "cross_downstream",
    "dag",
    "get_current_context",
    "literal",
    "task",
    "task_group",
]


if not TYPE_CHECKING:  # a type checker must go on to know which names there are

    def __getattr__(name: str) -> NoReturn:
        """Say of a name that only Airflow has what it is that is not there."""
        raise missing_name(name) or AttributeError(f"module {__name__!r} has no attribute {name!r}")
