"""What an author may say about limits of a task's own."""

from datetime import timedelta
from typing import Any

import pytest

from orchestrator.core.specs import RateLimit, WeightRule
from orchestrator.errors import DagInvalidError
from orchestrator.sdk import DAG, EmptyOperator


def a_spec(**arguments: Any) -> Any:
    with DAG("d") as made:
        EmptyOperator(task_id="t", **arguments)
    return made.spec().tasks[0]


@pytest.mark.parametrize(
    ("said", "limit"),
    [
        (None, None),
        ("10/m", RateLimit(count=10, per_s=60)),
        (" 5 / s ", RateLimit(count=5, per_s=1)),
        ("100/h", RateLimit(count=100, per_s=3600)),
        ("2/d", RateLimit(count=2, per_s=86_400)),
        ((3, timedelta(minutes=5)), RateLimit(count=3, per_s=300)),
    ],
)
def test_a_rate_limit_is_read(said: Any, limit: RateLimit | None) -> None:
    assert a_spec(rate_limit=said).rate_limit == limit


@pytest.mark.parametrize(
    "said",
    ["", "10", "0/m", "-1/m", "10/w", "ten/m", 10, (0, timedelta(1)), (1, timedelta(0)), (1,)],
)
def test_what_is_no_rate_limit_is_refused_with_what_is_one(said: Any) -> None:
    with pytest.raises(DagInvalidError, match=r"DAG 'd', task 't'.*rate_limit is .*'10/m'"):
        a_spec(rate_limit=said)


def test_a_key_and_its_limit_are_frozen() -> None:
    spec = a_spec(concurrency_key="{{ params.tenant }}", concurrency_limit=3)
    assert (spec.concurrency_key, spec.concurrency_limit) == ("{{ params.tenant }}", 3)


@pytest.mark.parametrize("key", ["", "{{ ds }}", "{{ params.a or 'x' }}", "{% raw %}", 7])
def test_a_key_that_cannot_be_filled_in_is_refused(key: Any) -> None:
    with pytest.raises(DagInvalidError, match=r"DAG 'd', task 't'.*concurrency_key"):
        a_spec(concurrency_key=key)


def test_weights_by_the_critical_path_are_a_rule_like_the_others() -> None:
    assert a_spec(weight_rule="critical_path").weight_rule is WeightRule.CRITICAL_PATH


def test_a_limit_of_no_key_is_refused_with_what_to_give() -> None:
    with pytest.raises(DagInvalidError) as caught:
        a_spec(concurrency_limit=2)
    assert "concurrency_limit is 2, but there is no concurrency_key" in str(caught.value)
    assert "or max_active_tis_per_dag" in str(caught.value)
    assert a_spec(concurrency_limit=1).concurrency_key is None
