"""What can a person do to DAGs, runs and pools, and what do they get told when they may not?"""

from orchestrator.control.actions import Control
from orchestrator.control.explaining import explain_task_instance
from orchestrator.control.ports import CommandStore, ReasonStore
from orchestrator.control.secrets import SecretControl
from orchestrator.core.requests import RunRequest

__all__ = [
    "CommandStore",
    "Control",
    "ReasonStore",
    "RunRequest",
    "SecretControl",
    "explain_task_instance",
]
