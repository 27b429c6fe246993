"""A death is noticed at once and put down to its cause."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workers.rig import until
from workers.deaths import ChildWatch, Death, OomCounter, ReturnCode, death_reason


@pytest.mark.parametrize(
    ("death", "reason"),
    [
        (Death(return_code=-9), "the task's process was killed by SIGKILL"),
        (
            Death(return_code=-9, is_out_of_memory=True),
            "oom: the kernel killed the task's process because memory ran out (SIGKILL)",
        ),
        (
            Death(return_code=-11, is_out_of_memory=True),
            "the task's process was killed by SIGSEGV",
        ),
        (Death(return_code=-64), "the task's process was killed by SIGRTMAX"),
        (Death(return_code=-63), "the task's process was killed by signal 63"),
        (
            Death(return_code=3),
            "the task's process ended with exit code 3 in the middle of the task",
        ),
        (Death(return_code=75), "the database did not answer when the try was started"),
        (
            Death(return_code=70),
            "the worker itself failed while it had the task; the worker's log says how",
        ),
        (Death(return_code=None), "the task's process ended in the middle of the task"),
    ],
)
def test_reasons(death: Death, reason: str) -> None:
    assert death_reason(death) == reason


class Pool:
    """Celery's pool: it reaps its children when it likes, and knows how they ended."""

    def __init__(self) -> None:
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, code: str) -> int:
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", f"import os, signal, time\n{code}"],
            stdin=subprocess.DEVNULL,
        )
        self.processes[process.pid] = process
        return process.pid

    def return_code_of(self, pid: int) -> ReturnCode:
        return lambda pid: self.processes[pid].returncode


@pytest.fixture
def pool() -> Pool:
    return Pool()


@pytest.mark.parametrize("reaped_first", [False, True], ids=["unreaped", "reaped"])
@pytest.mark.parametrize(
    ("code", "return_code"),
    [("os._exit(5)", 5), ("os.kill(os.getpid(), signal.SIGKILL)", -9), ("pass", 0)],
)
def test_how_it_ended_is_known_whoever_reaps_it(
    pool: Pool, code: str, return_code: int, reaped_first: bool
) -> None:
    poller = select.poll()
    watch = ChildWatch(poller, pool.return_code_of)
    pid = pool.start(f"time.sleep(0.05); {code}")
    watch.add(pid)
    assert pid in watch
    assert poller.poll(10_000)  # it wakes whoever polls
    if reaped_first:
        pool.processes[pid].wait()
    assert watch.dead() == [pid]
    assert watch.remove(pid) == return_code
    assert pid not in watch
    assert poller.poll(0) == []
    # Ours was only a look: the pool reaps it as ever.
    assert pool.processes[pid].wait() == return_code


def test_a_living_child_is_not_dead(pool: Pool) -> None:
    watch = ChildWatch(select.poll(), pool.return_code_of)
    pid = pool.start("time.sleep(600)")
    watch.add(pid)
    assert watch.dead() == []
    os.kill(pid, signal.SIGKILL)
    until(watch.dead)
    assert watch.remove(pid) == -9
    pool.processes[pid].wait()


def test_a_child_that_was_gone_before_it_was_watched_is_dead(pool: Pool) -> None:
    watch = ChildWatch(select.poll(), pool.return_code_of)
    pid = pool.start("os._exit(4)")
    pool.processes[pid].wait()
    watch.add(pid)
    assert watch.dead() == [pid]
    assert watch.remove(pid) == 4


@pytest.mark.parametrize(
    ("files", "counter"),
    [
        (
            {
                "proc/self/cgroup": "0::/system.slice/w.service\n",
                "sys/fs/cgroup/system.slice/w.service/memory.events": "oom 9\noom_kill {}\n",
                "proc/vmstat": "oom_kill 100\n",
            },
            "sys/fs/cgroup/system.slice/w.service/memory.events",
        ),
        (
            {
                "proc/self/cgroup": "0::/../outside\n",
                "sys/fs/cgroup/memory.events": "low 0\noom_kill {}\n",
            },
            "sys/fs/cgroup/memory.events",
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/box\n0::/\n",
                "sys/fs/cgroup/memory/box/memory.oom_control": "under_oom 0\noom_kill {}\n",
            },
            "sys/fs/cgroup/memory/box/memory.oom_control",
        ),
        ({"proc/vmstat": "nr_free_pages 5\noom_kill {}\n"}, "proc/vmstat"),
    ],
    ids=["cgroup-2", "cgroup-2-namespace", "cgroup-1", "machine"],
)
def test_memory_that_ran_out_is_seen_once(
    tmp_path: Path, files: dict[str, str], counter: str
) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(2))
    oom = OomCounter(tmp_path)
    assert not oom.has_risen()
    (tmp_path / counter).write_text(files[counter].format(3))
    assert oom.has_risen()
    assert not oom.has_risen()


def test_a_machine_that_does_not_count_says_no(tmp_path: Path) -> None:
    assert not OomCounter(tmp_path).has_risen()


def test_this_machine_counts() -> None:
    assert not OomCounter().has_risen()
