"""As many instances run as the spec says: the worker's reading of an input and the scheduler's
measure of it agree, whatever is mapped, zipped, concatenated and grouped."""

import math
from collections.abc import Mapping
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.core.specs import ConcatLength, LiteralLength, MapInput, ReturnLength, ZipLength
from orchestrator.core.states import TaskState
from orchestrator.sdk import DAG, task, task_group
from orchestrator.testing import DagRunResult, run_dag

Program = list[tuple[str, Any]]

SOURCES = st.recursive(
    st.one_of(
        st.tuples(st.just("literal"), st.integers(0, 3)),
        st.tuples(st.just("task"), st.integers(0, 20)),
    ),
    lambda inner: st.one_of(
        st.tuples(st.just("map"), inner),
        st.tuples(st.just("zip"), st.lists(inner, min_size=1, max_size=2)),
        st.tuples(st.just("zip_longest"), st.lists(inner, min_size=1, max_size=2)),
        st.tuples(st.just("concat"), st.lists(inner, min_size=1, max_size=2)),
    ),
    max_leaves=3,
)
STEPS = st.one_of(
    st.tuples(st.just("plain"), st.integers(0, 3)),
    st.tuples(st.just("mapped"), st.lists(SOURCES, min_size=1, max_size=2)),
    st.tuples(st.just("group"), st.tuples(SOURCES, st.integers(0, 2))),
)


@task
def plain(count: int) -> list[int]:
    return list(range(count))


@task
def show(x: Any, y: Any = None) -> list[Any]:
    return [x, y]


@task_group
def nest(n: Any, count: int) -> Any:
    first = plain.override(task_id="first")(count)
    return show.override(task_id="second").partial(y=n).expand(x=first)


def source_of(source: Any, outputs: list[Any]) -> Any:
    """What a strategy's tree means in a DAG file."""
    kind, value = source
    if kind == "literal":
        return list(range(value))
    if kind == "task":
        return outputs[value % len(outputs)]
    if kind == "map":
        inner = source_of(value, outputs)
        return inner if isinstance(inner, list) else inner.map(lambda each: [each])
    parts = [source_of(each, outputs) for each in value]
    first = outputs[0]
    if kind == "concat":
        return first.concat(*parts)
    return first.zip(*parts, **({"fillvalue": None} if kind == "zip_longest" else {}))


def dag_of(program: Program) -> DAG:
    with DAG("d") as dag:
        outputs: list[Any] = [plain.override(task_id="t")(2)]
        for number, (kind, value) in enumerate(program):
            name = f"t{number}"
            if kind == "plain":
                outputs.append(plain.override(task_id=name)(value))
            elif kind == "mapped":
                named = zip(("x", "y"), (source_of(each, outputs) for each in value), strict=False)
                outputs.append(show.override(task_id=name).expand(**dict(named)))
            else:
                group = nest.override(group_id=name).partial(count=value[1])
                outputs.append(group.expand(n=source_of(value[0], outputs)))
    return dag


def length_of(source: MapInput, returned: Mapping[str, int]) -> int:
    match source:
        case LiteralLength():
            return source.length
        case ReturnLength():
            return returned[source.task_id]
        case ZipLength():
            parts = [length_of(each, returned) for each in source.inputs]
            return max(parts) if source.longest else min(parts)
        case ConcatLength():
            return sum(length_of(each, returned) for each in source.inputs)


def ran(result: DagRunResult, task_id: str) -> int:
    return sum(each.state is TaskState.SUCCESS for each in result.instances_of(task_id))


def skipped_above(source: MapInput, skipped: set[str]) -> bool:
    if isinstance(source, ReturnLength):
        return source.task_id in skipped
    inner = source.inputs if isinstance(source, ZipLength | ConcatLength) else ()
    return any(skipped_above(each, skipped) for each in inner)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(st.lists(STEPS, min_size=1, max_size=4))
def test_s10_as_many_instances_run_as_the_spec_says(program: Program) -> None:
    dag = dag_of(program)
    spec = dag.spec()
    groups = {group.group_id: group for group in spec.groups}
    result = run_dag(dag)
    returned: dict[str, int] = {"t": 2}
    skipped: set[str] = set()

    def count(expansion: Any) -> int:
        if any(skipped_above(each, skipped) for each in expansion.inputs):
            return 0
        return math.prod(length_of(each, returned) for each in expansion.inputs)

    def check(task_id: str, expected: int) -> None:
        assert ran(result, task_id) == expected, (task_id, str(result))
        if not expected:
            skipped.add(task_id)

    tasks = {each.task_id: each for each in spec.tasks}
    for number, (kind, value) in enumerate(program):
        name = f"t{number}"
        if kind == "plain":
            returned[name] = value
            check(name, 1)
        elif kind == "mapped":
            returned[name] = count(tasks[name].expansion)
            check(name, returned[name])
        else:
            indexes = count(groups[name].expansion)
            check(f"{name}.first", indexes)
            returned[f"{name}.second"] = indexes * value[1]
            check(f"{name}.second", indexes * value[1])
    states = {each.state for each in result.instances.values()}
    assert states <= {TaskState.SUCCESS, TaskState.SKIPPED}, str(result)
