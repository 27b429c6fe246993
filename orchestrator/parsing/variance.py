"""What differs between two imports of the same file without anybody having changed it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from orchestrator.core.codec import encode_spec
from orchestrator.core.specs import DagSpec
from orchestrator.parsing.results import (
    ImportProblem,
    ParsedDag,
    ParseWarning,
    ProblemKind,
    SpecPath,
    WarningKind,
)
from orchestrator.parsing.wire import Comparison

_TASK_STRUCTURE: tuple[SpecPath, ...] = (("edge_labels",), ("groups",), ("tasks",))
"""What belongs to the graph: it varies as a whole, because a path into it would name another task
at the next import."""

_PATHS_NAMED_MAX = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Variance:
    """How two specs of one DAG differ: paths to leave out of the content hash, and why."""

    volatile: tuple[SpecPath, ...] = ()
    warnings: tuple[ParseWarning, ...] = ()


def compare_imports(
    path: str, first: tuple[ParsedDag, ...], second: tuple[ParsedDag, ...]
) -> Comparison:
    """Compare two imports of one file. DAG ids must not vary: a worker would not find the DAG."""
    again = {dag.spec.dag_id: dag.spec for dag in second}
    only = sorted({dag.spec.dag_id for dag in first} ^ again.keys())
    if only:
        return Comparison(error=_ids_vary(path, only))
    variances = [compare_specs(dag.spec, again[dag.spec.dag_id]) for dag in first]
    return Comparison(
        dags=tuple(
            replace(dag, volatile=variance.volatile)
            for dag, variance in zip(first, variances, strict=True)
        ),
        warnings=tuple(warning for variance in variances for warning in variance.warnings),
    )


def compare_specs(first: DagSpec, second: DagSpec) -> Variance:
    """Compare two imports of one DAG.

    A varying value makes its path volatile. A varying graph makes the graph volatile as a whole:
    its versions then follow the source (and every value outside the graph), and the first import's
    tasks are the ones stored.
    """
    before, after = _document(first), _document(second)
    volatile: list[SpecPath] = []
    warnings: list[ParseWarning] = []
    if _graph(first) != _graph(second):
        volatile.extend(_TASK_STRUCTURE)
        warnings.append(_tasks_vary(first, second))
        for step in _TASK_STRUCTURE:
            before.pop(str(step[0]))
            after.pop(str(step[0]))
    values = tuple(_differing(before, after, ()))
    if values:
        volatile.extend(values)
        warnings.append(_values_vary(first, values))
    return Variance(volatile=tuple(sorted(volatile, key=repr)), warnings=tuple(warnings))


def graph_varies(comparison: Comparison) -> bool:
    """Say whether the DAGs or their tasks themselves differ, not only values."""
    return comparison.error is not None or any(
        warning.kind is WarningKind.RUNTIME_VARYING_TASKS for warning in comparison.warnings
    )


def _ids_vary(path: str, only: list[str]) -> ImportProblem:
    named = ", ".join(only[:_PATHS_NAMED_MAX])
    return ImportProblem(
        kind=ProblemKind.INVALID,
        message=(
            f"{path}: two imports of the file in a row gave different DAGs: {named} not in both. A "
            "worker that imports the file later would not find its DAG; build dag_ids from fixed "
            "data: no uuid, random or time"
        ),
    )


def _document(spec: DagSpec) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.json.decode(encode_spec(spec))
    return document


def _graph(spec: DagSpec) -> tuple[object, ...]:
    return (
        tuple((task.task_id, task.upstream, task.group_id) for task in spec.tasks),
        tuple((group.group_id, group.parent_id) for group in spec.groups),
        tuple((edge.upstream, edge.downstream) for edge in spec.edge_labels),
    )


def _differing(before: object, after: object, path: SpecPath) -> Iterator[SpecPath]:
    if before == after:
        return
    match before, after:
        case dict(), dict() if before.keys() == after.keys():
            for key in before:
                yield from _differing(before[key], after[key], (*path, key))
        case list(), list() if len(before) == len(after):
            for index, (old, new) in enumerate(zip(before, after, strict=True)):
                yield from _differing(old, new, (*path, index))
        case _:
            yield path


def _tasks_vary(first: DagSpec, second: DagSpec) -> ParseWarning:
    before = {task.task_id for task in first.tasks}
    after = {task.task_id for task in second.tasks}
    only = sorted(before ^ after)[:_PATHS_NAMED_MAX]
    what = f"tasks {', '.join(only)} are not in both" if only else "dependencies are not the same"
    return ParseWarning(
        kind=WarningKind.RUNTIME_VARYING_TASKS,
        dag_id=first.dag_id,
        message=(
            f"{first.dag_id}: two imports of the file in a row gave different graphs: {what}. "
            "The first import's graph is used, and a new version needs a change of the file. "
            "Derive task ids and their order from fixed data: no uuid, random or time, and "
            "sorted() around sets"
        ),
    )


def _values_vary(spec: DagSpec, paths: tuple[SpecPath, ...]) -> ParseWarning:
    named = ", ".join(describe_path(spec, path) for path in paths[:_PATHS_NAMED_MAX])
    more = f" and {len(paths) - _PATHS_NAMED_MAX} more" if len(paths) > _PATHS_NAMED_MAX else ""
    cure = (
        "give a fixed start_date, such as datetime(2026, 1, 1)"
        if ("start_date",) in paths
        else "compute it in a task, or use a template such as {{ ds }}"
    )
    return ParseWarning(
        kind=WarningKind.RUNTIME_VARYING_VALUE,
        dag_id=spec.dag_id,
        message=(
            f"{spec.dag_id}: {named}{more} changes with each import of the file; it is left out of "
            f"the comparison of versions, and the value of the first import stays. Better: {cure}"
        ),
    )


def describe_path(spec: DagSpec, path: SpecPath) -> str:
    """Name a path as its author would: `task 'load' template_fields.bash_command`."""
    match path:
        case ("tasks", int(index), *rest):
            return " ".join((f"task {spec.tasks[index].task_id!r}", _dotted(rest))).rstrip()
        case ("params", int(index), *rest):
            return " ".join((f"param {spec.params[index].name!r}", _dotted(rest))).rstrip()
        case _:
            return _dotted(path)


def _dotted(steps: Sequence[str | int]) -> str:
    return ".".join(str(step) for step in steps)
