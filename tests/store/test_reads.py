"""Reads find what they name, page by index, and never wait for each other."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event, insert, select, text

from orchestrator.core.listings import (
    PageRequest,
    RunFilter,
    TaskInstanceFilter,
    TextMatch,
    XComFilter,
)
from orchestrator.core.outcomes import Succeeded
from orchestrator.errors import NotFoundError, RequestInvalidError
from orchestrator.store.ids import uuid7
from orchestrator.store.reads_paging import COUNT_AHEAD
from orchestrator.store.tables import dag_run_table, task_instance_table
from tests.api.world import World, open_world
from tests.builders import NOW, a_dag, a_task

RUNS_MANY = COUNT_AHEAD + 2_000


@pytest.fixture
def world(tmp_path: Path, database_url: str, redis_url: str) -> Iterator[World]:
    with open_world(tmp_path / "home", database_url, redis_url) as world:
        yield world


def add_history(world: World, *, count: int) -> None:
    """Store finished runs of DAG `d`, one an hour, as years of work leave them."""
    version_id = world.reads.dag("d").version.version_id
    rows: list[dict[str, Any]] = [
        {
            "id": uuid7(),
            "dag_id": "d",
            "run_id": f"r{index:06}",
            "run_type": "scheduled",
            "state": "success" if index % 3 else "failed",
            "run_after": NOW + timedelta(hours=index),
            "logical_date": NOW + timedelta(hours=index),
            "queued_at": NOW,
            "started_at": NOW,
            "ended_at": NOW,
            "conf": {},
            "triggered_by": "timetable",
            "dag_version_id": version_id,
        }
        for index in range(count)
    ]
    with world.store.database.writing() as connection:
        connection.execute(insert(dag_run_table), rows)


def test_a_long_history_is_counted_no_further_than_needed(world: World) -> None:
    world.add(a_dag())
    add_history(world, count=RUNS_MANY)

    first = world.reads.runs(RunFilter(dag_id="d"), PageRequest(limit=10))
    assert (first.items[0].run_id, first.total) == ("r000000", COUNT_AHEAD + 10)
    last = world.reads.runs(RunFilter(dag_id="d"), PageRequest(limit=10, offset=RUNS_MANY - 5))
    assert (len(last.items), last.total) == (5, RUNS_MANY)
    newest = world.reads.runs(RunFilter(), PageRequest(limit=1, order_by=("-id",)))
    assert newest.items[0].run_id == f"r{RUNS_MANY - 1:06}"
    failed = RunFilter(dag_id="d", run_id=TextMatch(prefixes=("r00000",)))
    assert world.reads.runs(failed, PageRequest()).total == 10


@pytest.mark.parametrize(
    ("wanted", "order"),
    [
        (RunFilter(dag_id="d"), ("-run_after",)),
        (RunFilter(dag_id="d"), ()),
        (RunFilter(), ("-id",)),
    ],
)
def test_a_piece_of_a_listing_is_found_by_index(
    world: World, wanted: RunFilter, order: tuple[str, ...]
) -> None:
    world.add(a_dag())
    add_history(world, count=20_000)

    plan = plan_of(world, lambda: world.reads.runs(wanted, PageRequest(limit=5, order_by=order)))

    assert [line for line in plan if "dag_run" in line]
    whole_table = ("SCAN dag_run", "Seq Scan on dag_run", "TEMP B-TREE FOR ORDER BY", "->  Sort ")
    by_index = [line for line in plan if "USING INDEX" in line or "Index Scan" in line]
    assert not [
        line for line in plan if any(mark in line for mark in whole_table) and line not in by_index
    ], plan


def plan_of(world: World, read: Callable[[], Any]) -> list[str]:
    """Return how the database carries out the statement that reads a piece of the runs. (The one
    that counts may walk a table, as it stops after so many rows.)"""
    engine = world.store.database.engine
    seen: list[tuple[str, Any]] = []

    def remember(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT dag_run"):
            seen.append((statement, parameters))

    if not world.store.database.is_sqlite:  # PostgreSQL does so by itself, SQLite never
        with world.store.database.writing() as connection:
            connection.execute(text("ANALYZE"))
    event.listen(engine, "before_cursor_execute", remember)
    read()
    event.remove(engine, "before_cursor_execute", remember)
    ((statement, parameters),) = seen
    explain = "EXPLAIN QUERY PLAN " if world.store.database.is_sqlite else "EXPLAIN "
    with world.store.database.reading() as connection:
        rows = connection.exec_driver_sql(explain + statement, parameters)
        return [str(row[-1]) for row in rows]


def test_mapped_task_instances(world: World) -> None:
    world.add(a_dag(a_task("a")))
    world.trigger("d", run_id="r")
    world.schedule()
    with world.store.database.writing() as connection:
        row = dict(connection.execute(select(task_instance_table)).one()._mapping)
        connection.execute(task_instance_table.delete())
        connection.execute(
            insert(task_instance_table),
            [{**row, "id": uuid7(), "map_index": index, "state": "scheduled"} for index in (0, 1)],
        )

    assert world.reads.task_instance("d", "r", "a", map_index=1).key.map_index == 1
    with pytest.raises(NotFoundError, match="is mapped in run 'r'; name one of its map indexes"):
        world.reads.task_instance("d", "r", "a")
    with pytest.raises(NotFoundError, match="has no map index 2"):
        world.reads.task_instance("d", "r", "a", map_index=2)
    mapped = TaskInstanceFilter(dag_id="d", run_id="r", is_mapped=True)
    assert world.reads.task_instances(mapped, PageRequest()).total == 2
    unmapped = TaskInstanceFilter(dag_id="d", run_id="r", is_mapped=False)
    assert world.reads.task_instances(unmapped, PageRequest()).total == 0


def test_a_cursor_of_another_order_is_refused(world: World) -> None:
    world.add(a_dag())
    add_history(world, count=3)
    by_name = PageRequest(limit=1, order_by=("run_id",), cursor="")
    cursor = world.reads.runs(RunFilter(), by_name).next_cursor
    assert cursor is not None

    with pytest.raises(RequestInvalidError, match="is not a cursor of this listing"):
        world.reads.runs(RunFilter(), PageRequest(order_by=("logical_date",), cursor=cursor))


def test_a_run_stays_on_its_version(world: World) -> None:
    world.add(a_dag(a_task("a", display_name="Old name")))
    world.trigger("d", run_id="r")
    world.schedule()
    world.add(a_dag(a_task("a", display_name="New name")), source="# another\n")

    assert world.reads.task_instance("d", "r", "a").display_name == "Old name"
    assert world.reads.run("d", "r").version.version_number == 1
    assert world.reads.dag("d").version.version_number == 2
    assert [v.version_number for v in world.reads.versions("d", PageRequest()).items] == [1, 2]
    assert world.reads.source("d", 2).text == "# another\n"


def test_xcoms_of_other_runs_stay_out(world: World) -> None:
    world.add(a_dag())
    world.start_worker()
    for run_id in ("r1", "r2"):
        world.trigger("d", run_id=run_id)
        world.finish({"a": Succeeded(xcoms={"return_value": run_id})})

    assert world.reads.xcom("d", "r2", "a", "return_value").value == "r2"
    assert world.reads.xcoms(XComFilter(dag_id="d", run_id="r1"), PageRequest()).total == 1
    assert world.reads.xcoms(XComFilter(), PageRequest()).total == 2


def test_more_readers_than_connections_all_get_an_answer(world: World) -> None:
    world.add(a_dag(a_task("a"), a_task("b", "a")))
    world.trigger("d", run_id="r")
    world.schedule()
    answers: list[Any] = []

    def read() -> None:
        for _ in range(5):
            answers.append(world.services.explain("d", "r", "b"))
            answers.append(world.reads.dag_details("d"))
            answers.append(world.reads.tries("d", "r", "a"))

    threads = [Thread(target=read) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len(answers) == 20 * 15


def test_workers_and_schedulers_are_alive_as_long_as_their_lease(world: World) -> None:
    world.start_worker("default", "gpu", concurrency=3)
    (worker,) = world.reads.workers()
    assert (worker.queues, worker.concurrency, worker.state) == (("default", "gpu"), 3, "online")

    world.store.worker.sign_off_worker(worker.worker_id)
    assert world.reads.workers() == ()
    (gone,) = world.reads.workers(includes_offline=True)
    assert (gone.state, gone.is_alive) == ("offline", False)

    assert world.reads.scheduler_pulse().alive == 0
    world.store.scheduler.register_scheduler("s", lease_s=60)
    pulse = world.reads.scheduler_pulse()
    assert pulse.alive == 1
    assert isinstance(pulse.last_heartbeat_at, datetime)
    assert pulse.last_heartbeat_at.tzinfo is UTC


def test_ids_are_what_they_say(world: World) -> None:
    world.add(a_dag())
    run = world.trigger("d")

    assert isinstance(run.uid, UUID)
    assert world.reads.run("d", run.run_id) == run


def test_s7_an_explanation_knows_the_run_before(world: World) -> None:
    world.add(a_dag(a_task("a", depends_on_past=True), catchup=False))
    for day in (1, 2):
        world.trigger("d", run_id=f"r{day}", logical_date=NOW - timedelta(days=9 - day))
        world.schedule()

    assert world.services.explain("d", "r2", "a")[-1] == (
        "It waits for the past: depends_on_past: it is queued in the run before, 'r1'."
    )
