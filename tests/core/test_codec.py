"""A spec written down is the same spec, and its hash names what it says."""

from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import pytest

from orchestrator.core.codec import content_hash, decode_spec, encode_spec
from orchestrator.core.specs import (
    CronSchedule,
    DeltaSchedule,
    EdgeLabel,
    GroupSpec,
    OnceSchedule,
    ParamSpec,
    RetryPolicy,
    Schedule,
    TriggerRule,
)
from tests.builders import a_dag, a_task

FULL = a_dag(
    a_task("g.a", group_id="g", retry=RetryPolicy(retries=2, backoff=1.5)),
    a_task("z", "g.a", trigger_rule=TriggerRule.ONE_FAILED, template_fields={"cmd": ["{{ ds }}"]}),
    groups=(GroupSpec(group_id="g"),),
    edge_labels=(EdgeLabel(upstream="g.a", downstream="z", label="if bad"),),
    params=(
        ParamSpec(name="x", has_default=True, default={"a": [1, None]}, schema={"type": "object"}),
    ),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    schedule=CronSchedule(expression="@daily", timezone="Asia/Seoul"),
)


@pytest.mark.parametrize(
    "schedule", [None, OnceSchedule(), DeltaSchedule(seconds=1.5), FULL.schedule]
)
def test_round_trip(schedule: Schedule) -> None:
    spec = replace(FULL, schedule=schedule)
    assert decode_spec(encode_spec(spec)) == spec
    assert encode_spec(decode_spec(encode_spec(spec))) == encode_spec(spec)


@pytest.mark.parametrize(
    "stored",
    [
        b"{}",
        b'{"dag_id": "d", "tasks": [{"task_id": 1}]}',
        b"[]",
        b'{"dag_id":"d","tasks":[],"schedule":{"type":"x"}}',
    ],
)
def test_other_shapes_are_refused(stored: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_spec(stored)


def test_the_hash_changes_with_spec_and_source_only() -> None:
    name = content_hash(FULL, "source")
    assert content_hash(decode_spec(encode_spec(FULL)), "source") == name
    assert content_hash(FULL, "other source") != name
    assert content_hash(replace(FULL, catchup=True), "source") != name


def test_volatile_values_do_not_count() -> None:
    later = replace(FULL, start_date=datetime(2026, 1, 2, tzinfo=UTC))
    path = ("start_date",)
    assert content_hash(FULL, "s", volatile=[path]) == content_hash(later, "s", volatile=[path])
    other = replace(later, catchup=True)
    assert content_hash(FULL, "s", volatile=[path]) != content_hash(other, "s", volatile=[path])


def test_a_volatile_path_may_go_through_lists() -> None:
    path = ("tasks", 0, "retry", "delay_s")
    other = replace(
        FULL,
        tasks=(
            replace(FULL.tasks[0], retry=RetryPolicy(retries=2, backoff=1.5, delay_s=7)),
            *FULL.tasks[1:],
        ),
    )
    assert content_hash(FULL, "s", volatile=[path]) == content_hash(other, "s", volatile=[path])


def test_a_volatile_path_that_leads_nowhere_is_harmless() -> None:
    paths = [("tasks", 9, "owner"), ("nope", "x"), ("tasks", "x")]
    assert content_hash(FULL, "s", volatile=paths) == content_hash(FULL, "s")
