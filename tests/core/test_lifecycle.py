"""The transition table: what may happen, and that nothing else can."""

from itertools import product

import pytest

from orchestrator.core.lifecycle import RUN_TRANSITIONS, TRANSITIONS, Actor, TaskEvent, advance
from orchestrator.core.states import FINISHED_RUN_STATES, FINISHED_TASK_STATES, RunState, TaskState


def test_every_event_has_a_row() -> None:
    assert set(TRANSITIONS) == set(TaskEvent)


@pytest.mark.parametrize(("state", "event"), list(product(TaskState, TaskEvent)))
def test_advance_follows_the_table_and_refuses_the_rest(state: TaskState, event: TaskEvent) -> None:
    transition = TRANSITIONS[event]
    if state in transition.sources:
        assert advance(state, event) is transition.target
    else:
        with pytest.raises(AssertionError, match=f"{state} cannot have {event}"):
            advance(state, event)


def test_only_a_person_a_rerun_and_a_group_retry_lead_out_of_an_end() -> None:
    reopening = {TaskEvent.WAS_RESTORED, TaskEvent.GROUP_RETRIED}
    for event, transition in TRANSITIONS.items():
        reopens = transition.target not in FINISHED_TASK_STATES
        if transition.sources & FINISHED_TASK_STATES and reopens:
            assert transition.actor is Actor.PERSON or event in reopening
            assert transition.bumps_epoch, "what was handed out before must not report any more"


def test_whoever_takes_a_task_from_a_worker_bumps_the_epoch() -> None:
    for event, transition in TRANSITIONS.items():
        revokes = transition.sources & {TaskState.QUEUED, TaskState.RUNNING}
        if revokes and transition.actor is not Actor.WORKER:
            assert transition.bumps_epoch, event


def test_only_the_holder_of_the_epoch_reports() -> None:
    for transition in TRANSITIONS.values():
        if transition.actor is Actor.WORKER:
            assert not transition.bumps_epoch


def test_every_unfinished_state_is_left_without_a_person() -> None:
    own = (way for way in TRANSITIONS.values() if way.actor is not Actor.PERSON)
    left = frozenset().union(*(transition.sources for transition in own))
    assert left >= set(TaskState) - FINISHED_TASK_STATES


def test_runs_move_forward_and_people_move_them_anywhere_but_into_running() -> None:
    assert set(RUN_TRANSITIONS) == set(RunState)
    assert RUN_TRANSITIONS[RunState.RUNNING] == FINISHED_RUN_STATES
    assert RUN_TRANSITIONS[RunState.QUEUED] == {RunState.RUNNING, *FINISHED_RUN_STATES}
    for state in FINISHED_RUN_STATES:
        assert RUN_TRANSITIONS[state] == {RunState.QUEUED, *FINISHED_RUN_STATES} - {state}
