"""Who gets the free slots: limits, order and turns."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.admission import (
    QUEUE_MESSAGES_MIN,
    Candidate,
    Capacity,
    admit,
    full_queues,
    messages_per_slot,
    next_free_at,
    refusal,
    shared_room,
)
from orchestrator.core.concurrency import RateUse
from orchestrator.core.specs import RateLimit, TaskSpec
from tests.builders import NOW, a_candidate, a_capacity, a_holding


def names(admitted: tuple[Candidate, ...]) -> list[str]:
    return [str(candidate.key) for candidate in admitted]


def test_a_pool_never_gives_more_than_its_slots() -> None:
    capacity = a_capacity(a_holding(slots=2, count=2), slots=3)
    assert names(admit([a_candidate("d/r/b"), a_candidate("d/r/a")], capacity)) == ["d/r/a"]


def test_a_wide_task_waits_and_a_narrow_one_passes() -> None:
    capacity = a_capacity(a_holding(slots=2), slots=3)
    wide = a_candidate("d/r/wide", pool_slots=2, priority=9)
    assert names(admit([wide, a_candidate("d/r/narrow")], capacity)) == ["d/r/narrow"]


@pytest.mark.parametrize(
    ("fields", "capacity", "limit", "reason"),
    [
        ({"pool": "q"}, a_capacity(), "pool", "pool 'q' does not exist; create it"),
        (
            {"pool_slots": 5},
            a_capacity(),
            "pool",
            "it needs 5 slots, pool 'p' has 4 in all",
        ),
        (
            {},
            a_capacity(a_holding(slots=4)),
            "pool",
            "pool 'p' has 4 of its 4 slots taken",
        ),
        (
            {"max_active_tasks": 1},
            a_capacity(a_holding("d/r/x")),
            "max_active_tasks",
            "run 'r' has 1 of 1 allowed by max_active_tasks",
        ),
        (
            {"max_active_tis_per_dag": 1},
            a_capacity(a_holding("d/other/t")),
            "max_active_tis_per_dag",
            "task 't' has 1 of 1 allowed by max_active_tis_per_dag",
        ),
        (
            {"max_active_tis_per_dagrun": 1},
            a_capacity(a_holding("d/r/t")),
            "max_active_tis_per_dagrun",
            "task 't' in this run has 1 of 1 allowed by max_active_tis_per_dagrun",
        ),
        (
            {"concurrency_key": "acme", "concurrency_limit": 2},
            a_capacity(keys={"acme": 2, "other": 9}),
            "concurrency_key",
            "concurrency_key 'acme' has 2 of 2 allowed by concurrency_key",
        ),
        (
            {"rate_name": "task d.t", "rate_limit": RateLimit(count=3, per_s=60)},
            a_capacity(rates={"task d.t": RateUse(starts=3, free_at=NOW)}),
            "rate_limit",
            f"task d.t had 3 in 60 s, its rate_limit until {NOW:%H:%M:%S}",
        ),
        (
            {},
            a_capacity(a_holding(queued=64, slots=0), workers=1),
            "queue",
            "queue 'default' (messages waiting) has 64 of 64 allowed by queue",
        ),
    ],
)
def test_a_refusal_names_the_limit(
    fields: dict[str, Any], capacity: Capacity, limit: str, reason: str
) -> None:
    refused = refusal(a_candidate(**fields), capacity)
    assert refused is not None
    assert (refused.limit, refused.reason) == (limit, reason)
    assert admit([a_candidate(**fields)], capacity) == ()


@pytest.mark.parametrize(
    ("fields", "holding"),
    [
        ({"max_active_tis_per_dag": 1}, a_holding("e/r/t")),
        ({"max_active_tis_per_dagrun": 1}, a_holding("d/other/t")),
        ({"max_active_tasks": 1}, a_holding("d/other/t")),
    ],
)
def test_a_limit_counts_only_its_own(fields: dict[str, Any], holding: Any) -> None:
    assert refusal(a_candidate(**fields), a_capacity(holding)) is None


def test_one_pass_hands_out_no_more_than_a_key_and_a_rate_allow() -> None:
    keyed = [
        a_candidate(f"d{n}/r/t", concurrency_key="acme", concurrency_limit=2) for n in range(5)
    ]
    other = a_candidate("e/r/t", concurrency_key="other")
    assert names(admit([*keyed, other], a_capacity(keys={"acme": 1}, slots=99))) == [
        "d0/r/t",
        "e/r/t",
    ]
    limit = RateLimit(count=4, per_s=60)
    rated = [a_candidate(f"d/r/t{n}", rate_name="x", rate_limit=limit) for n in range(9)]
    used = a_capacity(rates={"x": RateUse(starts=1, free_at=NOW)}, slots=99)
    assert len(admit(rated, used)) == 3
    assert len(admit(rated, a_capacity(slots=99))) == 4


def test_a_lane_has_the_room_that_its_key_and_its_rate_leave() -> None:
    limit = RateLimit(count=4, per_s=60)
    task = TaskSpec(task_id="t", operator="X", concurrency_limit=3, rate_limit=limit)
    used = a_capacity(keys={"k": 1}, rates={"r": RateUse(starts=3, free_at=NOW)})
    assert shared_room(task, a_capacity(), None, None) == float("inf")
    assert shared_room(task, used, "k", None) == 2
    assert shared_room(task, used, "k", "r") == 1
    assert shared_room(task, used, "new", "new") == 3


def test_the_next_start_under_a_rate_limit_is_known() -> None:
    later = NOW + timedelta(seconds=10)
    used = a_capacity(rates={"r": RateUse(starts=1, free_at=later)})
    rated = a_candidate(rate_name="x", rate_limit=RateLimit(count=1, per_s=5))
    assert next_free_at([], a_capacity(), NOW) is None
    assert next_free_at([a_candidate()], used, NOW) == later
    assert next_free_at([rated], used, NOW) == NOW + timedelta(seconds=5)


def test_s9_priority_then_age_then_name() -> None:
    candidates = [
        a_candidate("d/new/a", run_after=NOW + timedelta(hours=1)),
        a_candidate("d/r/b"),
        a_candidate("d/r/a"),
        a_candidate("d/r/z", priority=5),
    ]
    admitted = admit(candidates, a_capacity(slots=10))
    assert names(admitted) == ["d/r/z", "d/r/a", "d/r/b", "d/new/a"]


def test_what_stands_below_a_flood_gives_it_no_right_over_other_dags() -> None:
    flood = [a_candidate(f"flood/r/t{n}", priority=1000) for n in range(5)]
    late = a_candidate("small/r/t", run_after=NOW + timedelta(hours=1))
    assert names(admit([*flood, late], a_capacity(slots=2))) == ["flood/r/t0", "small/r/t"]
    held = a_holding("flood/r/t9", count=9, slots=0)
    assert names(admit([*flood, late], a_capacity(held, slots=1))) == ["small/r/t"]


def test_between_dags_the_weight_that_authors_gave_counts_strictly() -> None:
    flood = [a_candidate(f"flood/r/t{n}", priority=1000) for n in range(5)]
    urgent = [a_candidate(f"urgent/r/t{n}", weight=10) for n in range(3)]
    held = a_holding("urgent/r/t9", count=50, slots=0)
    admitted = admit([*flood, *urgent], a_capacity(held, slots=4))
    assert names(admitted) == ["urgent/r/t0", "urgent/r/t1", "urgent/r/t2", "flood/r/t0"]


def test_dags_take_turns_within_a_priority() -> None:
    flood = [a_candidate(f"flood/r/t{n}") for n in range(5)]
    late = a_candidate("small/r/t", run_after=NOW + timedelta(hours=1))
    admitted = admit([*flood, late], a_capacity(slots=2))
    assert names(admitted) == ["flood/r/t0", "small/r/t"]


def test_who_holds_much_comes_later() -> None:
    holding = a_holding("flood/r/t9", count=3)
    flood = [a_candidate(f"flood/r/t{n}") for n in range(2)]
    small = [a_candidate(f"small/r/t{n}") for n in range(2)]
    admitted = admit([*flood, *small], a_capacity(holding, slots=3))
    assert names(admitted) == ["small/r/t0", "small/r/t1"]


def test_a_queue_takes_what_its_workers_soon_work_off() -> None:
    candidates = [a_candidate(f"d/r/t{n:03}") for n in range(500)]
    few = admit(candidates, a_capacity(slots=1000, workers=2))
    many = admit(candidates, a_capacity(slots=1000, workers=50))
    assert (len(few), len(many)) == (QUEUE_MESSAGES_MIN, 200)


@pytest.mark.parametrize(
    ("queued", "admitted", "supply"), [(0, 0, 0.0), (6, 0, 3.0), (0, 3, 1.5), (6, 2, 4.0)]
)
def test_how_well_supplied_workers_are(queued: int, admitted: int, supply: float) -> None:
    capacity = a_capacity(a_holding(count=9, queued=queued), workers=2)
    candidates = [a_candidate(f"d/r/t{n}") for n in range(admitted)]
    assert messages_per_slot(candidates, capacity) == supply


def test_the_least_supplied_queue_with_workers_counts() -> None:
    capacity = a_capacity(
        a_holding(queued=40),
        a_holding(queue="gpu", queued=2),
        a_holding(queue="nobody", queued=1),
        worker_slots={"default": 4, "gpu": 2, "idle": 8},
    )
    assert messages_per_slot([], capacity) == 1.0


def test_what_is_full_is_known_before_candidates_are_read() -> None:
    capacity = a_capacity(a_holding(slots=4, count=64, queued=64), workers=1)
    assert full_queues(capacity) == ("default",)
    assert full_queues(a_capacity()) == ()


@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"), st.sampled_from("rs"), st.integers(0, 30), st.integers(1, 3)
        ),
        unique_by=lambda row: row[:3],
        max_size=40,
    ),
    st.integers(0, 6),
    st.integers(1, 3),
)
def test_limits_hold_and_nothing_admissible_is_left(
    rows: list[tuple[str, str, int, int]], slots: int, per_run: int
) -> None:
    candidates = [
        a_candidate(f"{dag}/{run}/t{n}", pool_slots=width, max_active_tasks=per_run)
        for dag, run, n, width in rows
    ]
    capacity = a_capacity(slots=slots)
    admitted = admit(candidates, capacity)
    assert sum(candidate.pool_slots for candidate in admitted) <= slots
    for run_uid in {candidate.run_uid for candidate in admitted}:
        assert sum(candidate.run_uid == run_uid for candidate in admitted) <= per_run
    holdings = [a_holding(str(c.key), slots=c.pool_slots, count=1) for c in admitted]
    after = a_capacity(*holdings, slots=slots)
    for candidate in candidates:
        if candidate not in admitted:
            assert refusal(candidate, after) is not None
