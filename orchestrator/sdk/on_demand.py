"""Which module holds a name that few DAG files use, to be imported by the first who asks?"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

__all__ = ["ON_DEMAND"]


def _from(module: str, names: Iterable[str]) -> dict[str, str]:
    return dict.fromkeys(names, f"orchestrator.sdk.{module}")


ON_DEMAND: Mapping[str, str] = MappingProxyType(
    {
        **_from("deadlines", ("AsyncCallback", "DeadlineAlert", "DeadlineReference")),
        **_from("deadlines", ("SyncCallback",)),
        **_from("notifiers", ("BaseNotifier",)),
        **_from("retry_policies", ("ExceptionRetryPolicy", "RetryAction", "RetryDecision")),
        **_from("retry_policies", ("RetryPolicy", "RetryRule")),
        **_from("connections", ("Connection",)),
        **_from("email", ("EmailOperator", "SmtpNotifier")),
        **_from("hooks.base", ("BaseHook",)),
        **_from("hooks.files", ("FSHook",)),
        **_from("hooks.http", ("HttpHook",)),
        **_from("hooks.smtp", ("SmtpHook",)),
        **_from("hooks.sql", ("DbApiHook", "SqlHook")),
        **_from("http", ("HttpOperator", "HttpSensor")),
        **_from("masking", ("mask_secret",)),
        **_from("secrets", ("BaseSecretsBackend",)),
        **_from("sql", ("BranchSQLOperator", "SQLCheckOperator", "SQLExecuteQueryOperator")),
        **_from("sql", ("SQLValueCheckOperator", "SqlSensor")),
        **_from("storage", ("ObjectStoragePath",)),
        **_from("variables", ("Variable",)),
        **_from("caching", ("Cache",)),
        **_from("task_state", ("NEVER_EXPIRE",)),
        **_from("classes", ("register_type",)),
        **_from("subdags", ("SubDag",)),
        **_from("setups", ("setup", "teardown")),
        **_from("sensors", ("BaseSensorOperator", "PokeReturnValue", "PythonSensor")),
        **_from("sensors", ("BashSensor", "FileSensor")),
        **_from("time_sensors", ("DateTimeSensor", "DayOfWeekSensor", "TimeDeltaSensor")),
        **_from("time_sensors", ("TimeSensor",)),
        **_from("time_branches", ("BranchDateTimeOperator", "BranchDayOfWeekOperator")),
        **_from("latest_only", ("LatestOnlyOperator",)),
        **_from("weekdays", ("WeekDay",)),
        **_from("trigger_dagrun", ("TriggerDagRunOperator",)),
        **_from("external_task", ("ExternalTaskMarker", "ExternalTaskSensor")),
        **_from("external_task", ("ExternalTaskFailedError",)),
        **_from("other_interpreters", ("BranchExternalPythonOperator", "ExternalPythonOperator")),
        **_from("virtualenv", ("BranchPythonVirtualenvOperator", "PythonVirtualenvOperator")),
        **_from("state_names", ("DagRunState", "TaskInstanceState")),
    }
)
"""Names of `orchestrator.sdk`, by module."""
