"""Whichever half of a standalone orchestrator is killed, nothing it started is left."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.cli.standalone.guard import children_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="orphans are adopted on Linux only")

PROGRAM = """
import json, os, signal, subprocess, sys
from orchestrator.cli.standalone.guard import run_guarded

def supervise():
    # One child, one grandchild whose parent is gone, one that has a session of its own.
    family = subprocess.Popen(
        ["sh", "-c", "sleep 1000 & (setsid sleep 1001 &) ; echo $!; exec sleep 1002"],
        stdout=subprocess.PIPE,
    )
    family.stdout.readline()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(8))
    with open(sys.argv[1], "w") as file:
        json.dump({"supervisor": os.getpid(), "child": family.pid}, file)
    while True:
        signal.pause()

sys.exit(run_guarded(supervise))
"""


def wait_until(condition: Callable[[], bool], *, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "not so in time"
        time.sleep(0.01)


def descendants(pid: int) -> set[int]:
    found = {pid}
    for child in children_of(pid):
        found |= descendants(child)
    return found


def is_alive(pid: int) -> bool:
    """A zombie is dead: it waits for its parent to read the news."""
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:
        return False
    return state != b"Z"


class Guarded:
    def __init__(self, folder: Path) -> None:
        facts = folder / "facts"
        self.guard = subprocess.Popen([sys.executable, "-c", PROGRAM, str(facts)])
        wait_until(lambda: facts.exists() and facts.stat().st_size > 0)
        self.supervisor = json.loads(facts.read_text())["supervisor"]
        wait_until(lambda: len(descendants(self.guard.pid)) == 5)
        self.all_pids = descendants(self.guard.pid)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    running = Guarded(tmp_path)
    yield running
    for pid in running.all_pids:
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)


def test_a_killed_guard_leaves_nothing(guarded: Guarded) -> None:
    guarded.guard.kill()
    assert guarded.guard.wait() == -signal.SIGKILL
    wait_until(lambda: not any(is_alive(pid) for pid in guarded.all_pids))


def test_a_killed_supervisor_leaves_nothing(guarded: Guarded) -> None:
    os.kill(guarded.supervisor, signal.SIGKILL)
    assert guarded.guard.wait(10) == 128 + signal.SIGKILL
    assert not any(is_alive(pid) for pid in guarded.all_pids)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 7), (signal.SIGINT, 8)])
def test_a_stop_signal_reaches_the_supervisor_whose_exit_code_counts(
    guarded: Guarded, signum: signal.Signals, code: int
) -> None:
    guarded.guard.send_signal(signum)
    assert guarded.guard.wait(10) == code
    assert not any(is_alive(pid) for pid in guarded.all_pids)


def test_an_exit_code_passes_through() -> None:
    program = "import sys; from orchestrator.cli.standalone.guard import run_guarded\n" + (
        "sys.exit(run_guarded(lambda: 3))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 3


def test_an_error_in_the_supervisor_is_shown_and_exits_1() -> None:
    program = "import sys; from orchestrator.cli.standalone.guard import run_guarded\n" + (
        "sys.exit(run_guarded(lambda: 1 // 0))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert (done.returncode, "ZeroDivisionError" in done.stderr) == (1, True)
