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

from importlib import import_module
from typing import TYPE_CHECKING, Any

from orchestrator.core.specs import TriggerRule, WeightRule
from orchestrator.sdk.bash import BashOperator
from orchestrator.sdk.context import Context, DagRun, TaskInstance, get_current_context
from orchestrator.sdk.dag import DAG, dag
from orchestrator.sdk.decorators import task
from orchestrator.sdk.edges import Label, chain, chain_linear, cross_downstream
from orchestrator.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowNotFoundException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    FailException,
    NotFoundException,
    RescheduleException,
    SensorTimeoutError,
    SkipException,
    TaskException,
    TaskTimeoutError,
    TemplateError,
    XComNotFound,
)
from orchestrator.sdk.groups import TaskGroup, task_group
from orchestrator.sdk.on_demand import ON_DEMAND
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

if TYPE_CHECKING:  # imported by who asks for them, as ON_DEMAND says
    from orchestrator.sdk.caching import Cache
    from orchestrator.sdk.classes import register_type
    from orchestrator.sdk.connections import Connection
    from orchestrator.sdk.deadlines import (
        AsyncCallback,
        DeadlineAlert,
        DeadlineReference,
        SyncCallback,
    )
    from orchestrator.sdk.email import EmailOperator, SmtpNotifier
    from orchestrator.sdk.external_task import (
        ExternalTaskFailedError,
        ExternalTaskMarker,
        ExternalTaskSensor,
    )
    from orchestrator.sdk.hooks.base import BaseHook
    from orchestrator.sdk.hooks.files import FSHook
    from orchestrator.sdk.hooks.http import HttpHook
    from orchestrator.sdk.hooks.smtp import SmtpHook
    from orchestrator.sdk.hooks.sql import DbApiHook, SqlHook
    from orchestrator.sdk.http import HttpOperator, HttpSensor
    from orchestrator.sdk.latest_only import LatestOnlyOperator
    from orchestrator.sdk.masking import mask_secret
    from orchestrator.sdk.notifiers import BaseNotifier
    from orchestrator.sdk.other_interpreters import (
        BranchExternalPythonOperator,
        ExternalPythonOperator,
    )
    from orchestrator.sdk.retry_policies import (
        ExceptionRetryPolicy,
        RetryAction,
        RetryDecision,
        RetryPolicy,
        RetryRule,
    )
    from orchestrator.sdk.secrets import BaseSecretsBackend
    from orchestrator.sdk.sensors import (
        BaseSensorOperator,
        BashSensor,
        FileSensor,
        PokeReturnValue,
        PythonSensor,
    )
    from orchestrator.sdk.setups import setup, teardown
    from orchestrator.sdk.sql import (
        BranchSQLOperator,
        SQLCheckOperator,
        SQLExecuteQueryOperator,
        SqlSensor,
        SQLValueCheckOperator,
    )
    from orchestrator.sdk.state_names import DagRunState, TaskInstanceState
    from orchestrator.sdk.storage import ObjectStoragePath
    from orchestrator.sdk.subdags import SubDag
    from orchestrator.sdk.task_state import NEVER_EXPIRE
    from orchestrator.sdk.time_branches import BranchDateTimeOperator, BranchDayOfWeekOperator
    from orchestrator.sdk.time_sensors import (
        DateTimeSensor,
        DayOfWeekSensor,
        TimeDeltaSensor,
        TimeSensor,
    )
    from orchestrator.sdk.trigger_dagrun import TriggerDagRunOperator
    from orchestrator.sdk.variables import Variable
    from orchestrator.sdk.virtualenv import BranchPythonVirtualenvOperator, PythonVirtualenvOperator
    from orchestrator.sdk.weekdays import WeekDay

__all__ = [
    "DAG",
    "NEVER_EXPIRE",
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowRescheduleException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "AirflowTaskTimeout",
    "AsyncCallback",
    "BaseBranchOperator",
    "BaseHook",
    "BaseNotifier",
    "BaseOperator",
    "BaseSecretsBackend",
    "BaseSensorOperator",
    "BashOperator",
    "BashSensor",
    "BranchDateTimeOperator",
    "BranchDayOfWeekOperator",
    "BranchExternalPythonOperator",
    "BranchPythonOperator",
    "BranchPythonVirtualenvOperator",
    "BranchSQLOperator",
    "Cache",
    "Connection",
    "Context",
    "DagRun",
    "DagRunState",
    "DateTimeSensor",
    "DayOfWeekSensor",
    "DbApiHook",
    "DeadlineAlert",
    "DeadlineReference",
    "EmailOperator",
    "EmptyOperator",
    "ExceptionRetryPolicy",
    "ExternalPythonOperator",
    "ExternalTaskFailedError",
    "ExternalTaskMarker",
    "ExternalTaskSensor",
    "FSHook",
    "FailException",
    "FileSensor",
    "HttpHook",
    "HttpOperator",
    "HttpSensor",
    "Label",
    "LatestOnlyOperator",
    "NotFoundException",
    "ObjectStoragePath",
    "Param",
    "PokeReturnValue",
    "PythonOperator",
    "PythonSensor",
    "PythonVirtualenvOperator",
    "RescheduleException",
    "RetryAction",
    "RetryDecision",
    "RetryPolicy",
    "RetryRule",
    "SQLCheckOperator",
    "SQLExecuteQueryOperator",
    "SQLValueCheckOperator",
    "SensorTimeoutError",
    "ShortCircuitOperator",
    "SkipException",
    "SmtpHook",
    "SmtpNotifier",
    "SqlHook",
    "SqlSensor",
    "SubDag",
    "SyncCallback",
    "TaskException",
    "TaskGroup",
    "TaskInstance",
    "TaskInstanceState",
    "TaskTimeoutError",
    "TemplateError",
    "TimeDeltaSensor",
    "TimeSensor",
    "TriggerDagRunOperator",
    "TriggerRule",
    "Variable",
    "WeekDay",
    "WeightRule",
    "XComArg",
    "XComNotFound",
    "chain",
    "chain_linear",
    "cross_downstream",
    "dag",
    "get_current_context",
    "literal",
    "mask_secret",
    "register_type",
    "setup",
    "task",
    "task_group",
    "teardown",
]


if not TYPE_CHECKING:  # a type checker must go on to know which names there are

    def __getattr__(name: str) -> Any:
        """Import what few need; say of a name that only Airflow has that it is not there."""
        if name in ON_DEMAND:
            found = globals()[name] = getattr(import_module(ON_DEMAND[name]), name)
            return found
        raise missing_name(name) or AttributeError(f"module {__name__!r} has no attribute {name!r}")
