"""What can a person do to DAGs, runs and pools, and what do they get told when they may not?"""

from orchestrator.control.actions import Control
from orchestrator.control.clearing import Clearing, Touched
from orchestrator.control.explaining import explain_task_instance
from orchestrator.control.ports import ClearingStore, CommandStore, ReasonStore
from orchestrator.control.secrets import SecretControl
from orchestrator.control.xcoms import XComControl
from orchestrator.core.requests import RunRequest

__all__ = [
    "Clearing",
    "ClearingStore",
    "CommandStore",
    "Control",
    "ReasonStore",
    "RunRequest",
    "SecretControl",
    "Touched",
    "XComControl",
    "explain_task_instance",
]
