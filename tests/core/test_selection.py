"""Which instances a name, its relatives and its setups stand for."""

import pytest

from orchestrator.core.graph import build_graph
from orchestrator.core.ids import Slot, index_of
from orchestrator.core.selection import Relations, Selection, Target
from orchestrator.core.specs import DagSpec, Expansion, GroupSpec, LiteralLength
from orchestrator.core.states import TaskState
from orchestrator.errors import NotFoundError, RequestInvalidError
from tests.builders import a_dag, a_task

S, F, K, U, N = (
    TaskState.SUCCESS,
    TaskState.FAILED,
    TaskState.SKIPPED,
    TaskState.UPSTREAM_FAILED,
    TaskState.NONE,
)
TWO = Expansion(inputs=(LiteralLength(length=2),))


def relations(dag: DagSpec, states: dict[str, TaskState]) -> Relations:
    """`states` names instances as people do: `task` or `task[1]`."""
    return Relations(build_graph(dag), {slot(name): state for name, state in states.items()})


def slot(name: str) -> Slot:
    task_id, _, rest = name.partition("[")
    return Slot(task_id, int(rest[:-1])) if rest else Slot(task_id)


def chosen(dag: DagSpec, states: dict[str, TaskState], **fields: object) -> list[str]:
    """Return what is selected, as people name it."""
    known = relations(dag, states)
    selection = Selection(**fields)  # type: ignore[arg-type]
    slots = known.with_setups(known.instances(known.reach_of(selection), keeps=selection.keeps))
    return [s.task_id if s.map_index < 0 else f"{s.task_id}[{s.map_index}]" for s in slots]


def targets(*names: str) -> tuple[Target, ...]:
    slots = [slot(name) for name in names]
    return tuple(
        Target(name=s.task_id, map_index=None if s.map_index < 0 else s.map_index) for s in slots
    )


CHAIN = a_dag(a_task("a"), a_task("b", "a"), a_task("c", "b"), a_task("x"))
CHAIN_STATES = {"a": S, "b": F, "c": U, "x": F}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ["a", "x", "b", "c"]),
        ({"only_failed": True}, ["x", "b", "c"]),
        ({"targets": targets("b")}, ["b"]),
        ({"targets": targets("b"), "includes_upstream": True}, ["a", "b"]),
        ({"targets": targets("b"), "includes_downstream": True}, ["b", "c"]),
        ({"targets": targets("a"), "includes_downstream": True, "only_failed": True}, ["b", "c"]),
        ({"only_running": True}, []),
        ({"targets": ()}, []),
    ],
)
def test_s14_names_relatives_and_states_select(
    fields: dict[str, object], expected: list[str]
) -> None:
    assert chosen(CHAIN, CHAIN_STATES, **fields) == expected


def test_removed_instances_are_never_selected() -> None:
    assert chosen(CHAIN, {"a": S, "b": TaskState.REMOVED}) == ["a"]


def test_s23_a_group_is_selected_as_a_unit_with_the_groups_in_it() -> None:
    dag = a_dag(
        a_task("g.a", group_id="g"),
        a_task("g.h.b", "g.a", group_id="g.h"),
        a_task("c", "g.h.b"),
        groups=(GroupSpec(group_id="g"), GroupSpec(group_id="g.h", parent_id="g")),
    )
    states = dict.fromkeys(("g.a", "g.h.b", "c"), S)

    assert chosen(dag, states, targets=targets("g")) == ["g.a", "g.h.b"]
    assert chosen(dag, states, targets=targets("g.h"), includes_downstream=True) == ["g.h.b", "c"]
    with pytest.raises(RequestInvalidError, match="'g' is a task group of DAG 'd'; a map index"):
        chosen(dag, states, targets=targets("g[0]"))
    with pytest.raises(NotFoundError, match=r"no task or task group 'g\.hh'; did you mean 'g"):
        chosen(dag, states, targets=targets("g.hh"))


def test_s25_a_mapped_task_s_name_is_all_its_indexes_and_an_index_is_its_own() -> None:
    dag = a_dag(a_task("m", expansion=TWO), a_task("after", "m"), a_task("plain"))
    states = {"m[0]": S, "m[1]": F, "after": S, "plain": S}

    assert chosen(dag, states, targets=targets("m")) == ["m[0]", "m[1]"]
    assert chosen(dag, states, targets=targets("m[1]")) == ["m[1]"]
    assert chosen(dag, states, targets=targets("m[1]"), includes_downstream=True) == [
        "m[1]",
        "after",
    ]
    with pytest.raises(NotFoundError, match=r"no map index 7 in this run; it has 2, 0 to 1"):
        chosen(dag, states, targets=targets("m[7]"))
    with pytest.raises(NotFoundError, match="'plain' is not mapped in this run"):
        chosen(dag, states, targets=targets("plain[0]"))
    with pytest.raises(NotFoundError, match="'m' has no map indexes yet"):
        chosen(dag, {"m": N}, targets=targets("m[0]"))


def mapped_group() -> DagSpec:
    """before -> g.(a -> b -> m, mapped itself) -> after; `g` is mapped."""
    return a_dag(
        a_task("before"),
        a_task("g.a", "before", group_id="g"),
        a_task("g.b", "g.a", group_id="g"),
        a_task("g.m", "g.b", group_id="g", expansion=TWO),
        a_task("after", "g.m"),
        groups=(GroupSpec(group_id="g", expansion=TWO),),
    )


def inner(*path: int) -> int:
    return index_of(path, depth=2)


def test_s25_inside_a_mapped_group_only_the_same_index_is_related() -> None:
    m = {(i, j): f"g.m[{inner(i, j)}]" for i in (0, 1) for j in (0, 1)}
    names = ["before", "g.a[0]", "g.a[1]", "g.b[0]", "g.b[1]", *m.values(), "after"]
    states = dict.fromkeys(names, S)
    dag = mapped_group()

    below = chosen(dag, states, targets=targets("g.a[1]"), includes_downstream=True)
    assert below == ["g.a[1]", "g.b[1]", m[1, 0], m[1, 1], "after"]
    above = chosen(dag, states, targets=targets(m[0, 1]), includes_upstream=True)
    assert above == ["before", "g.a[0]", "g.b[0]", m[0, 1]]
    from_outside = chosen(dag, states, targets=targets("before"), includes_downstream=True)
    assert from_outside == ["before", "g.a[0]", "g.a[1]", "g.b[0]", "g.b[1]", *m.values(), "after"]


def test_s25_what_is_not_expanded_yet_is_related_by_what_it_will_become() -> None:
    unexpanded = f"g.m[{index_of((1,), depth=2)}]"
    states = {"before": S, "g.a[0]": S, "g.a[1]": S, "g.b[0]": S, "g.b[1]": S, unexpanded: N}

    assert chosen(mapped_group(), states, targets=targets("g.b[1]"), includes_downstream=True) == [
        "g.b[1]",
        unexpanded,
    ]
    assert chosen(mapped_group(), states, targets=targets("g.b[0]"), includes_downstream=True) == [
        "g.b[0]"
    ]


def test_s25_a_way_through_outside_reaches_every_index() -> None:
    dag = a_dag(
        a_task("g.a", group_id="g"),
        a_task("between", "g.a"),
        a_task("g.b", "between", group_id="g"),
        groups=(GroupSpec(group_id="g", expansion=TWO),),
    )
    states = dict.fromkeys(("g.a[0]", "g.a[1]", "between", "g.b[0]", "g.b[1]"), S)

    below = chosen(dag, states, targets=targets("g.a[0]"), includes_downstream=True)
    assert below == ["g.a[0]", "between", "g.b[0]", "g.b[1]"]


def cluster() -> DagSpec:
    """up (setup) -> work -> down (its teardown) -> report, which needs no cluster; `key` is a
    setup without teardown."""
    return a_dag(
        a_task("key", is_setup=True),
        a_task("up", "key", is_setup=True),
        a_task("work", "up"),
        a_task("more", "work"),
        a_task("down", "more", is_teardown=True, setups=("up",)),
        a_task("report", "down"),
    )


def test_s6_clearing_work_clears_its_setups_and_their_teardowns() -> None:
    states = dict.fromkeys(("key", "up", "work", "more", "down", "report"), S)

    assert chosen(cluster(), states, targets=targets("work")) == ["key", "up", "work", "down"]
    assert chosen(cluster(), states, targets=targets("report")) == ["key", "report"]
    assert chosen(cluster(), states, targets=targets("up")) == ["up"]
    assert chosen(cluster(), states, targets=targets("down")) == ["down"]


def test_s6_setups_come_along_whatever_their_state() -> None:
    """What failed can only run again where it has what its teardown took away."""
    states = {"key": S, "up": S, "work": S, "more": F, "down": S, "report": S}

    assert chosen(cluster(), states, only_failed=True) == ["key", "up", "more", "down"]


def test_s6_in_a_mapped_group_the_setup_of_the_same_index() -> None:
    dag = a_dag(
        a_task("g.up", group_id="g", is_setup=True),
        a_task("g.work", "g.up", group_id="g"),
        a_task("g.down", "g.up", "g.work", group_id="g", is_teardown=True, setups=("g.up",)),
        groups=(GroupSpec(group_id="g", expansion=TWO),),
    )
    states = {f"g.{name}[{index}]": S for name in ("up", "work", "down") for index in (0, 1)}

    assert chosen(dag, states, targets=targets("g.work[1]")) == [
        "g.up[1]",
        "g.work[1]",
        "g.down[1]",
    ]
