"""The board says what a child did last, also when it died in the middle of saying so."""

from pathlib import Path
from uuid import UUID

import pytest

from orchestrator.core.ids import TiId
from workers.board import SLOTS, Counts, Interruption, Phase, Slot, TryBoard

TI = TiId(UUID(int=7))


@pytest.fixture
def board(tmp_path: Path) -> TryBoard:
    return TryBoard.create(tmp_path / "board")


@pytest.fixture
def slot(board: TryBoard) -> Slot:
    slot = board.reserve()
    slot.claim(42)
    return slot


def run(slot: Slot, *, limit_s: float | None = 2.0) -> None:
    slot.begin(TI, 3)
    slot.go(Phase.RUNNING, try_number=2, log_start=10, started_at=100.0, limit_s=limit_s)


def test_a_new_board_has_no_children(board: TryBoard) -> None:
    assert list(board.views()) == []


def test_a_reserved_slot_is_nobodys_until_the_child_claims_it(board: TryBoard) -> None:
    slot = board.reserve()
    assert list(board.views()) == []
    slot.claim(42)
    (view,) = board.views()
    assert (view.pid, view.phase, view.is_busy) == (42, Phase.IDLE, False)


def test_each_child_has_a_slot_and_a_freed_one_is_used_again(board: TryBoard) -> None:
    first, second = board.reserve(), board.reserve()
    assert first.index != second.index
    first.claim(1)
    first.free()
    assert board.reserve().index == first.index


def test_a_board_without_free_slots_says_so(board: TryBoard) -> None:
    for _ in range(SLOTS):
        board.reserve()
    with pytest.raises(AssertionError, match="all 256 slots are taken"):
        board.reserve()


def test_a_starting_try_has_an_identity_and_no_deadline(slot: Slot) -> None:
    slot.begin(TI, 3)
    view = slot.view()
    assert (view.phase, view.ti_id, view.epoch, view.try_number) == (Phase.STARTING, TI, 3, 0)
    assert view.is_busy
    assert not view.is_interruptible


def test_a_running_try_says_since_when_and_until_when(slot: Slot) -> None:
    run(slot)
    view = slot.view()
    assert (view.try_number, view.log_start) == (2, 10)
    assert (view.started_at, view.deadline_at, view.limit_s) == (100.0, 102.0, 2.0)


def test_a_try_without_a_limit_never_ends(slot: Slot) -> None:
    run(slot, limit_s=None)
    assert slot.view().deadline_at == float("inf")


def test_another_process_reads_the_same(slot: Slot, tmp_path: Path) -> None:
    run(slot)
    (view,) = TryBoard.read(tmp_path / "board").views()
    assert view == slot.view()


def test_a_process_forked_earlier_sees_later_children(board: TryBoard) -> None:
    forked = board.whole()
    board.reserve().claim(42)
    assert [view.pid for view in forked.views()] == [42]


def test_a_torn_identity_is_no_try(slot: Slot, tmp_path: Path) -> None:
    run(slot)
    with (tmp_path / "board").open("rb+") as file:
        file.seek(64)
        file.write(b"\xff\xff")
    view = slot.view()
    assert (view.phase, view.is_busy) == (Phase.IDLE, False)


def test_a_torn_deadline_is_no_deadline(slot: Slot, tmp_path: Path) -> None:
    run(slot)
    with (tmp_path / "board").open("rb+") as file:
        file.seek(120)
        file.write(b"\xff\xff\xff\xff\xff\xff\xff\xff")
    view = slot.view()
    assert (view.phase, view.ti_id, view.deadline_at) == (Phase.RUNNING, TI, float("inf"))


def test_an_interruption_is_for_one_try_only(slot: Slot) -> None:
    run(slot)
    slot.interrupt(slot.serial, Interruption.TIMEOUT)
    seen_before = slot.has_seen
    assert slot.see_interruption() is Interruption.TIMEOUT
    assert (seen_before, slot.has_seen) == (False, True)
    slot.begin(TI, 4)
    assert slot.see_interruption() is Interruption.NONE


def test_an_interruption_that_comes_late_does_not_hit_the_next_try(slot: Slot) -> None:
    run(slot)
    serial = slot.serial
    slot.begin(TI, 4)
    slot.interrupt(serial, Interruption.CANCEL)
    assert slot.see_interruption() is Interruption.NONE


def test_a_shipped_log_is_that_of_the_present_try(slot: Slot) -> None:
    run(slot)
    before = slot.is_shipped
    slot.note_shipped(slot.serial)
    noted = slot.is_shipped
    slot.begin(TI, 4)
    assert (before, noted, slot.is_shipped) == (False, True, False)


def test_counts_outlive_the_child(board: TryBoard, slot: Slot) -> None:
    slot.count(started=2)
    slot.count(fenced=1, rejected=3)
    slot.free()
    again = board.reserve()
    again.claim(43)
    again.count(started=1)
    assert board.counts() == Counts(started=3, fenced=1, rejected=3)
