"""Keys that task instances share a limit by."""

from typing import Any

import pytest

from orchestrator.core.concurrency import (
    KEY_LENGTH_MAX,
    KeyFacts,
    flaw_of_key,
    key_of,
    rate_name_of,
)
from orchestrator.core.specs import RateLimit, TaskSpec

FACTS = KeyFacts(
    dag_id="d",
    run_id="manual__1",
    params={"tenant": "acme", "n": 3, "deep": {"er": [1]}},
    conf={"region": "eu"},
)


def key(template: str | None) -> str | None:
    return key_of(a_task(template), FACTS)


def a_task(template: str | None, **fields: Any) -> TaskSpec:
    return TaskSpec(task_id="t", operator="X", concurrency_key=template, **fields)


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        (None, None),
        ("one", "one"),
        ("{{ params.tenant }}", "acme"),
        ("{{params.tenant}}-{{ dag_run.conf.region }}", "acme-eu"),
        ("{{ params.n }}", "3"),
        ("{{ params.deep.er }}", "[1]"),
        ("{{ dag_id }}/{{ run_id }}/{{ task_id }}", "d/manual__1/t"),
        ("x{{ params.absent }}", "x"),
        ("x{{ params.tenant.deeper }}", "x"),
    ],
)
def test_a_key_is_filled_in_from_the_run(template: str | None, filled: str | None) -> None:
    assert template is None or flaw_of_key(template) is None
    assert key(template) == filled


@pytest.mark.parametrize(
    ("template", "flaw"),
    [
        (" ", "it is empty"),
        ("{{ map_index }}", "{{ map_index }} cannot be filled in"),
        ("{{ ds }}", "{{ ds }} cannot be filled in"),
        ("{{ params }}", "{{ params }} cannot be filled in"),
        ("{{ params.x | upper }}", "no expression"),
        ("{{ params['x'] }}", "no expression"),
        ("{{ params.x", "'{{' stands alone"),
        ("{% if x %}", "'{%' stands alone"),
    ],
)
def test_what_cannot_be_filled_in_is_said(template: str, flaw: str) -> None:
    assert flaw in str(flaw_of_key(template))


def test_long_keys_are_cut_and_still_told_apart() -> None:
    one, other = key("a" * 400 + "b"), key("a" * 400 + "c")
    assert one is not None
    assert other is not None
    assert len(one) <= KEY_LENGTH_MAX
    assert one != other


def test_a_rate_is_counted_over_the_key_else_over_the_task() -> None:
    limit = RateLimit(count=2, per_s=60)
    assert rate_name_of(a_task(None), "d", None) is None
    assert rate_name_of(a_task(None, rate_limit=limit), "d", None) == "task d.t"
    assert rate_name_of(a_task("k", rate_limit=limit), "d", "k") == "key k"
