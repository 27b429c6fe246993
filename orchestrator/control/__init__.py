"""What can a person do to DAGs, runs and pools, and what do they get told when they may not?"""

from orchestrator.control.actions import Control
from orchestrator.control.explaining import explain_task_instance
from orchestrator.control.ports import (
    CommandStore,
    CurrentDag,
    NewRun,
    ReasonStore,
    RunRequest,
    TaskInstanceFacts,
)

__all__ = [
    "CommandStore",
    "Control",
    "CurrentDag",
    "NewRun",
    "ReasonStore",
    "RunRequest",
    "TaskInstanceFacts",
    "explain_task_instance",
]
