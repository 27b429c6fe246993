"""First a word, then half a second, then an end; ten seconds for whoever cleans up."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from orchestrator.core.ids import TiId
from tests.workers.rig import processes_of_session, until
from workers.board import Interruption, Phase, Slot, TryBoard
from workers.escalation import CLEAN_UP_S, NOTICE_S, Escalation
from workers.processes import kill_session

START = 1000.0
DEAF = "import signal, subprocess, time; signal.signal(signal.SIGUSR1, lambda *_: None);"


@pytest.fixture
def board(tmp_path: Path) -> TryBoard:
    return TryBoard.create(tmp_path / "board")


@pytest.fixture
def child(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that takes no notice of signals, with one that it has started."""
    code = f"{DEAF} subprocess.Popen(['sleep', '600']); open('ready', 'w'); time.sleep(600)"
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", code], start_new_session=True, cwd=tmp_path
    )
    until((tmp_path / "ready").exists)
    yield process
    kill_session(process.pid)
    process.wait()


@pytest.fixture
def slot(board: TryBoard, child: subprocess.Popen[bytes]) -> Slot:
    slot = board.reserve()
    slot.claim(child.pid)
    begin(slot)
    return slot


def begin(slot: Slot) -> None:
    slot.begin(TiId(UUID(int=1)), 1)
    slot.go(Phase.RUNNING, try_number=1, log_start=0, started_at=START, limit_s=5.0)


def interruption(slot: Slot) -> Interruption:
    """What the child would see, without it noting so."""
    seen = slot.has_seen
    found = slot.see_interruption()
    if not seen:
        slot.interrupt(slot.serial, found)
    return found


def test_nothing_happens_before_the_deadline(
    board: TryBoard, slot: Slot, child: subprocess.Popen[bytes]
) -> None:
    escalation = Escalation(board)
    assert escalation.next_at(board.views()) == START + 5
    escalation.check(board.views(), START + 4.99)
    assert slot.see_interruption() is Interruption.NONE


def test_who_does_not_notice_is_killed_with_all_it_started(
    board: TryBoard, slot: Slot, child: subprocess.Popen[bytes]
) -> None:
    assert len(processes_of_session(child.pid)) == 2
    escalation = Escalation(board)
    escalation.check(board.views(), START + 5)
    assert interruption(slot) is Interruption.TIMEOUT
    assert escalation.next_at(board.views()) == START + 5 + NOTICE_S
    escalation.check(board.views(), START + 5 + NOTICE_S - 0.01)
    assert child.poll() is None
    escalation.check(board.views(), START + 5 + NOTICE_S)
    assert child.wait(10) == -signal.SIGKILL
    assert processes_of_session(child.pid) == []
    assert escalation.why_killed(slot.view()) is Interruption.TIMEOUT
    assert escalation.why_killed(slot.view()) is Interruption.NONE


def test_who_has_noticed_has_time_to_clean_up(
    board: TryBoard, slot: Slot, child: subprocess.Popen[bytes]
) -> None:
    escalation = Escalation(board)
    escalation.check(board.views(), START + 5)
    slot.see_interruption()
    escalation.check(board.views(), START + 5 + CLEAN_UP_S - 0.01)
    assert child.poll() is None
    escalation.check(board.views(), START + 5 + CLEAN_UP_S)
    assert child.wait(10) == -signal.SIGKILL


def test_who_ends_in_time_is_left_alone(
    board: TryBoard, slot: Slot, child: subprocess.Popen[bytes]
) -> None:
    escalation = Escalation(board)
    escalation.check(board.views(), START + 5)
    slot.phase = Phase.FINISHING
    escalation.check(board.views(), START + 100)
    begin(slot)
    escalation.check(board.views(), START + 4)
    assert child.poll() is None


def test_a_kill_that_comes_late_spares_the_next_try(
    board: TryBoard, slot: Slot, child: subprocess.Popen[bytes]
) -> None:
    escalation = Escalation(board)
    stale = slot.view()
    begin(slot)
    escalation.kill(stale, Interruption.CANCEL)
    os.kill(child.pid, 0)
    assert child.poll() is None


def test_a_cancelled_try_is_asked_once(
    board: TryBoard, slot: Slot, child: subprocess.Popen[bytes]
) -> None:
    escalation = Escalation(board)
    escalation.cut(slot.view(), Interruption.CANCEL, START + 1)
    escalation.cut(slot.view(), Interruption.CANCEL, START + 1.4)
    assert interruption(slot) is Interruption.CANCEL
    escalation.check(board.views(), START + 1 + NOTICE_S)
    assert child.wait(10) == -signal.SIGKILL
    assert escalation.why_killed(slot.view()) is Interruption.CANCEL


def test_a_child_that_is_gone_already_is_no_error(board: TryBoard) -> None:
    slot = board.reserve()
    process = subprocess.Popen(["true"])
    process.wait()
    slot.claim(process.pid)
    begin(slot)
    Escalation(board).cut(slot.view(), Interruption.CANCEL, START)
