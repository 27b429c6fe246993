"""A task that reads or keeps values waits for a store that is away; its cache does not."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.core.assignments import Assignment
from orchestrator.core.ids import UNMAPPED, TaskKey
from orchestrator.core.lifecycle import TaskEvent
from orchestrator.core.results import CachedResult
from orchestrator.core.retries import Conclusion
from orchestrator.errors import StoreUnavailableError
from orchestrator.sdk.exceptions import TaskException
from orchestrator.store import open_store
from tests.builders import NOW, a_dag, a_task
from tests.store.world import StoredWorld
from workers.stored_values import NoState, StoredResults, StoredState, StoredXComs

RESULT = CachedResult(xcoms={}, source=TaskKey("d", "r1", "a"), try_number=1)


class Outage:
    """A value store that is out of reach for the next calls."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.calls_to_fail = 0
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(name)
            if self.calls_to_fail:
                self.calls_to_fail -= 1
                raise StoreUnavailableError("the database is away")
            return getattr(self._store, name)(*args, **kwargs)

        return call


@pytest.fixture
def world() -> Iterator[StoredWorld]:
    store = open_store("sqlite://", clock=lambda: NOW)
    yield StoredWorld(store)
    store.close()


@pytest.fixture
def values(world: StoredWorld) -> Outage:
    return Outage(world.store.values)


def running(world: StoredWorld) -> Assignment:
    (assignment,) = world.running(a_dag(a_task("a")))
    return assignment


def test_s19_a_pull_waits_for_the_store(world: StoredWorld, values: Outage) -> None:
    world.finish(running(world), xcoms={"k": ["x", "y"]})
    xcoms = StoredXComs(values)
    values.calls_to_fail = 1
    pulled = xcoms.pull(dag_id="d", run_id="r1", task_ids=["a"], key="k", map_indexes=[UNMAPPED])
    assert [tuple(each) for each in pulled] == [("a", ["x", "y"], UNMAPPED)]
    values.calls_to_fail = 1
    latest = xcoms.latest_run(dag_id="d", task_id="a", key="k", until=NOW + timedelta(days=1))
    assert latest == "r1"
    values.calls_to_fail = 1
    assert list(
        xcoms.succeeded(dag_id="d", run_id="r1", task_id="a", indexes=range(UNMAPPED, 5))
    ) == [UNMAPPED]
    values.calls_to_fail = 1
    assert item(xcoms, 1) == "y"
    assert values.calls_to_fail == 0


def item(xcoms: StoredXComs, position: int) -> Any:
    return xcoms.pull_item(
        dag_id="d", run_id="r1", task_id="a", map_index=UNMAPPED, position=position, key="k"
    )


def test_the_neighbours_of_an_element_are_read_along(world: StoredWorld, values: Outage) -> None:
    rows = [f"row {number}" for number in range(30_000)]
    world.finish(running(world), xcoms={"k": rows})
    xcoms = StoredXComs(values)
    assert [item(xcoms, position) for position in range(30_000)] == rows
    assert len(values.calls) < 10
    with pytest.raises(LookupError, match="has 30000 elements: there is no number 30000"):
        item(xcoms, 30_000)


def test_state_waits_for_the_store(world: StoredWorld, values: Outage) -> None:
    state = StoredState(values, running(world), worker_id="w1")
    values.calls_to_fail = 1
    state.write("k", "1")
    values.calls_to_fail = 1
    assert state.values() == {"k": "1"}
    state.write("k", None)
    assert state.values() == {}


def test_a_try_that_was_taken_away_is_told_so(world: StoredWorld, values: Outage) -> None:
    assignment = running(world)
    world.finish(assignment, Conclusion(event=TaskEvent.FAILED, reason="x"))
    state = StoredState(values, assignment, worker_id="w1")
    with pytest.raises(
        TaskException, match=r"task_state\['k'\] was not written: this try of d/r1/a"
    ):
        state.write("k", "1")


def test_a_callback_has_no_state() -> None:
    assert NoState().values() == {}
    with pytest.raises(TaskException, match="only a running task keeps state"):
        NoState().write("k", "1")


def test_a_cache_out_of_reach_is_an_empty_one(values: Outage) -> None:
    results = StoredResults(values)
    values.calls_to_fail = 2
    results.keep("k", RESULT, ttl_s=60)
    assert results.find("k") is None
    results.keep("k", RESULT, ttl_s=60)
    assert results.find("k") == RESULT
    assert values.calls == ["keep_result", "find_result", "keep_result", "find_result"]
