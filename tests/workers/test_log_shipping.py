"""What a worker had written is in the store once and whole, wherever its death found it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.core.ids import TiId
from orchestrator.core.states import TaskState
from orchestrator.core.views import TaskInstanceView
from orchestrator.ports import WorkerInfo
from tests.workers.rig import Rig, add_task
from workers.board import Phase, Slot, TryBoard
from workers.log_shipping import PIECE_BYTES_MAX, LogShipper, open_spool, ship_leftovers
from workers.logs import RECORD_START, record_line

PID = 4242


@pytest.fixture
def ti(rig: Rig) -> TaskInstanceView:
    """A task instance whose try runs, as far as the store knows."""
    add_task(rig, "logging", "pass")
    rig.store.worker.register_worker(
        WorkerInfo(
            worker_id="w", hostname="h", pid=1, queues=("default",), concurrency=1, version="1"
        )
    )
    queued = rig.reached("logging", rig.trigger("logging"), TaskState.QUEUED)
    assert rig.store.worker.start(queued.ti_id, 1, worker_id="w", pid=PID, lease_s=600)
    return rig.reached("logging", queued.key.run_id, TaskState.RUNNING)


class Spool:
    """A worker's spool as its children write it."""

    def __init__(self, folder: Path, board: TryBoard) -> None:
        self.folder = folder
        self.board = board
        self.slot: Slot = board.reserve()
        self.slot.claim(PID)
        self.slot.set_stream(1)
        self._stream = folder / f"{PID}-1.log"
        self._stream.touch()

    def begin(self, ti_id: TiId, try_number: int = 1, *, epoch: int = 1) -> int:
        start = self._stream.stat().st_size
        self.slot.begin(ti_id, epoch)
        self.slot.go(
            Phase.RUNNING, try_number=try_number, log_start=start, started_at=0.0, limit_s=None
        )
        return start

    def write(self, raw: bytes) -> None:
        with self._stream.open("ab") as file:
            file.write(raw)

    def end(self, ti_id: TiId, try_number: int, start: int, *, epoch: int = 1) -> None:
        with self._stream.with_suffix(".tries").open("a") as index:
            index.write(f"{ti_id} {try_number} {epoch} {start} {self._stream.stat().st_size}\n")
        self.slot.go(
            Phase.FINISHING, try_number=try_number, log_start=start, started_at=0.0, limit_s=None
        )


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with open_spool(tmp_path / "logs", "worker") as (folder, board):
        yield Spool(folder, board)


def record(event: str) -> bytes:
    return RECORD_START + record_line(event=event, level="info", logger="l")


def numbered(count: int) -> tuple[bytes, list[str]]:
    """Raw lines and records that are more than one piece."""
    events = [f"{number:05d} {'x' * 1000}" for number in range(count)]
    raw = b"".join(
        record(event) if number % 2 else event.encode() + b"\n"
        for number, event in enumerate(events)
    )
    assert len(raw) > 2 * PIECE_BYTES_MAX
    return raw, events


def test_only_whole_lines_of_a_running_try_are_shipped(
    rig: Rig, ti: TaskInstanceView, spool: Spool
) -> None:
    shipper = LogShipper(spool.folder)
    start = spool.begin(ti.ti_id)
    spool.write(record("one") + b"two\nthr")
    assert shipper.ship(rig.store.worker, spool.board.views()) == []
    assert rig.events(ti) == ["one", "two"]
    spool.write(b"ee")
    spool.end(ti.ti_id, 1, start)
    (over,) = shipper.ship(rig.store.worker, spool.board.views())
    assert over.ti_id == ti.ti_id
    assert rig.events(ti) == ["one", "two", "three"]


def test_what_comes_after_the_end_belongs_to_nobody(
    rig: Rig, ti: TaskInstanceView, spool: Spool
) -> None:
    shipper = LogShipper(spool.folder)
    start = spool.begin(ti.ti_id)
    spool.write(b"mine\n")
    stale = list(spool.board.views())
    spool.end(ti.ti_id, 1, start)
    spool.write(b"a thread that did not stop\n")
    shipper.ship(rig.store.worker, stale)
    shipper.ship(rig.store.worker, stale)
    assert rig.events(ti) == ["mine"]


def test_a_stream_is_removed_when_its_child_writes_elsewhere(
    rig: Rig, ti: TaskInstanceView, spool: Spool
) -> None:
    shipper = LogShipper(spool.folder)
    start = spool.begin(ti.ti_id)
    spool.write(b"mine\n")
    spool.end(ti.ti_id, 1, start)
    shipper.ship(rig.store.worker, spool.board.views())
    assert list(spool.folder.glob(f"{PID}-1.*"))
    spool.slot.set_stream(2)
    shipper.ship(rig.store.worker, spool.board.views())
    assert list(spool.folder.glob(f"{PID}-1.*")) == []
    assert rig.events(ti) == ["mine"]


def test_who_goes_on_with_a_try_writes_behind_what_was_there(
    rig: Rig, ti: TaskInstanceView, spool: Spool
) -> None:
    """A sensor that gave its worker back: the second look may even be stored first."""
    shipper = LogShipper(spool.folder)
    first = spool.begin(ti.ti_id)
    spool.write(b"looked\n")
    spool.end(ti.ti_id, 1, first)
    second = spool.begin(ti.ti_id, epoch=2)
    spool.write(b"looked again\n")
    spool.end(ti.ti_id, 1, second, epoch=2)
    shipper.ship(rig.store.worker, spool.board.views())
    third = spool.begin(ti.ti_id, epoch=3)
    spool.write(b"there")
    shipper.ship(rig.store.worker, spool.board.views())
    assert rig.events(ti) == ["looked", "looked again"]
    spool.end(ti.ti_id, 1, third, epoch=3)
    shipper.ship(rig.store.worker, spool.board.views())
    assert rig.events(ti) == ["looked", "looked again", "there"]


def test_a_living_workers_spool_is_left_alone(
    rig: Rig, ti: TaskInstanceView, spool: Spool, tmp_path: Path
) -> None:
    spool.begin(ti.ti_id)
    spool.write(b"mine\n")
    assert ship_leftovers(tmp_path / "logs", rig.store.worker) == 0
    assert rig.events(ti) == []


@pytest.mark.parametrize("shipped", [(), (1,), (70_000, 500_000), (300_000, 300_001, 700_000)])
@pytest.mark.parametrize("has_ended", [False, True], ids=["running", "ended"])
def test_a_successor_stores_what_is_missing(
    rig: Rig, ti: TaskInstanceView, tmp_path: Path, shipped: tuple[int, ...], has_ended: bool
) -> None:
    raw, events = numbered(700)
    with open_spool(tmp_path / "logs", "worker") as (folder, board):
        spool, shipper = Spool(folder, board), LogShipper(folder)
        earlier = spool.begin(ti.ti_id)
        spool.write(b"an earlier try of the same child\n")
        spool.end(ti.ti_id, 9, earlier)
        start = spool.begin(ti.ti_id)
        written = 0
        for until in shipped:
            spool.write(raw[written:until])
            shipper.ship(rig.store.worker, board.views())
            written = until
        spool.write(raw[written:])
        if has_ended:
            spool.end(ti.ti_id, 1, start)

    ship_leftovers(tmp_path / "logs", rig.store.worker)

    assert rig.events(ti) == events
    assert list((tmp_path / "logs").iterdir()) == []
    with rig.store.database.reading() as connection:
        data = connection.exec_driver_sql("SELECT data FROM log_chunk WHERE try_number = 9")
        assert [json.loads(row.data)["event"] for row in data] == [
            "an earlier try of the same child"
        ]


def test_what_others_keep_in_the_folder_is_no_error(rig: Rig, tmp_path: Path) -> None:
    """A service's own log file once ended every turn of the supervisor half way, so that each task
    that printed a line waited a second for its log to be stored."""
    (tmp_path / "logs" / "empty").mkdir(parents=True)
    (tmp_path / "logs" / "api.log").write_text("served")
    assert ship_leftovers(tmp_path / "logs", rig.store.worker) == 0
    assert (tmp_path / "logs" / "api.log").read_text() == "served"


def test_no_leftovers_are_no_error(rig: Rig, tmp_path: Path) -> None:
    assert ship_leftovers(tmp_path / "logs", rig.store.worker) == 0
