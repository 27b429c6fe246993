"""A DAG is drawn so that a person sees what matters, however large it is."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from rich.console import Console
from rich.tree import Tree

from orchestrator.cli.run_tree import Progress, draw_dag, draw_run
from orchestrator.core.graph import Graph, build_graph
from orchestrator.core.ids import UNMAPPED, RunUid, TaskKey, TiId, VersionId, index_of
from orchestrator.core.specs import (
    DagSpec,
    Expansion,
    GroupSpec,
    LiteralLength,
    TaskSpec,
    TriggerRule,
)
from orchestrator.core.states import RunState, RunType, TaskState, TriggeredBy
from orchestrator.core.views import RunView, TaskInstanceView, VersionView

NOW = datetime(2024, 5, 31, 6, 0, tzinfo=UTC)
VERSION = VersionView(
    version_id=VersionId(UUID(int=1)),
    dag_id="d",
    dag_display_name="d",
    version_number=1,
    created_at=NOW,
)
RUN = RunView(
    uid=RunUid(UUID(int=2)),
    dag_id="d",
    dag_display_name="d",
    run_id="r",
    state=RunState.RUNNING,
    run_type=RunType.MANUAL,
    triggered_by=TriggeredBy.CLI,
    user=None,
    logical_date=None,
    data_interval_start=None,
    data_interval_end=None,
    run_after=NOW,
    queued_at=NOW,
    started_at=NOW - timedelta(seconds=65),
    ended_at=None,
    conf={},
    note=None,
    reason=None,
    version=VERSION,
)


def a_graph(edges: dict[str, tuple[str, ...]], *groups: str) -> Graph:
    """A DAG of tasks and their upstream; `group.task` is in that group."""
    return build_graph(
        DagSpec(
            dag_id="d",
            groups=tuple(GroupSpec(group_id=group) for group in groups),
            tasks=tuple(
                TaskSpec(
                    task_id=task_id,
                    operator="@task",
                    upstream=upstream,
                    group_id=task_id.rpartition(".")[0] or None,
                )
                for task_id, upstream in sorted(edges.items())
            ),
        )
    )


def a_mapped_graph() -> Graph:
    """`g.m`, mapped itself, in the mapped group `g`."""
    twice = Expansion(inputs=(LiteralLength(length=2),))
    task = TaskSpec(task_id="g.m", operator="@task", group_id="g", expansion=twice)
    group = GroupSpec(group_id="g", expansion=twice)
    return build_graph(DagSpec(dag_id="d", tasks=(task,), groups=(group,)))


def an_instance(
    task_id: str, state: TaskState, *, map_index: int = UNMAPPED, reason: str | None = None
) -> TaskInstanceView:
    has_started = state not in (TaskState.NONE, TaskState.SCHEDULED, TaskState.QUEUED)
    has_ended = has_started and state is not TaskState.RUNNING
    return TaskInstanceView(
        ti_id=TiId(UUID(int=3)),
        key=TaskKey("d", "r", task_id, map_index),
        display_name=task_id,
        dag_display_name="d",
        operator="@task",
        state=state,
        try_number=int(has_started),
        max_tries=0,
        pool="default_pool",
        pool_slots=1,
        priority=1,
        queue="default",
        note=None,
        rendered_map_index=None,
        reason=reason,
        scheduled_at=None,
        queued_at=None,
        started_at=NOW - timedelta(seconds=3) if has_started else None,
        ended_at=NOW - timedelta(seconds=1) if has_ended else None,
        eligible_at=None,
        worker_id=None,
        hostname=None,
        pid=None,
        logical_date=None,
        run_after=NOW,
        version=VERSION,
    )


def a_progress(*instances: TaskInstanceView, state: RunState = RunState.RUNNING) -> Progress:
    by_task: dict[str, list[TaskInstanceView]] = {}
    for one in instances:
        by_task.setdefault(one.key.task_id, []).append(one)
    return Progress(run=replace(RUN, state=state), instances=by_task, now=NOW)


def lines(tree: Tree, *, width: int = 100) -> list[str]:
    console = Console(width=width, color_system=None, highlight=False)
    with console.capture() as capture:
        console.print(tree)
    return [line.rstrip() for line in capture.get().splitlines()]


def test_states_durations_and_reasons() -> None:
    graph = a_graph({"a": (), "b": ("a",), "c": ("b",), "e": ("c",)})
    progress = a_progress(
        an_instance("a", TaskState.SUCCESS),
        an_instance("b", TaskState.UP_FOR_RETRY, reason="ValueError: no\nsecond line"),
        an_instance("c", TaskState.RUNNING),
        an_instance("e", TaskState.NONE),
    )
    assert lines(draw_run(progress, graph)) == [
        "d  r  running  1 min 5 s",
        "└── ✓ a  success  2.0 s",
        "    └── ↻ b  up_for_retry  2.0 s  ValueError: no",
        "        └── ▶ c  running  3.0 s",
        "            └── · e",
    ]


def test_a_line_is_never_folded() -> None:
    progress = a_progress(an_instance("a", TaskState.FAILED, reason="x" * 200))
    shown = lines(draw_run(progress, a_graph({"a": ()})), width=40)
    assert len(shown) == 2
    assert shown[1].endswith("…")


def test_a_task_with_several_upstream_tasks_stands_below_the_deepest() -> None:
    graph = a_graph({"a": (), "b": ("a",), "join": ("a", "b")})
    assert lines(draw_dag(graph)) == [
        "d",
        "└── a  @task",
        "    └── b  @task",
        "        └── join  @task  after a, b",
    ]


def test_groups_are_branches_and_their_tasks_lose_the_prefix() -> None:
    graph = a_graph(
        {"load": ("in.a", "in.deep.b"), "in.a": (), "in.deep.b": ("in.a",)}, "in", "in.deep"
    )
    spec = replace(
        graph.spec,
        groups=(GroupSpec(group_id="in"), GroupSpec(group_id="in.deep", parent_id="in")),
    )
    assert lines(draw_dag(build_graph(spec))) == [
        "d",
        "├── in",
        "│   ├── a  @task",
        "│   └── deep",
        "│       └── b  @task  after in.a",
        "└── load  @task  after in.a, in.deep.b",
    ]


def test_a_trigger_rule_that_is_not_the_default_is_shown() -> None:
    graph = a_graph({"a": ()})
    task = replace(graph.spec.tasks[0], trigger_rule=TriggerRule.ALL_DONE)
    assert lines(draw_dag(build_graph(replace(graph.spec, tasks=(task,)))))[1] == (
        "└── a  @task  all_done"
    )


def test_of_many_siblings_those_that_need_a_look_are_shown_and_the_rest_counted() -> None:
    edges: dict[str, tuple[str, ...]] = {f"t{n:02}": () for n in range(40)}
    instances = [an_instance(task_id, TaskState.SUCCESS) for task_id in edges]
    instances[33] = an_instance("t33", TaskState.FAILED)
    instances[35] = an_instance("t35", TaskState.RUNNING)
    shown = lines(draw_run(a_progress(*instances), a_graph(edges)))
    assert len(shown) == 1 + 12 + 1
    assert "├── ✗ t33  failed  2.0 s" in shown
    assert "├── ▶ t35  running  3.0 s" in shown
    assert shown[-1] == "└── … and 28 more: 28 success"


def test_of_mapped_instances_a_few_that_failed_or_run_are_named() -> None:
    graph = a_mapped_graph()
    states = dict.fromkeys(range(3000), TaskState.SUCCESS)
    states |= dict.fromkeys(range(7, 14), TaskState.FAILED) | {3: TaskState.RUNNING}
    deep = {number: index_of((number // 100, number % 100), depth=2) for number in states}
    instances = [
        an_instance("g.m", state, map_index=deep[number], reason="no rain" if number == 8 else None)
        for number, state in states.items()
    ]
    instances[7] = replace(instances[7], rendered_map_index="Paris")
    assert lines(draw_run(a_progress(*instances), graph))[1:] == [
        "└── g",
        "    └── ▶ m  1 running, 2992 success, 7 failed",
        "        ├── ✗ [0][7]  Paris  failed  2.0 s",
        "        ├── ✗ [0][8]  failed  2.0 s  no rain",
        *(f"        ├── ✗ [0][{number}]  failed  2.0 s" for number in (9, 10, 11)),
        "        └── … and 3 more: 1 running, 2 failed",
    ]


def test_mapped_instances_are_counted() -> None:
    instances = [
        an_instance("a", TaskState.SUCCESS, map_index=0),
        an_instance("a", TaskState.SUCCESS, map_index=1),
        an_instance("a", TaskState.RUNNING, map_index=2),
    ]
    assert lines(draw_run(a_progress(*instances), a_graph({"a": ()})))[1] == (
        "└── ▶ a  1 running, 2 success"
    )


def test_a_chain_longer_than_recursion_allows_is_drawn() -> None:
    edges: dict[str, tuple[str, ...]] = {"t0": ()}
    edges |= {f"t{n}": (f"t{n - 1}",) for n in range(1, 1500)}
    tree = draw_run(a_progress(), a_graph(edges))
    depth = 0
    while tree.children:
        (tree,) = tree.children
        depth += 1
    assert depth == 1500
