"""A bound child gets its signal when its parent is killed, and keeps its own process id."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.lifeline import bound_command

only_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the tie")


@only_linux
@pytest.mark.parametrize("on_death", [signal.SIGTERM, signal.SIGKILL])
def test_a_child_dies_with_its_killed_parent(on_death: signal.Signals) -> None:
    script = (
        "import os, signal, subprocess, time\n"
        "from orchestrator.lifeline import bound_command\n"
        f"command = bound_command(['sleep', '60'], on_death=signal.Signals({int(on_death)}))\n"
        "child = subprocess.Popen(command, stdout=subprocess.DEVNULL)\n"
        "while open(f'/proc/{child.pid}/comm').read() != 'sleep\\n': time.sleep(0.005)\n"
        "print(child.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=False, timeout=30
    )
    assert done.returncode == -signal.SIGKILL
    pid = int(done.stdout)
    while _is_running(pid):
        assert time.monotonic() - started < 20, "the child outlived its parent"
        time.sleep(0.01)


@only_linux
def test_the_command_keeps_its_process_id_and_its_output() -> None:
    command = bound_command(["sh", "-c", "echo $$"])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.communicate()[0].strip() == str(child.pid)


@only_linux
def test_a_program_that_does_not_exist_is_named() -> None:
    done = subprocess.run(
        bound_command(["no-such-program"]), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.strip() == "cannot run no-such-program: No such file or directory"


@only_linux
def test_a_parent_that_is_gone_already_ends_the_child() -> None:
    script = (
        "import signal; from orchestrator.lifeline import bind_to_parent\n"
        "bind_to_parent(1234567, on_death=signal.SIGKILL); print('still here')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip() == "the parent process 1234567 is gone"


def _is_running(pid: int) -> bool:
    """A killed process stays as a zombie where nobody reaps it; that one does not run."""
    assert pid != os.getpid()
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
