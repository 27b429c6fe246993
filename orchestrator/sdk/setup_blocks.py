"""What do the tasks of a `with teardown:` block wait for, and what waits for them?"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from orchestrator.core.specs import TriggerRule
from orchestrator.sdk.edges import Linkable, Node

if TYPE_CHECKING:
    from orchestrator.sdk.arguments import Subject
    from orchestrator.sdk.operators import BaseOperator

__all__ = ["SetupOrTeardown", "note_in_block"]


class SetupOrTeardown(Node):
    """A task that may be said to be a setup or a teardown."""

    is_setup: bool = False
    is_teardown: bool = False
    on_failure_fail_dagrun: bool = False
    trigger_rule: TriggerRule

    @property
    def subject(self) -> Subject:
        """What an error about the task is about."""
        raise NotImplementedError

    def as_setup(self) -> Self:
        """Say that it sets something up: what is downstream runs only if it succeeded."""
        if self.is_teardown:
            raise self.subject.error("it is a teardown, so it cannot be a setup")
        self.is_setup = True
        return self

    def as_teardown(
        self, *, setups: Any = None, on_failure_fail_dagrun: bool | None = None
    ) -> Self:
        """Say that it takes down what `setups` (a task, an output or several) set up, and have it
        wait for them; they become setups by that. Its failure does not fail the run, unless
        `on_failure_fail_dagrun` says so."""
        if self.is_setup:
            raise self.subject.error("it is a setup, so it cannot be a teardown")
        self.is_teardown = True
        self.trigger_rule = TriggerRule.ALL_DONE_SETUP_SUCCESS
        if on_failure_fail_dagrun is not None:
            self.on_failure_fail_dagrun = self.subject.flag(
                "on_failure_fail_dagrun", on_failure_fail_dagrun
            )
        for each in setups if isinstance(setups, list | tuple | set) else (setups,):
            if each is None:
                continue
            if not isinstance(each, Linkable):
                raise self.subject.error(f"setups names {each!r}, which is no task")
            for node in each.linked_nodes():
                if not isinstance(node, SetupOrTeardown):
                    raise self.subject.error(f"setups names {node!r}, which is no task")
                node.as_setup()
            each.set_downstream(self)
        return self

    def add_task(self, task: Any) -> None:
        """Count a task made before to its open `with` block."""
        block = next((each for each in reversed(_open.get()) if each.owner is self), None)
        if block is None:
            raise self.subject.error("add_task works within a `with` block of the task")
        block.members.extend(node for node in task.linked_nodes() if isinstance(node, _operator()))

    def __enter__(self) -> Self:
        if not self.is_setup and not self.is_teardown:
            raise self.subject.error(
                "only a setup or teardown can stand in `with`; call .as_setup() or .as_teardown() "
                "on it first"
            )
        _open.set((*_open.get(), _Block(self)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        *outer, block = _open.get()
        _open.set(tuple(outer))
        if kind is None:
            block.close()


class _Block:
    def __init__(self, owner: SetupOrTeardown) -> None:
        self.owner = owner
        self.members: list[BaseOperator] = []

    def close(self) -> None:
        """Put the setups before the tasks in the block that wait for none of the others, and the
        teardowns after those that none of the others waits for."""
        dag = self.owner.dag
        members = {each.task_id: each for each in self.members if each is not self.owner}
        if dag is None or not members:
            return
        upstream = dag.edges().upstream
        own = self.owner.node_id
        setups, teardowns = [self.owner], [self.owner]
        if self.owner.is_teardown:
            above = (dag.get_task(each) for each in sorted(upstream[own]))
            setups = [each for each in above if each.is_setup and each.task_id not in members]
        else:
            teardowns = [
                each
                for each in dag.tasks
                if each.is_teardown and own in upstream[each.task_id]
                if each.task_id not in members
            ]
        inner = {each for task_id in members for each in upstream[task_id]}
        roots = [each for id_, each in members.items() if not upstream[id_] & members.keys()]
        leaves = [each for id_, each in members.items() if id_ not in inner]
        _join(setups, roots)
        _join(leaves, teardowns)


_open: ContextVar[tuple[_Block, ...]] = ContextVar("orchestrator_setup_blocks", default=())


def note_in_block(task: BaseOperator) -> None:
    """Count a new task to the open `with` blocks of setups and teardowns around it."""
    for block in _open.get():
        if block.owner.dag is task.dag:
            block.members.append(task)


def _join(upstream: Iterable[Node], downstream: list[Any]) -> None:
    for each in upstream:
        each.set_downstream(downstream)


def _operator() -> type[BaseOperator]:
    from orchestrator.sdk.operators import BaseOperator  # noqa: PLC0415 - it needs this module

    return BaseOperator
