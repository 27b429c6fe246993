"""What may be asked for, and what a refusal says."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import pytest

from orchestrator.core.outcomes import Failed
from orchestrator.core.specs import ParamSpec, RetryPolicy
from orchestrator.core.states import RunState, TriggeredBy
from orchestrator.core.views import RunView
from orchestrator.errors import (
    ConflictError,
    NotFoundError,
    ParamInvalidError,
    RequestInvalidError,
)
from orchestrator.sdk.params import resolve_params
from tests.api.world import World, open_world
from tests.builders import a_dag, a_task


@pytest.fixture
def world(tmp_path: Path, database_url: str, redis_url: str) -> Iterator[World]:
    with open_world(tmp_path / "home", database_url, redis_url) as world:
        yield world


def test_a_trigger_rings_the_doorbell_and_makes_the_dag_due(world: World) -> None:
    world.add(a_dag())
    world.schedule()
    while world.services.doorbell.wait(0.01):
        pass

    run = world.trigger("d")

    assert world.services.doorbell.wait(5)
    wake_at = world.store.scheduler.next_wake_at()
    assert wake_at is not None
    assert wake_at - run.queued_at < timedelta(seconds=1)
    assert (run.state, run.user, run.triggered_by) == (RunState.QUEUED, "ada", TriggeredBy.TEST)


def test_a_logical_date_sets_the_run_after_and_the_interval(world: World) -> None:
    world.add(a_dag())
    moment = datetime(2026, 1, 2, 3, tzinfo=UTC)

    run = world.trigger("d", logical_date=moment)

    assert run.run_id == "manual__2026-01-02T03:00:00+00:00"
    assert (run.run_after, run.data_interval_start, run.data_interval_end) == (moment,) * 3


def test_s11_run_ids_are_made_and_checked(world: World) -> None:
    world.add(a_dag())
    made = world.trigger("d")
    assert made.run_id == f"manual__{made.run_after.isoformat()}"
    assert world.trigger("d", run_id="Q3_2026.final~1:x+y-z").run_id == "Q3_2026.final~1:x+y-z"
    for run_id in ("a b", "a/b", "a..b", "ü", ".", "~", ""):
        with pytest.raises(RequestInvalidError, match=r"use letters, digits and _ \. ~ : \+ -"):
            world.trigger("d", run_id=run_id)
    for run_id in ("scheduled__x", "backfill__x", "operator_triggered__x"):
        with pytest.raises(RequestInvalidError, match="is kept for"):
            world.trigger("d", run_id=run_id)
    with pytest.raises(RequestInvalidError, match="has 251 characters; 250 are allowed"):
        world.trigger("d", run_id="x" * 251)


def test_a_run_in_the_future_waits(world: World) -> None:
    world.add(a_dag())

    run = world.trigger("d", run_after=datetime(2090, 1, 1, tzinfo=UTC))
    world.schedule()

    assert world.reads.run("d", run.run_id).state is RunState.QUEUED


def test_unknown_and_vanished_dags(world: World) -> None:
    world.add(a_dag(dag_id="sales"))
    with pytest.raises(NotFoundError, match="DAG 'sale' does not exist; did you mean 'sales'"):
        world.trigger("sale")

    world.store.catalog.keep_only("sales.py", ())
    with pytest.raises(ConflictError, match="no longer defined by any file"):
        world.trigger("sales")


def test_s20_params_are_checked_against_the_current_version(world: World) -> None:
    limit = ParamSpec(name="n", has_default=True, default=1, schema={"maximum": 3})
    world.add(a_dag(params=(limit,)))
    with pytest.raises(ParamInvalidError, match="4 is greater than the maximum of 3"):
        world.trigger("d", conf={"n": 4})

    world.add(a_dag(), source="# no params any more\n")
    assert world.trigger("d", conf={"n": 4, "other": None}).conf == {"n": 4, "other": None}
    assert resolve_params((), {"n": 4}) == {"n": 4}


@pytest.mark.parametrize(
    "schema", [{"$ref": "http://169.254.169.254/"}, {"type": "string", "pattern": "("}]
)
def test_a_schema_that_cannot_be_checked_is_the_authors_mistake(
    world: World, schema: dict[str, str]
) -> None:
    world.add(a_dag(params=(ParamSpec(name="n", has_default=True, default="x", schema=schema),)))

    with pytest.raises(ParamInvalidError, match="cannot be checked"):
        world.trigger("d")


def test_two_requests_at_one_instant_both_get_a_run(world: World) -> None:
    world.add(a_dag())
    runs: list[RunView] = []
    threads = [Thread(target=lambda: runs.append(world.trigger("d"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len({run.run_id for run in runs}) == 8


def test_of_two_requests_for_one_date_one_is_refused(world: World) -> None:
    world.add(a_dag())
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    outcomes: list[str] = []

    def ask(run_id: str) -> None:
        try:
            outcomes.append(world.trigger("d", run_id=run_id, logical_date=moment).run_id)
        except ConflictError:
            outcomes.append("refused")

    threads = [Thread(target=ask, args=(f"r{index}",)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert outcomes.count("refused") == 3


def test_pausing_again_changes_nothing(world: World) -> None:
    world.add(a_dag())
    for _ in range(2):
        world.control.pause("d")
        assert world.reads.dag("d").is_paused
    world.control.unpause("d")
    assert not world.reads.dag("d").is_paused
    with pytest.raises(NotFoundError):
        world.control.pause("e")


def test_a_pool_made_larger_lets_waiting_tasks_go(world: World) -> None:
    world.control.create_pool("narrow", slots=1)
    world.add(a_dag(a_task("a", pool="narrow"), a_task("b", pool="narrow")))
    world.start_worker()
    world.trigger("d", run_id="r")
    world.schedule()
    pool = world.reads.pool("narrow")
    assert (pool.queued, pool.scheduled, pool.open) == (1, 1, 0)

    world.control.update_pool("narrow", {"slots": 2})
    world.schedule()

    assert world.reads.pool("narrow").queued == 2
    with pytest.raises(RequestInvalidError, match="cannot have -2 slots"):
        world.control.update_pool("narrow", {"slots": -2})
    with pytest.raises(NotFoundError, match="did you mean 'narrow'"):
        world.control.update_pool("narow", {"slots": 2})


class TestExplain:
    """Each reason a task instance can wait for, in words."""

    def reasons(self, world: World, task_id: str = "a", run_id: str = "r") -> str:
        return " ".join(world.services.explain("d", run_id, task_id))

    @pytest.fixture
    def alive(self, world: World) -> World:
        world.store.scheduler.register_scheduler("s", lease_s=3600)
        return world

    def test_no_scheduler(self, world: World) -> None:
        world.add(a_dag())
        world.trigger("d", run_id="r")
        world.schedule()
        assert "No scheduler is alive" in self.reasons(world)

    def test_a_run_that_has_not_started_waits_for_the_one_before(self, alive: World) -> None:
        alive.add(a_dag(max_active_runs=1))
        alive.trigger("d", run_id="r")
        alive.schedule()
        alive.trigger("d", run_id="r2")
        alive.schedule()
        assert self.reasons(alive, run_id="r2") == (
            "Its run is queued: 1 of 1 runs allowed by max_active_runs are running (r)."
        )
        with pytest.raises(NotFoundError, match="did you mean 'a'"):
            self.reasons(alive, "aa", run_id="r2")

    def test_a_run_of_a_paused_dag_waits_for_the_dag(self, alive: World) -> None:
        alive.add(a_dag())
        alive.control.pause("d")
        alive.trigger("d", run_id="r")
        alive.schedule()
        assert "Its DAG is paused" in self.reasons(alive, run_id="r")

    def test_upstream(self, alive: World) -> None:
        alive.add(a_dag(a_task("a"), a_task("b", "a")))
        alive.trigger("d", run_id="r")
        alive.schedule()
        assert "It waits for upstream a (queued)" in self.reasons(alive, "b")

    def test_a_queue_nobody_serves(self, alive: World) -> None:
        alive.add(a_dag(a_task("a", queue="gpu")))
        alive.trigger("d", run_id="r")
        alive.schedule()
        assert "'gpu'" in self.reasons(alive)
        assert "no live worker serves" in self.reasons(alive)

        alive.start_worker("gpu", concurrency=3)
        assert "served by 3 worker slots" in self.reasons(alive)

    def test_a_full_pool_and_who_holds_it(self, alive: World) -> None:
        alive.control.create_pool("narrow", slots=1)
        alive.add(a_dag(a_task("a", pool="narrow", priority_weight=9), a_task("b", pool="narrow")))
        alive.trigger("d", run_id="r")
        alive.schedule()
        assert "pool 'narrow' has 1 of its 1 slots taken; held by d/a" in self.reasons(alive, "b")

    def test_a_limit_of_its_own(self, alive: World) -> None:
        alive.add(a_dag(a_task("a", max_active_tis_per_dag=1)))
        alive.trigger("d", run_id="r0")
        alive.trigger("d", run_id="r")
        alive.schedule()
        said = self.reasons(alive, run_id="r") + self.reasons(alive, run_id="r0")
        assert "max_active_tis_per_dag; held by d/a" in said

    def test_paused(self, alive: World) -> None:
        alive.add(a_dag(a_task("a"), a_task("b", "a")))
        alive.trigger("d", run_id="r")
        alive.schedule()
        alive.control.pause("d")
        assert "Its DAG is paused" in self.reasons(alive, "b")

    def test_a_retry_and_its_cause(self, alive: World) -> None:
        alive.add(a_dag(a_task("a", retry=RetryPolicy(retries=1, delay_s=500))))
        alive.start_worker()
        alive.trigger("d", run_id="r")
        alive.schedule()
        (running,) = alive.start_tasks()
        assert "It is running on worker host-1-abc since" in self.reasons(alive)
        alive.end(running, Failed(reason="no such file"))
        alive.schedule()
        said = self.reasons(alive)
        assert "It retries at" in said
        assert "after: no such file" in said

    def test_a_broken_file(self, alive: World) -> None:
        alive.add(a_dag(a_task("a"), a_task("b", "a")))
        alive.trigger("d", run_id="r")
        alive.schedule()
        alive.store.catalog.record_import_error(
            "d.py", kind="syntax", message="line 2: invalid syntax", stacktrace=""
        )
        assert "does not import at present" in self.reasons(alive, "b")

    def test_how_it_ended(self, alive: World) -> None:
        alive.add(a_dag())
        alive.start_worker()
        alive.trigger("d", run_id="r")
        alive.finish({"a": Failed(reason="boom")})
        assert self.reasons(alive) == "It ended failed: boom."
