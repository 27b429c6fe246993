"""What a task keeps in its state is there in its next try, and nobody else's."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from orchestrator.core.outcomes import Failed, Succeeded
from orchestrator.sdk import (
    DAG,
    NEVER_EXPIRE,
    PokeReturnValue,
    PythonSensor,
    get_current_context,
    task,
)
from orchestrator.testing import run_dag
from tests.sdk.tries import try_task


def outcome_of(function: Any) -> Any:
    with DAG("d") as dag:
        task(function, task_id="t")()
    return try_task(dag, "t")


def test_a_retry_goes_on_where_the_last_try_stopped() -> None:
    seen: list[Any] = []

    @task(retries=2, retry_delay=timedelta(0))
    def load(task_state: Any = None) -> int:
        done: int = task_state.get("done", 0)
        seen.append(done)
        task_state.set("done", done + 1)
        if done < 2:
            raise ValueError("not yet")
        return done

    with DAG("d") as dag:
        load()
    assert run_dag(dag).xcom("load") == 2
    assert seen == [0, 1, 2]


def test_a_reschedule_keeps_it_too() -> None:
    def poke(task_state: Any) -> PokeReturnValue:
        pokes = task_state.get("pokes", 0) + 1
        task_state.set("pokes", pokes)
        return PokeReturnValue(pokes == 3, pokes)

    with DAG("d") as dag:
        PythonSensor(task_id="s", python_callable=poke, mode="reschedule", poke_interval=60)
    assert run_dag(dag).xcom("s") == 3


def test_each_task_instance_has_its_own() -> None:
    @task
    def count(number: int, task_state: Any = None) -> list[Any]:
        task_state.set("n", number)
        return [task_state.get("n"), task_state.items()]

    with DAG("d") as dag:
        count(1) >> count(2)
    run = run_dag(dag)
    assert run.xcom("count") == [1, [("n", 1)]]
    assert run.xcom("count__1") == [2, [("n", 2)]]


def test_values_keep_their_types_and_can_be_dropped() -> None:
    at = datetime(2024, 1, 1, tzinfo=UTC)

    def keep(ti: Any) -> None:
        state = ti.task_state
        assert state is get_current_context()["task_state"]
        state.set("price", Decimal("1.5"))
        state.set("at", at)
        state.set("nothing", None)
        state.delete("price")
        state.delete("never there")
        assert (state.get("price", "gone"), state.get("at")) == ("gone", at)
        assert state.items() == [("at", at), ("nothing", None)]
        assert state.get("nothing", "default") is None

    assert outcome_of(keep) == Succeeded()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "cursor",
            {"open": [object()]},
            "UnstorableError: task_state['cursor'] of task 't' cannot be stored: value['open'][0] "
            "is of type object",
        ),
        (
            "k",
            "x" * 70_000,
            "task_state['k'] of task 't' takes 70,002 bytes as JSON; at most 65,536",
        ),
        ("", 1, "the key '' of task_state must be a text of 1 to 512 characters"),
        (7, 1, "the key '7' of task_state must be a text"),
    ],
)
def test_what_cannot_be_kept_is_told(key: Any, value: Any, message: str) -> None:
    outcome = outcome_of(lambda task_state: task_state.set(key, value))
    assert isinstance(outcome, Failed)
    assert message in outcome.reason


def test_there_is_an_end_to_the_keys() -> None:
    def fill(task_state: Any) -> None:
        for number in range(1_001):
            task_state.set(str(number), number)

    assert "has 1,000 keys, which is all there may be" in outcome_of(fill).reason


def test_it_has_airflows_names() -> None:
    @task(retries=1)
    async def ingest(task_state_store: Any = None) -> list[int]:
        done = await task_state_store.aget("done", default=[])
        await task_state_store.aset("done", [*done, 1], retention=timedelta(days=1))
        task_state_store.set("once", 1, retention=NEVER_EXPIRE)
        await task_state_store.adelete("once")
        if not done:
            raise ValueError("the second try goes on")
        return [*done, len(task_state_store.items())]

    with DAG("d") as dag:
        ingest()
    assert run_dag(dag).xcom("ingest") == [1, 1]


def test_a_retention_is_a_timedelta() -> None:
    @task
    def keep(task_state_store: Any = None) -> None:
        task_state_store.set("k", 1, retention=3)

    with DAG("d") as dag:
        keep()
    assert "the retention of task_state['k'] is 3; it must be a timedelta or NEVER_EXPIRE" in str(
        run_dag(dag)["keep"].reason
    )
