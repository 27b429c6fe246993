"""Whatever the DAG: the end does not depend on who is quicker, nor a decision on what is new."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core import moving
from orchestrator.core.ids import Slot
from orchestrator.core.states import TaskState
from tests.core.programs import Program, play, programs

_orders = st.integers(0, 2**32)


@settings(max_examples=120, deadline=None)
@given(programs(), _orders)
def test_ours_1_a_program_has_one_end(program: Program, seed: int) -> None:
    ends = [play(program, Random(seed + number)) for number in range(3)]
    states = [{slot: known.state for slot, known in end.instances.items()} for end in ends]
    assert states[0] == states[1] == states[2]
    assert ends[0].finish == ends[1].finish == ends[2].finish


@settings(max_examples=25, deadline=None, derandomize=True)
@given(programs(), _orders, st.integers(1, 4))
def test_a_program_whose_decisions_are_cut_short_ends_alike(
    program: Program, order: int, moves_max: int
) -> None:
    whole = play(program, Random(order))
    # Each cut is checked against a ledger loaded anew: some twenty cuts of a large run will do.
    moves_max = max(moves_max, len(whole.instances) // 20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moving, "MOVES_MAX", moves_max)
        cut = play(program, Random(order))
    ends = [{slot: known.state for slot, known in end.instances.items()} for end in (whole, cut)]
    assert ends[0] == ends[1]
    assert whole.finish == cut.finish


@settings(max_examples=60, deadline=None, derandomize=True)
@given(programs(), _orders, st.sampled_from([None, 0.0, 2.0]))
def test_a_run_that_is_cut_short_ends_and_tears_down(
    program: Program, order: int, timeout_s: float | None
) -> None:
    """With fail_fast or a timeout the end depends on when it strikes; that there is one does not,
    nor that the teardown of a setup that succeeded runs."""
    spec = replace(program.spec, fail_fast=True, dagrun_timeout_s=timeout_s)
    end = play(replace(program, spec=spec), Random(order))
    succeeded = {s.task_id for s, k in end.instances.items() if k.state is TaskState.SUCCESS}
    for task in spec.tasks:
        is_plain = not any(end.graph.depth(each) for each in (task.task_id, *task.setups))
        if is_plain and set(task.setups) & succeeded:
            reason = end.reasons.get(Slot(task.task_id)) or ""
            assert not reason.startswith(("fail_fast", "the run took longer"))
