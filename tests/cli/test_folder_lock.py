"""A data folder has one holder, and whoever is refused reads which."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from orchestrator.cli.standalone.folder_lock import lock_folder, read_word
from orchestrator.errors import ConflictError

HOLDER = """
import os, sys
from pathlib import Path
from orchestrator.cli.standalone.folder_lock import lock_folder
lock = lock_folder(Path(sys.argv[1]))
lock.leave_word(pid=int(sys.argv[2]) or os.getpid(), url="http://127.0.0.1:1")
print("held", flush=True)
sys.stdin.read()
"""


def hold(folder: Path, *, said_pid: int = 0) -> "subprocess.Popen[str]":
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), str(said_pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_the_second_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    with hold(tmp_path) as holder:
        with pytest.raises(ConflictError) as refused:
            lock_folder(tmp_path)
        assert str(refused.value) == (
            f"an orchestrator (process {holder.pid}, http://127.0.0.1:1) already serves {tmp_path};"
            f" stop it with Ctrl-C or `kill {holder.pid}`, or set ORCHESTRATOR_HOME to another"
            " folder"
        )
        assert read_word(tmp_path)["url"] == "http://127.0.0.1:1"
        holder.kill()
    lock_folder(tmp_path).release()


def test_what_a_killed_holder_said_is_there_for_the_next(tmp_path: Path) -> None:
    with hold(tmp_path) as holder:
        holder.kill()
    lock = lock_folder(tmp_path)
    assert lock.word["pid"] == holder.pid
    lock.leave_word(worker_pid=7)
    assert read_word(tmp_path) == {
        "pid": holder.pid,
        "url": "http://127.0.0.1:1",
        "worker_pid": 7,
    }
    lock.forget()
    lock.release()
    assert read_word(tmp_path) == {}


def test_a_lock_whose_holder_says_a_dead_process_is_waited_for(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with hold(tmp_path, said_pid=gone.pid) as holder:
        killer = threading.Thread(target=_kill_once_waited_for, args=(tmp_path, holder))
        killer.start()
        lock_folder(tmp_path).release()
        killer.join()


def _kill_once_waited_for(folder: Path, holder: "subprocess.Popen[str]") -> None:
    path = folder / "standalone.lock"
    while not any(fd.resolve() == path for fd in Path("/proc/self/fd").iterdir() if fd.exists()):
        pass
    holder.kill()


def test_nobody_has_a_folder_that_was_never_locked(tmp_path: Path) -> None:
    assert read_word(tmp_path) == {}
