"""Which ready task goes first where one thread runs them all, as in `orchestrator.testing`?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from orchestrator.sdk.mapped_operators import MappedOperator
from orchestrator.sdk.sensors import BaseSensorOperator

if TYPE_CHECKING:
    from orchestrator.sdk.operators import BaseOperator

__all__ = ["Turn", "turns"]

Turn = tuple[bool, int]
"""The lower one goes first."""


def turns(tasks: Iterable[BaseOperator], priorities: Mapping[str, int]) -> dict[str, Turn]:
    """Return each task's turn: the higher priority goes first, but every sensor after all that is
    none. What it waits for may be their work, and while it waits nobody else has the thread."""
    return {task.task_id: (_is_sensor(task), -priorities[task.task_id]) for task in tasks}


def _is_sensor(task: BaseOperator) -> bool:
    made = task.operator_class if isinstance(task, MappedOperator) else type(task)
    return issubclass(made, BaseSensorOperator)
