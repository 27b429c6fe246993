"""What a person writes of a map index and what they read is the same."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.graph import build_graph
from orchestrator.core.ids import PATH_STRIDE, UNMAPPED, MapPath, Slot, index_of
from orchestrator.core.levels import Levels
from orchestrator.core.map_paths import (
    Steps,
    check_steps,
    index_for,
    index_name,
    instance_name,
    read_name,
    read_steps,
)
from orchestrator.core.specs import Expansion, GroupSpec, LiteralLength
from orchestrator.errors import RequestInvalidError
from tests.builders import a_dag, a_task

TWICE = Expansion(inputs=(LiteralLength(length=2),))


def levels() -> dict[str, Levels]:
    """Tasks of every depth: `t0` to `t3` are in as many mapped groups."""
    groups = [
        GroupSpec(group_id="a", expansion=TWICE),
        GroupSpec(group_id="a.b", parent_id="a", expansion=TWICE),
        GroupSpec(group_id="a.b.c", parent_id="a.b", expansion=TWICE),
    ]
    around = (None, "a", "a.b", "a.b.c")
    tasks = (a_task(f"t{depth}", group_id=group) for depth, group in enumerate(around))
    return dict(build_graph(a_dag(*tasks, groups=tuple(groups))).levels)


LEVELS = levels()


@pytest.mark.parametrize(
    ("written", "name", "steps"),
    [
        ("task", "task", None),
        ("g.task[3]", "g.task", (3,)),
        ("task[1][0]", "task", (1, 0)),
        ("task[1,0]", "task", (1, 0)),
        ("task[1, 0][2]", "task", (1, 0, 2)),
        ("task[1][*]", "task", (1, None)),
        ("task[*]", "task", (None,)),
    ],
)
def test_what_is_written_behind_a_name(written: str, name: str, steps: Steps | None) -> None:
    assert read_name(written) == (name, steps)


@pytest.mark.parametrize(
    ("written", "steps"),
    [("3", (3,)), ("1,0", (1, 0)), ("[1][0]", (1, 0)), ("[1,0]", (1, 0)), ("1,*", (1, None))],
)
def test_what_is_written_alone(written: str, steps: Steps) -> None:
    assert read_steps(written) == steps


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("task[x]", "'x' in 'task[x]' is no map index; use numbers from 0 on: write task[3], or"),
        ("task[-1]", "'-1' in 'task[-1]' is no map index"),
        ("task[]", "'' in 'task[]' is no map index"),
        ("task[1,]", "'' in 'task[1,]' is no map index"),
        ("task[\u0663]", "is no map index"),
        ("task[" + "9" * 5000 + "]", "is no map index"),
        ("task[*][1]", "'task[*][1]' has a number behind a *"),
        ("task[1", "'task[1' does not name a map index; write task[3], or task[1][0]"),
        ("task[1]x", "does not name a map index"),
        ("task[[1]]", "does not name a map index"),
        ("[1]", "does not name a map index"),
    ],
)
def test_what_is_no_path_is_refused_with_the_cure(written: str, said: str) -> None:
    with pytest.raises(RequestInvalidError, match=re.escape(said)):
        read_name(written)


@pytest.mark.parametrize(
    ("task_id", "steps", "said"),
    [
        ("t2", (1,), "t2[1] has 1 map index, but task 't2' is mapped at 2 levels; name one for "),
        ("t2", (1,), "as in t2[1][0]"),
        ("t1", (1, 0), "t1[1][0] has 2 map indexes, but task 't1' is mapped at one level; name"),
        ("t1", (1, 0), "as in t1[1]"),
        ("t3", (None,), "as in t3[0][0][0]"),
        ("t0", (1, 0), "task 't0' is not mapped; leave them out"),
        ("t2", (0, PATH_STRIDE - 1), "is too large; a level of a mapping 2 deep has 0 to 131070"),
        ("t1", (2**53,), "map index 9007199254740992 in t1[9007199254740992] is too large"),
    ],
)
def test_a_path_of_another_depth_is_refused_with_the_cure(
    task_id: str, steps: Steps, said: str
) -> None:
    with pytest.raises(RequestInvalidError, match=re.escape(said)):
        check_steps(task_id, steps, depth=len(LEVELS[task_id]))


@pytest.mark.parametrize(
    ("slot", "name", "index"),
    [
        (Slot("t0"), "t0", ""),
        (Slot("t2"), "t2", ""),
        (Slot("t1", 3), "t1[3]", "3"),
        (Slot("t2", PATH_STRIDE), "t2[1][0]", "[1][0]"),
        (Slot("t2", index_of((2,), depth=2)), "t2[2][*]", "[2][*]"),
        (Slot("t3", index_of((2,), depth=3)), "t3[2][*][*]", "[2][*][*]"),
        (Slot("gone", 7), "gone[7]", "7"),
    ],
)
def test_what_is_read(slot: Slot, name: str, index: str) -> None:
    assert instance_name(slot, LEVELS) == name
    assert index_name(slot, LEVELS) == index


def test_without_a_path_it_is_the_task_and_a_task_that_is_gone_has_what_is_stored() -> None:
    assert index_for("t2", None, LEVELS) == UNMAPPED
    assert index_for("gone", (7,), LEVELS) == 7


@given(
    st.integers(1, 3).flatmap(
        lambda depth: st.tuples(
            st.just(depth),
            st.lists(st.integers(0, PATH_STRIDE - 2), min_size=1, max_size=depth).map(tuple),
        )
    )
)
def test_what_is_read_can_be_written(found: tuple[int, MapPath]) -> None:
    depth, path = found
    slot = Slot(f"t{depth}", index_of(path, depth=depth))
    name, steps = read_name(instance_name(slot, LEVELS))
    assert name == slot.task_id
    assert index_for(name, steps, LEVELS) == slot.map_index
    assert read_steps(index_name(slot, LEVELS)) == steps
