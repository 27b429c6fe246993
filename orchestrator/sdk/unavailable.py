"""What do authors who come from Airflow reach for that this version does not have, and what to say?

A plain AttributeError or ImportError would let them look for a typing mistake.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NoReturn

from orchestrator.errors import DagInvalidError
from orchestrator.sdk.callsite import invalid

__all__ = ["Airflows", "missing_name", "refuse_attribute"]

_ASSETS = "assets"
_EXPAND = (
    "write .partial(...).expand(...) on an operator class, or expand a task function that is not "
    "called yet"
)
_DEFERRAL = "deferral and triggers"
_HITL = "questions to people within a run (HITL)"
_KUBERNETES = "operators for Kubernetes"
_WEIGHTS = (
    "weight strategies of one's own; weight_rule takes 'downstream', 'upstream', 'absolute' or "
    "'critical_path'"
)
_TIMETABLES = "timetable classes; schedule takes a cron expression, a preset or a timedelta"

_ATTRIBUTES: Mapping[str, str] = MappingProxyType(
    {
        "defer": _DEFERRAL,
        "test": "DAG.test(); run `orchestrator dags test FILE`, or in Python "
        "`orchestrator.testing.run_dag(dag)`",
    }
)
"""Attributes of DAGs, tasks, groups and outputs, by what they belong to."""

_NAMES: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("Asset", "AssetAlias", "AssetAll", "AssetAny", "AssetWatcher"), _ASSETS),
        **dict.fromkeys(("Dataset", "Metadata", "asset"), _ASSETS),
        **dict.fromkeys(("BaseTrigger", "BaseEventTrigger", "TriggerEvent"), _DEFERRAL),
        **dict.fromkeys(("CronTriggerTimetable", "CronDataIntervalTimetable"), _TIMETABLES),
        **dict.fromkeys(("DeltaTriggerTimetable", "DeltaDataIntervalTimetable"), _TIMETABLES),
        **dict.fromkeys(("Timetable", "MultipleCronTriggerTimetable"), _TIMETABLES),
        **dict.fromkeys(("HITLOperator", "HITLBranchOperator", "HITLEntryOperator"), _HITL),
        "ApprovalOperator": _HITL,
        **dict.fromkeys(("KubernetesPodOperator", "KubernetesJobOperator"), _KUBERNETES),
        "PriorityWeightStrategy": _WEIGHTS,
        "conf": "Airflow's configuration; `orchestrator config list` shows ours",
        "XCom": "the XCom class; use ti.xcom_push and ti.xcom_pull",
        "DummyOperator": "DummyOperator; it is called EmptyOperator",
        "SubDagOperator": "SubDagOperator; use SubDag",
        "days_ago": "days_ago; use a fixed datetime",
    }
)
"""Names that Airflow's packages export."""


def refuse_attribute(name: str, owner: object) -> DagInvalidError | None:
    """Build the error for an attribute that Airflow's object of that kind has; None for others."""
    if name in ("expand", "expand_kwargs"):
        hint = _EXPAND
    elif name in _ATTRIBUTES:
        hint = f"this version does not have {_ATTRIBUTES[name]}"
    else:
        return None
    where = owner.__name__ if isinstance(owner, type) else repr(owner)
    return invalid(where, f".{name}: {hint}")


def missing_name(name: str) -> DagInvalidError | None:
    """Build the error for importing a name that Airflow's packages have; None for others."""
    if name not in _NAMES:
        return None
    return invalid("orchestrator.sdk", f"{name}: this version does not have {_NAMES[name]}")


class Airflows:
    """Whatever has methods in Airflow that it does not have here."""

    if not TYPE_CHECKING:  # a type checker must go on to know which attributes there are

        def __getattr__(self, name: str) -> NoReturn:
            raise refuse_attribute(name, self) or AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self
            )
