"""What tasks keep in the store comes back whole, and only the try that may write does."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orchestrator.core.assignments import Assignment
from orchestrator.core.ids import Slot, TaskKey
from orchestrator.core.lifecycle import TaskEvent
from orchestrator.core.results import CachedResult
from orchestrator.core.retries import Conclusion
from orchestrator.core.scheduling import Move
from orchestrator.errors import OperatorError, SettingsError
from orchestrator.store import SpillRules, Store, open_store, open_value_files
from orchestrator.store.reads import Reads
from orchestrator.store.spilling import PART_BYTES
from orchestrator.store.tables_values import xcom_part_table, xcom_spill_table
from orchestrator.store.versions import Versions
from tests.builders import NOW, a_dag, a_task
from tests.store.world import StoredWorld

ROWS = [{"id": number, "name": f"row {number}"} for number in range(20_000)]
LARGE: dict[str, Any] = {
    "list": ROWS,
    "dict": {f"k{number}": number for number in range(20_000)},
    "typed dict": {"__type": "dict", "items": [[number, "x" * 9] for number in range(20_000)]},
    "tuple": {"__type": "tuple", "items": list(range(50_000))},
    "text": "ü" * 100_000,
    "object": {"__type": "object", "class": "m:C", "fields": {"rows": ROWS[:5_000]}},
    "one long element": ["x" * 300_000, 1],
}


def running(world: StoredWorld, run_id: str = "r1", **fields: Any) -> Assignment:
    (assignment,) = world.running(a_dag(a_task("a")), run_id, **fields)
    return assignment


def pulled(world: StoredWorld, key: str = "k", run_id: str = "r1") -> Any:
    ((slot, value),) = world.store.values.pull_xcoms(
        dag_id="d", run_id=run_id, task_ids=["a"], key=key
    )
    assert slot == Slot("a")
    return value


def item(world: StoredWorld, position: int) -> Any:
    part = world.store.values.pull_xcom_part(
        TaskKey("d", "r1", "a"), xcom_key="k", position=position
    )
    return part.elements[position - part.first]


@pytest.mark.parametrize("value", [None, 0, "", [], {}], ids=repr)
def test_every_small_value_comes_back(world: StoredWorld, value: Any) -> None:
    world.finish(running(world), xcoms={"k": value})
    assert pulled(world) == value
    assert world.count(xcom_spill_table) == 0


@pytest.mark.parametrize("value", LARGE.values(), ids=LARGE)
def test_a_large_value_comes_back_whole(world: StoredWorld, value: Any) -> None:
    world.finish(running(world), xcoms={"k": value, "small": 1})
    assert pulled(world) == value
    assert pulled(world, "small") == 1
    assert world.count(xcom_spill_table) == 1
    (stored,) = world.rows("SELECT length(value) FROM xcom WHERE key = 'k'")
    assert stored[0] < 25_000, "the row itself stays small"


def test_one_element_of_a_large_value_is_read_alone(world: StoredWorld) -> None:
    world.finish(running(world), xcoms={"k": ROWS})
    for position in (0, 1, 7_777, 19_999):
        assert item(world, position) == ROWS[position]
    part = world.store.values.pull_xcom_part(TaskKey("d", "r1", "a"), xcom_key="k", position=5_000)
    assert len(msgspec.json.encode(part.elements)) <= PART_BYTES + 2
    with pytest.raises(LookupError, match="has 20000 elements: there is no number 20000"):
        item(world, 20_000)
    with pytest.raises(LookupError, match="there is no number -1"):
        item(world, -1)


@pytest.mark.parametrize("name", ["dict", "typed dict"])
def test_an_element_of_a_dict_is_a_pair(world: StoredWorld, name: str) -> None:
    world.finish(running(world), xcoms={"k": LARGE[name]})
    assert item(world, 15_000) == (("k15000", 15_000) if name == "dict" else (15_000, "x" * 9))


def test_an_element_of_a_small_value(world: StoredWorld) -> None:
    world.finish(running(world), xcoms={"k": {"a": 1, "b": [2]}})
    assert item(world, 1) == ("b", [2])
    with pytest.raises(LookupError, match=r"XCom 'k' of d/r1/a has 2 elements"):
        item(world, 2)


def test_what_has_no_elements_says_so(world: StoredWorld) -> None:
    world.finish(running(world), xcoms={"k": "x" * 100_000})
    with pytest.raises(LookupError, match="is neither a list nor a dict"):
        item(world, 0)
    with pytest.raises(LookupError, match=r"XCom 'other' of d/r1/a does not exist"):
        world.store.values.pull_xcom_part(TaskKey("d", "r1", "a"), xcom_key="other", position=0)


def test_a_report_may_be_repeated(world: StoredWorld) -> None:
    assignment = running(world)
    assert world.finish(assignment, xcoms={"k": ROWS})
    assert world.finish(assignment, xcoms={"k": ROWS})
    assert pulled(world) == ROWS
    assert world.count(xcom_spill_table) == 1


def retried(world: StoredWorld, assignment: Assignment) -> Assignment:
    uid = world.runs["r1"]
    world.schedule(uid, "a")
    (message,) = world.claim()
    again = world.start(message)
    assert again is not None
    assert again.epoch > assignment.epoch
    return again


RETRY = Conclusion(event=TaskEvent.WILL_RETRY, reason="x", retry_in_s=0)


def test_the_next_try_forgets_what_the_last_one_left(world: StoredWorld) -> None:
    first = running(world)
    world.finish(first, RETRY, xcoms={"k": ROWS})
    assert swept(world) == 0, "the value of a try that nothing has followed yet"
    second = retried(world, first)
    assert world.store.values.pull_xcoms(dag_id="d", run_id="r1", task_ids=None, key="k") == []
    assert swept(world) == 1
    assert world.count(xcom_spill_table) == world.count(xcom_part_table) == 0
    world.finish(second, xcoms={"k": ROWS[:10_000]})
    assert pulled(world) == ROWS[:10_000]
    assert swept(world) == 0


def swept(world: StoredWorld) -> int:
    return world.store.scheduler.sweep_values(limit=10)


def test_what_a_running_try_has_written_is_not_swept(world: StoredWorld) -> None:
    assignment = running(world)
    assert world.finish(assignment, xcoms={"k": ROWS})
    world.unguard()
    world.write("DELETE FROM xcom")
    assert swept(world) == 0
    world.write("UPDATE task_instance SET epoch = epoch + 1")
    assert swept(world) == 1


def test_who_lost_the_try_writes_nothing(world: StoredWorld) -> None:
    first = running(world)
    world.finish(first, RETRY)
    retried(world, first)
    assert not world.finish(first, xcoms={"k": ROWS})
    assert world.count(xcom_spill_table) == 0


def test_a_run_that_goes_takes_its_values_along(world: StoredWorld) -> None:
    assignment = running(world)
    keep(world, assignment, "x", "1")
    world.finish(assignment, xcoms={"k": ROWS})
    world.unguard()
    world.write("DELETE FROM dag_run")
    for table in ("xcom", "xcom_spill", "xcom_part", "task_value"):
        assert world.rows(f"SELECT 1 FROM {table}") == []


def test_a_damaged_value_is_noticed(world: StoredWorld) -> None:
    world.finish(running(world), xcoms={"k": ROWS})
    world.write("UPDATE xcom_part SET data = :data WHERE number = 3", data=b"x")
    with pytest.raises(OperatorError, match=r"'k' .* has a part 3 that is not what was written"):
        pulled(world)
    assert item(world, 0) == ROWS[0], "the other parts are fine"
    world.write("DELETE FROM xcom_part WHERE number = 3")
    with pytest.raises(OperatorError, match=r"parts; clear the task that pushed it, so that"):
        pulled(world)


def test_people_see_the_size_and_the_beginning(world: StoredWorld) -> None:
    world.finish(running(world), xcoms={"k": ROWS, "t": {"__type": "tuple", "items": [1, 2]}})
    reads = Reads(world.store.database, Versions(world.store.database))
    seen = reads.xcom("d", "r1", "a", "k")
    assert (seen.size_bytes > 500_000, seen.is_preview) == (True, True)
    assert seen.value[:2] == ROWS[:2]
    assert seen.value[-1] == "… 19,980 more"
    assert len(msgspec.json.encode(seen.value)) < 10_000
    small = reads.xcom("d", "r1", "a", "t")
    assert (small.value, small.is_preview, small.size_bytes) == ([1, 2], False, 32)


# --- files instead of SQL


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "large values"


@pytest.fixture
def with_files(database_url: str, folder: Path) -> Iterator[StoredWorld]:
    store = opened(database_url, folder)
    yield StoredWorld(store)
    store.close()


def opened(url: str, folder: Path | None) -> Store:
    files = (
        None if folder is None else open_value_files(f"file://{str(folder).replace(' ', '%20')}")
    )
    return open_store(url, clock=lambda: NOW, spill=SpillRules(files=files))


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_large_values_can_lie_in_files(with_files: StoredWorld, folder: Path) -> None:
    world = with_files
    world.finish(running(world), xcoms={"k": ROWS})
    assert world.rows("SELECT 1 FROM xcom_part WHERE data IS NOT NULL") == []
    assert len(files_in(folder)) == world.count(xcom_part_table) > 5
    assert pulled(world) == ROWS
    assert item(world, 7_777) == ROWS[7_777]


def test_the_files_of_a_try_go_with_it(with_files: StoredWorld, folder: Path) -> None:
    world = with_files
    first = running(world)
    world.finish(first, RETRY, xcoms={"k": ROWS})
    assert files_in(folder) != []
    retried(world, first)
    assert swept(world) == 1
    assert files_in(folder) == []


def test_a_lost_file_is_told_by_its_name(with_files: StoredWorld, folder: Path) -> None:
    with_files.finish(running(with_files), xcoms={"k": ROWS})
    for path in files_in(folder):
        path.unlink()
    with pytest.raises(OperatorError, match=r"the XCom file .*json\.z could not be read: No such"):
        pulled(with_files)


def test_a_worker_that_does_not_know_the_place_says_so(
    with_files: StoredWorld, database_url: str
) -> None:
    with_files.finish(running(with_files), xcoms={"k": ROWS})
    elsewhere = opened(database_url, None)
    with pytest.raises(OperatorError, match="set ORCHESTRATOR_XCOM_STORAGE_URL to the place"):
        pulled(StoredWorld(elsewhere))
    elsewhere.close()


def test_files_of_runs_that_are_gone_are_swept(with_files: StoredWorld, folder: Path) -> None:
    world = with_files
    world.finish(running(world), xcoms={"k": ROWS})
    gone = folder / "00000000-0000-0000-0000-000000000001"
    gone.mkdir()
    (gone / "x").write_text("x")
    mine = folder / "not ours"
    mine.mkdir()
    assert swept(world) == 1
    assert (gone.exists(), mine.exists(), pulled(world) == ROWS) == (False, True, True)


def test_a_place_that_needs_a_library_names_it() -> None:
    with pytest.raises(SettingsError, match=r"ORCHESTRATOR_XCOM_STORAGE_URL=s3://b/x.*[iI]nstall"):
        open_value_files("s3://b/x")


# --- values kept across tries


def keep(world: StoredWorld, assignment: Assignment, key: str, value: str | None) -> bool:
    return world.store.values.write_task_value(
        assignment.ti_id, assignment.epoch, worker_id="w1", key=key, value=value
    )


def test_a_task_keeps_values_for_its_next_tries(world: StoredWorld) -> None:
    first = running(world)
    assert keep(world, first, "at", "1")
    assert keep(world, first, "at", "2")
    assert keep(world, first, "gone", "3")
    assert keep(world, first, "gone", None)
    assert keep(world, first, "gone", None), "there is nothing to drop, and that is fine"
    world.finish(first, RETRY)
    second = retried(world, first)
    assert world.store.values.task_values(second.ti_id) == {"at": "2"}


def test_who_lost_the_try_keeps_nothing(world: StoredWorld) -> None:
    first = running(world)
    keep(world, first, "at", "1")
    world.finish(first, RETRY)
    assert not keep(world, first, "at", "2")
    second = retried(world, first)
    assert not keep(world, first, "at", "2")
    assert not keep(world, first, "at", None)
    assert world.store.values.task_values(second.ti_id) == {"at": "1"}
    assert keep(world, second, "at", "3")


# --- cached results


def test_a_cached_result_is_found_until_it_expires(world: StoredWorld) -> None:
    result = CachedResult(
        xcoms={"return_value": [1, "ü"]}, source=TaskKey("d", "r1", "a", 4), try_number=2
    )
    newer = CachedResult(xcoms={}, source=TaskKey("d", "r2", "a"), try_number=1)
    values = world.store.values
    assert values.find_result("k") is None
    values.keep_result("k", result, ttl_s=3600)
    assert values.find_result("k") == result
    values.keep_result("k", newer, ttl_s=3600)
    assert values.find_result("k") == newer
    values.keep_result("old", result, ttl_s=-1)
    assert values.find_result("old") is None
    values.keep_result("other", result, ttl_s=3600)
    assert [row.key for row in world.rows("SELECT key FROM cached_result ORDER BY key")] == [
        "k",
        "other",
    ], "what has expired goes when something is written"


# --- earlier runs


def test_s19_the_latest_run_that_pushed_the_key(world: StoredWorld) -> None:
    for day, key in ((1, "k"), (2, "k"), (3, "other")):
        assignment = running(world, f"r{day}", logical_date=NOW + timedelta(days=day))
        world.finish(assignment, xcoms={key: day})
    manual = running(world, "manual", run_after=NOW + timedelta(days=4))
    world.finish(manual, xcoms={"k": 4})

    def latest(day: float, key: str = "k", task_id: str = "a") -> str | None:
        return world.store.values.latest_run_with_xcom(
            dag_id="d", task_id=task_id, key=key, until=NOW + timedelta(days=day)
        )

    assert [latest(0.5), latest(1), latest(3.5), latest(5)] == [None, "r1", "r2", "manual"]
    assert (latest(5, "other"), latest(5, "k", "b")) == ("r3", None)


def test_s14_a_cleared_task_keeps_nothing(world: StoredWorld) -> None:
    assignment = running(world)
    keep(world, assignment, "at", "1")
    world.finish(assignment, xcoms={"k": ROWS})
    world.decide(world.runs["r1"], Move(slot=Slot("a"), event=TaskEvent.CLEARED))
    assert world.store.values.task_values(assignment.ti_id) == {}
    assert swept(world) == 1, "its large XCom belongs to nothing any more"


def test_large_values_can_lie_where_fsspec_reaches(database_url: str) -> None:
    files = open_value_files("memory://xcoms/of a test")
    assert files is not None
    store = open_store(database_url, clock=lambda: NOW, spill=SpillRules(files=files))
    world = StoredWorld(store)
    world.finish(running(world), xcoms={"k": ROWS})
    (uid,) = files.runs()
    assert uid == str(world.runs["r1"])
    assert (pulled(world) == ROWS, item(world, 7_777)) == (True, ROWS[7_777])
    world.unguard()
    world.write("DELETE FROM dag_run")
    assert swept(world) == 1
    assert files.runs() == []
    with pytest.raises(OperatorError, match="could not be read"):
        files.read(f"{uid}/x")
    store.close()
