"""ports.DagCatalog: versions by content, files that come and go, errors and warnings."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestrator.core.codec import decode_spec
from orchestrator.core.planning import Plan
from orchestrator.core.specs import CronSchedule, DeltaSchedule, OnceSchedule, Schedule
from orchestrator.errors import NotFoundError
from orchestrator.store import open_store
from orchestrator.store.tables import dag_version_table
from tests.builders import a_dag, a_task
from tests.store.world import StoredWorld, a_version

ONE, TWO, THREE = (a_dag(a_task("a", pool_slots=n)) for n in (1, 2, 3))


def versions(world: StoredWorld) -> list[tuple[int, int]]:
    """Version numbers, each with the slots its task takes (which tells the contents apart)."""
    rows = world.rows("SELECT version_number, spec FROM dag_version ORDER BY version_number")
    return [(row.version_number, decode_spec(row.spec).tasks[0].pool_slots) for row in rows]


def current(world: StoredWorld) -> int:
    (row,) = world.rows(
        "SELECT version_number FROM dag JOIN dag_version v ON v.id = dag.current_version_id"
    )
    number: int = row.version_number
    return number


def test_the_same_content_makes_no_version(world: StoredWorld) -> None:
    assert world.register(ONE)
    assert not world.register(ONE)
    assert versions(world) == [(1, 1)]


def test_a_version_without_runs_is_replaced_in_place_under_a_new_id(world: StoredWorld) -> None:
    world.register(ONE)
    with world.store.scheduler.transaction() as transaction:
        (before,) = transaction.lock_due_dags(1)
    assert world.register(TWO)
    assert versions(world) == [(1, 2)]
    with world.store.scheduler.transaction() as transaction:
        (after,) = transaction.lock_due_dags(1)
    assert after.spec == TWO
    assert after.version_id != before.version_id, "or a process that cached it would be wrong"
    store = open_store(world.store.database.engine.url.render_as_string(hide_password=False))
    with pytest.raises(NotFoundError, match="it was replaced"):
        store.scheduler.spec(before.version_id)
    store.close()


def test_a_version_with_a_started_run_stays_and_the_next_gets_a_number(world: StoredWorld) -> None:
    uid = world.started_run(ONE)
    assert world.register(TWO)
    assert world.register(THREE), "version 2 has no run yet"
    assert versions(world) == [(1, 1), (2, 3)]
    assert current(world) == 2
    assert world.store.scheduler.spec(world.due(uid).version_id) == ONE


def test_a_version_comes_back_when_its_content_does(world: StoredWorld) -> None:
    world.started_run(ONE)
    world.register(TWO)
    assert world.register(ONE)
    assert versions(world) == [(1, 1), (2, 1)]
    assert not world.register(ONE)


def test_a_waiting_run_starts_on_the_newest_version_and_a_restarted_one_on_its_own(
    world: StoredWorld,
) -> None:
    world.register(ONE)
    uid = world.queued_run()
    world.register(TWO)
    with world.store.scheduler.transaction() as transaction:
        (dag,) = transaction.lock_due_dags(1)
        (started,) = transaction.carry_out_plan(dag, Plan(start=(uid,)))
    assert world.store.scheduler.spec(started.version_id) == TWO
    world.register(THREE)
    world.write("UPDATE dag_run SET state = 'queued'")
    with world.store.scheduler.transaction() as transaction:
        (dag,) = transaction.lock_due_dags(1)
        (again,) = transaction.carry_out_plan(dag, Plan(start=(uid,)))
    assert again.version_id == started.version_id
    assert len(world.states(uid)) == 1


def test_what_lists_show_follows_the_newest_version(world: StoredWorld) -> None:
    first = a_dag(tags=("x",), owners=("ann",), description="one\0", max_active_runs=3)
    world.register(first)
    world.register(
        a_dag(tags=("y",), display_name="Name", timezone="Europe/Rome", max_active_tasks=5)
    )
    (row,) = world.rows(
        "SELECT tags, owners, description, display_name, timezone, max_active_runs,"
        " max_active_tasks, path FROM dag"
    )
    assert tuple(row) == ('["y"]', "[]", None, "Name", "Europe/Rome", 16, 5, "d.py")


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (None, None),
        (CronSchedule(expression="0 5 * * *", timezone="UTC"), "0 5 * * *"),
        (DeltaSchedule(seconds=90_000), "1 day, 1:00:00"),
        (OnceSchedule(), "@once"),
    ],
)
def test_a_schedule_is_listed_in_words(
    world: StoredWorld, schedule: Schedule, words: str | None
) -> None:
    world.register(a_dag(schedule=schedule))
    assert world.rows("SELECT schedule FROM dag")[0].schedule == words


def test_a_new_dag_is_paused_if_its_file_says_so_and_stays_as_people_set_it(
    world: StoredWorld,
) -> None:
    world.register(a_dag(is_paused_upon_creation=True))
    assert world.rows("SELECT is_paused FROM dag")[0].is_paused
    world.write("UPDATE dag SET is_paused = :no", no=False)
    world.register(a_dag(is_paused_upon_creation=True, description="changed"))
    assert not world.rows("SELECT is_paused FROM dag")[0].is_paused


def test_a_dag_that_its_file_drops_is_hidden_until_it_comes_back(world: StoredWorld) -> None:
    catalog = world.store.catalog
    world.register(ONE, path="f.py")
    world.register(a_dag(dag_id="other"), path="f.py")
    world.register(a_dag(dag_id="elsewhere"), path="g.py")
    catalog.keep_only("f.py", {"other"})
    assert catalog.owner_of("d") is None
    assert catalog.owner_of("other") == "f.py"
    assert catalog.owner_of("elsewhere") == "g.py"
    assert catalog.owner_of("never seen") is None
    with world.store.scheduler.transaction() as transaction:
        assert "d" not in [dag.spec.dag_id for dag in transaction.lock_due_dags(10)]
    assert not world.register(ONE, path="moved.py"), "the content is known"
    assert catalog.owner_of("d") == "moved.py"
    with world.store.scheduler.transaction() as transaction:
        assert "d" in [dag.spec.dag_id for dag in transaction.lock_due_dags(10)]


def test_files_that_are_gone_take_their_dags_and_errors_with_them(world: StoredWorld) -> None:
    catalog = world.store.catalog
    world.started_run(ONE)
    world.register(a_dag(dag_id="kept"), path="kept.py")
    for path in ("d.py", "kept.py", "broken.py"):
        catalog.record_import_error(path, kind="syntax", message="m", stacktrace="s")
    catalog.forget_missing({"kept.py"})
    assert catalog.owner_of("d") is None
    assert catalog.owner_of("kept") == "kept.py"
    assert [row.path for row in world.rows("SELECT path FROM import_error")] == ["kept.py"]
    assert len(world.rows("SELECT id FROM dag_run")) == 1, "its history stays"
    catalog.forget_missing(set())
    assert catalog.owner_of("kept") is None


def test_a_file_has_one_import_error_the_newest(world: StoredWorld) -> None:
    catalog = world.store.catalog
    catalog.record_import_error("f.py", kind="syntax", message="one", stacktrace="")
    catalog.record_import_error("f.py", kind="crash", message="two\0\udc80", stacktrace="t")
    (row,) = world.rows("SELECT kind, message, stacktrace FROM import_error")
    assert tuple(row) == ("crash", "two\ufffd?", "t")
    catalog.clear_import_error("f.py")
    catalog.clear_import_error("f.py")
    assert world.rows("SELECT 1 FROM import_error") == []


def test_warnings_are_replaced_as_a_whole(world: StoredWorld) -> None:
    world.register(ONE)
    world.store.catalog.record_warnings("d", {"a": "1", "b": "2"})
    world.store.catalog.record_warnings("d", {"b": "3"})
    rows = world.rows("SELECT kind, message FROM dag_warning")
    assert [tuple(row) for row in rows] == [("b", "3")]
    world.store.catalog.record_warnings("d", {})
    assert world.rows("SELECT 1 FROM dag_warning") == []


@pytest.mark.postgres
def test_two_parsers_that_register_a_new_dag_at_once_make_one_version(postgres_url: str) -> None:
    stores = [open_store(postgres_url) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        new = list(threads.map(lambda store: store.catalog.register(a_version(ONE)), stores))
    world = StoredWorld(stores[0])
    assert sorted(new) == [False, False, False, True]
    assert world.count(dag_version_table) == 1
    for store in stores:
        store.close()
