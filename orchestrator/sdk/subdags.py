"""How does one DAG hold the tasks of another?"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from orchestrator.errors import did_you_mean
from orchestrator.sdk.arguments import Subject
from orchestrator.sdk.callsite import author_call
from orchestrator.sdk.dag import DAG
from orchestrator.sdk.groups import TaskGroup
from orchestrator.sdk.jsonvalues import json_value
from orchestrator.sdk.operators import BaseOperator
from orchestrator.sdk.params import resolve_params
from orchestrator.sdk.references import moved

if TYPE_CHECKING:
    from orchestrator.core.specs import ParamSpec
    from orchestrator.sdk.edges import Node

__all__ = ["SubDag"]


class SubDag(TaskGroup):
    """The tasks of another DAG, as they are now, as a group of this one: with their groups, order,
    labels, setups and mappings, under the group's prefix.

    They belong to this DAG's runs: there is no child run, no task that waits for one, and so
    nothing that could wait for itself. Within the other DAG's code its own ids still mean its own
    tasks: what a branch returns, what xcom_pull is given. Its params hold with their defaults, or
    with the values in `params`; a run's conf comes before both. Its templates find its macros,
    filters and template files. What it says of its runs (schedule, catchup, limits, callbacks,
    fail_fast, run_state) is left out: the runs are this DAG's.

    The other DAG is one that can run alone as well; it is not changed.
    """

    def __init__(
        self,
        subdag: DAG,
        *,
        group_id: str | None = None,
        params: Mapping[str, Any] | None = None,
        **arguments: Any,
    ) -> None:
        if not isinstance(subdag, DAG):
            raise Subject("SubDag", author_call()).error(
                f"it is given {subdag!r}; its first argument is the DAG that it holds"
            )
        super().__init__(subdag.dag_id if group_id is None else group_id, **arguments)
        if subdag is self.dag:
            raise self.subject.error("a DAG cannot hold itself")
        self._nodes: dict[int, Node] = {}
        self._params = _params_of(subdag, params, self.subject)
        for group in subdag.groups:
            self._take_group(group)
        for task in subdag.tasks:
            self._take_task(task, subdag)
        # Only now is there a copy of everything that one may refer to.
        for node in self._nodes.values():
            for name, value in vars(node).items():
                vars(node)[name] = moved(value, self._moved)
        for link in subdag.links:
            up, down = self._moved(link.upstream), self._moved(link.downstream)
            self.dag.add_link(up, down, label=link.label, site=link.site)

    def _moved(self, node: Any) -> Any:
        """What stands here for a task or group of the other DAG."""
        return self._nodes.get(id(node), node)

    def _take_group(self, group: TaskGroup) -> None:
        taken = copy.copy(group)
        taken.dag = self.dag
        taken.parent_group = self if group.parent_group is None else self._moved(group.parent_group)
        taken.group_id = self.subject.identifier("group_id", self.prefixed(group.group_id))
        taken.subject = Subject(
            f"DAG {self.dag.dag_id!r}, task group {taken.group_id!r}", self.site
        )
        self._nodes[id(group)] = taken
        self.dag.add_group(taken)

    def _take_task(self, task: BaseOperator, subdag: DAG) -> None:
        taken = copy.copy(task)
        taken.dag = self.dag
        taken.site = self.site
        taken.task_group = self if task.task_group is None else self._moved(task.task_group)
        taken.task_id = self.subject.identifier("task_id", self.prefixed(task.task_id))
        taken.id_prefix = self.prefixed(task.id_prefix)
        taken.authored_in = task.authored_in or subdag
        own = {spec.name for spec in task.params}
        taken.params = (*(spec for spec in self._params if spec.name not in own), *task.params)
        self._nodes[id(task)] = taken
        self.dag.add_task(taken)


def _params_of(
    subdag: DAG, given: Mapping[str, Any] | None, subject: Subject
) -> tuple[ParamSpec, ...]:
    """The params of the other DAG, with other defaults."""
    values = subject.named("params", given)
    known = {spec.name: spec for spec in subdag.params}
    for name, value in values.items():
        if name not in known:
            raise subject.error(
                f"DAG {subdag.dag_id!r} has no param {name!r}{did_you_mean(name, known)}"
            )
        default = json_value(value, name=f"param {name!r}")
        known[name] = replace(known[name], has_default=True, default=default)
        resolve_params([known[name]], {})
    return tuple(known.values())
