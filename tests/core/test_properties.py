"""Whatever the DAG: the end does not depend on who is quicker, nor a decision on what is new."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.programs import Program, play, programs


@settings(max_examples=200, deadline=None)
@given(programs(), st.integers(0, 2**32), st.integers(0, 2**32))
def test_ours_1_a_program_has_one_end(program: Program, one: int, other: int) -> None:
    ends = [play(program, Random(seed)) for seed in (one, other)]
    first, second = ({s: k.state for s, k in end.instances.items()} for end in ends)
    assert first == second
    assert ends[0].finish == ends[1].finish
