"""No statement of the way of a task reads through the past: each finds its rows by an index."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, text

from orchestrator.core.lifecycle import TaskEvent
from orchestrator.core.planning import Plan, plan
from orchestrator.core.retries import Conclusion
from orchestrator.core.specs import CronSchedule
from orchestrator.store import Store
from tests.builders import NOW, a_dag, a_task
from tests.store.world import StoredWorld, a_worker

RUNS, TASKS = 2000, 5
HISTORY = ("task_instance", "dag_run", "attempt", "xcom", "log_chunk")
_OF_THE_TEST = ("UPDATE worker SET lease_until", "UPDATE dag_run SET wake_at = started_at")
DAILY = CronSchedule(expression="0 0 * * *")


@pytest.fixture
def old_world(world: StoredWorld) -> StoredWorld:
    """A store with 10,000 finished task instances, and statistics that know of them."""
    spec = a_dag(*(a_task(f"t{n:02}") for n in range(TASKS)), dag_id="old")
    world.started_run(spec, "r0")
    world.unguard()
    world.write("UPDATE task_instance SET state = 'success' WHERE state = 'none'")
    world.write("UPDATE dag_run SET state = 'success', wake_at = NULL, run_type = 'scheduled'")
    new_id = _new_id(world)
    numbers = f"(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {RUNS})"
    numbers += " SELECT n FROM s) AS numbers"
    _copy(world, "dag_run", numbers, id=new_id, run_id="'r' || n")
    _copy_instances(world)
    with world.store.database.each_alone() as connection:
        connection.execute(text("ANALYZE"))
    return world


def _new_id(world: StoredWorld) -> str:
    is_sqlite = world.store.database.is_sqlite
    return "lower(hex(randomblob(16)))" if is_sqlite else "gen_random_uuid()"


def _columns(world: StoredWorld, table: str) -> list[str]:
    with world.store.database.reading() as connection:
        return list(connection.execute(text(f"SELECT * FROM {table} LIMIT 1")).keys())


def _copy(world: StoredWorld, table: str, source: str, **changed: str) -> None:
    columns = _columns(world, table)
    values = ", ".join(changed.get(name, f"{table}.{name}") for name in columns)
    world.write(
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM {table}, {source}"
    )


def _copy_instances(world: StoredWorld) -> None:
    """Give every copied run the instances of the first, finished, and each an attempt."""
    columns = _columns(world, "task_instance")
    changed = {"id": _new_id(world), "run_uid": "r.id", "run_id": "r.run_id"}
    values = ", ".join(changed.get(name, f"t.{name}") for name in columns)
    world.write(
        f"INSERT INTO task_instance ({', '.join(columns)}) SELECT {values} FROM task_instance t,"
        " dag_run r WHERE t.run_id = 'r0' AND r.run_id <> 'r0'",
    )
    world.write(
        "INSERT INTO xcom (ti_id, key, run_uid, task_id, map_index, epoch, value, created_at)"
        " SELECT id, 'return_value', run_uid, task_id, map_index, 1, '1', run_after"
        " FROM task_instance"
    )
    world.write(
        'INSERT INTO log_chunk (ti_id, try_number, "offset", data)'
        " SELECT id, 1, 0, :data FROM task_instance",
        data=b"x",
    )
    world.write(
        "INSERT INTO attempt (ti_id, epoch, try_number, state, ended_at)"
        " SELECT id, 1, 1, 'success', run_after FROM task_instance"
    )


@contextmanager
def recorded(store: Store) -> Iterator[list[tuple[str, Any]]]:
    """Collect the statements that the store sends, with their parameters."""
    sent: list[tuple[str, Any]] = []

    def record(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        sent.append((statement, parameters))

    event.listen(store.database.engine, "before_cursor_execute", record)
    yield sent
    event.remove(store.database.engine, "before_cursor_execute", record)


def walk_the_way_of_a_task(world: StoredWorld) -> None:
    """Everything the services do while a run of a new DAG goes through them."""
    scheduler, worker = world.store.scheduler, world.store.worker
    worker.register_worker(a_worker())
    world.register(a_dag(a_task("a"), a_task("b", "a", max_active_tis_per_dag=1), schedule=DAILY))
    for run_id in ("r1", "r2"):
        world.queued_run(run_id)
    with scheduler.transaction() as transaction:
        for dag in transaction.lock_due_dags(10):
            planned = plan(dag, NOW)
            start = tuple(run.uid for run in dag.waiting)
            transaction.carry_out_plan(dag, Plan(create=planned.create, start=start, wake_at=NOW))
    for uid in world.runs.values():
        if world.run_row(uid).state == "running":
            world.schedule(uid, "a", "b")
    messages = world.claim()
    world.candidates()
    scheduler.expire_all_published()
    scheduler.lease_undelivered(limit=10, republish_after_s=60)
    scheduler.queued_by_queue()
    scheduler.withdraw_undelivered(looks_min=5, limit=10)
    for message in messages[:2]:
        assignment = world.start(message)
        assert assignment is not None
        worker.beat("w1", lease_s=60)
        ended = Conclusion(event=TaskEvent.SUCCEEDED)
        assert world.finish(assignment, ended, xcoms={"return_value": 1})
        worker.append_log(message.ti_id, 1, offset=0, data=b"x")
        world.store.values.pull_xcoms(dag_id="d", run_id="r1", task_ids=["a"], key="return_value")
    for message in messages[2:]:
        world.start(message)
    world.write("UPDATE worker SET lease_until = started_at")
    scheduler.reap(infra_tries_max=3, limit=10)
    scheduler.next_wake_at()
    for uid in list(world.runs.values()):
        world.write("UPDATE dag_run SET wake_at = started_at WHERE state = 'running'")
        if world.run_row(uid).state == "running":
            world.due(uid)


def test_no_statement_reads_through_the_past(old_world: StoredWorld) -> None:
    with recorded(old_world.store) as sent:
        walk_the_way_of_a_task(old_world)
    statements = dict(sent)
    own = [one for one in statements if not one.startswith(("BEGIN", "PRAGMA", *_OF_THE_TEST))]
    assert len(own) > 35
    explain = _explain_sqlite if old_world.store.database.is_sqlite else _explain_postgresql
    found = {
        statement: bad
        for statement in own
        if (bad := explain(old_world.store, statement, statements[statement]))
    }
    report = "\n\n".join(f"{statement}\n  {bad}" for statement, bad in found.items())
    assert not found, report


def _explain_sqlite(store: Store, statement: str, parameters: Any) -> list[str]:
    first = parameters[0] if isinstance(parameters, list) else parameters
    lines = _plan(store, lambda run: run(f"EXPLAIN QUERY PLAN {statement}", first), column=3)
    names = _aliases(statement)
    return [
        line
        for line in lines
        if (scan := re.match(r"SCAN (\w+)( USING (?:COVERING )?INDEX (\w+))?", line))
        and names.get(scan[1], scan[1]) in HISTORY
        and scan[3] not in PARTIAL
    ]


def _explain_postgresql(store: Store, statement: str, parameters: Any) -> list[str]:
    first = parameters[0] if isinstance(parameters, list) else parameters
    lines = _plan(store, lambda run: run(f"EXPLAIN {statement}", first), column=0)
    whole = "|".join(HISTORY)
    return [line.strip() for line in lines if re.search(rf"Seq Scan on ({whole})\b", line)]


PARTIAL = (
    *("ix_task_instance_scheduled", "ix_task_instance_active", "ix_task_instance_owed"),
    *("ix_task_instance_running", "ix_dag_run_due", "ix_dag_run_unfinished"),
)
"""Indexes that hold only what is waiting or running: to read one through is to read the present."""


def _plan(store: Store, ask: Callable[[Callable[..., Any]], Any], *, column: int) -> list[str]:
    with store.database.reading() as connection:
        cursor = connection.connection.cursor()
        ask(cursor.execute)
        return [row[column] for row in cursor.fetchall()]


def _aliases(statement: str) -> dict[str, str]:
    return {alias: table for table, alias in re.findall(r'(\w+) AS "?(\w+)"?', statement)}


@pytest.mark.parametrize("width", [50, 2000])
def test_the_statements_of_a_completion_do_not_depend_on_the_size_of_the_run(
    world: StoredWorld, width: int
) -> None:
    """One completion: start, finish, decide, claim; so many, whatever waits beside it."""
    tasks = [a_task(f"t{n:04}") for n in range(width)]
    world.store.worker.register_worker(a_worker())
    uid = world.started_run(a_dag(*tasks, max_active_tasks=4))
    world.schedule(uid, *(task.task_id for task in tasks[1:]))
    (message, *_) = world.claim()
    with recorded(world.store) as sent:
        assignment = world.start(message)
        assert assignment is not None
        world.finish(assignment, xcoms={"return_value": 1})
        world.decide(uid)
        assert len(world.claim()) == 1
    statements = [one for one, _ in sent if not one.startswith(("BEGIN", "PRAGMA"))]
    # SQLite: start 2, finish 4; PostgreSQL: 1 and 1. Then 2 to find the run and its news, and
    # pools, workers, shared limits, holdings, lanes, candidates, claim; 1 writes the decision, and
    # 1 is the test's own, which makes the run due. The version was read once, at the start.
    expected = 15 if world.store.database.is_sqlite else 11
    assert len(statements) == expected + 2, statements
