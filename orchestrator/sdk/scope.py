"""Which DAG and task group does a task belong to that is created here?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.errors import DagInvalidError

if TYPE_CHECKING:
    from orchestrator.sdk.dag import DAG
    from orchestrator.sdk.groups import TaskGroup
    from orchestrator.sdk.operators import BaseOperator


class Scope(NamedTuple):
    """An open `with DAG(...)` block, or an open group within it."""

    dag: DAG
    group: TaskGroup | None


_open: ContextVar[tuple[Scope, ...]] = ContextVar("orchestrator_open_scopes", default=())
_homeless: ContextVar[list[BaseOperator] | None] = ContextVar(
    "orchestrator_homeless_tasks", default=None
)
_collected: ContextVar[list[DAG] | None] = ContextVar("orchestrator_collected", default=None)


def current_scope() -> Scope | None:
    """Return the innermost open `with` block, if any."""
    scopes = _open.get()
    return scopes[-1] if scopes else None


def enter_scope(scope: Scope) -> None:
    """Open a block."""
    _open.set((*_open.get(), scope))


def leave_scope() -> None:
    """Close the innermost block."""
    _open.set(_open.get()[:-1])


@contextmanager
def collecting() -> Iterator[list[DAG]]:
    """Gather every DAG whose `with` block (or `@dag` function) ends well inside this block, also
    those that no module variable holds."""
    found: list[DAG] = []
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)


def collect(dag: DAG) -> None:
    """Hand a finished DAG to the innermost `collecting()` block, if there is one."""
    found = _collected.get()
    if found is not None and all(dag is not known for known in found):
        found.append(dag)


@contextmanager
def watching_for_homeless() -> Iterator[list[BaseOperator]]:
    """Gather the tasks made outside of any DAG inside this block."""
    found: list[BaseOperator] = []
    token = _homeless.set(found)
    try:
        yield found
    finally:
        _homeless.reset(token)


def note_homeless(task: BaseOperator) -> None:
    """Hand a task without DAG to the innermost `watching_for_homeless()` block, if any."""
    found = _homeless.get()
    if found is not None:
        found.append(task)


def dags_of(namespace: Mapping[str, Any], collected: Sequence[DAG]) -> list[DAG]:
    """Return the DAGs of an imported file: those collected, then those its variables hold.

    Two DAGs of one id in one file raise a DagInvalidError that names both places.
    """
    from orchestrator.sdk.dag import DAG  # noqa: PLC0415 - dag.py needs this module first

    dags: dict[str, DAG] = {}
    for dag in (*collected, *(value for value in namespace.values() if isinstance(value, DAG))):
        known = dags.setdefault(dag.dag_id, dag)
        if known is not dag:
            raise DagInvalidError(
                f"DAG {dag.dag_id!r} exists twice in this file: first at {known.site}, again at "
                f"{dag.site}; give each its own dag_id"
            )
    return list(dags.values())
