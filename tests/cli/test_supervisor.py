"""Services are kept alive, end in order, and one that cannot start ends the attempt."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Run = Callable[[str], "Program"]

PROGRAM = """
import os, signal, subprocess, sys, time
from pathlib import Path
from orchestrator.cli.standalone.supervisor import *

folder = Path(sys.argv[1])

def say(*words):
    print(*words, flush=True)

def service(name, script, stop_timeout_s=10.0):
    log = folder / f"{name}.log"
    def start():
        with log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-c", script], stdout=output, stderr=output,
                start_new_session=True,
            )
    return Service(name=name, start=start, log=log, stop_timeout_s=stop_timeout_s)

supervisor = Supervisor(
    announce=lambda words: say("announced", words),
    on_start=lambda name, pid: say("started", name, pid),
    on_crash=lambda name, pid: say("crashed", name, pid),
)
GOOD = '''
import signal, sys, time
def stop(*_):
    print(time.monotonic_ns(), flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
print("ready", flush=True)
while True:
    signal.pause()
'''
STUBBORN = "import signal\\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\\n" + (
    "print('ready', flush=True)\\nwhile True: signal.pause()"
)
try:
    exec(sys.argv[2])
    while True:
        supervisor.wait(60)
except StopRequested as stop:
    say("asked", stop)
except ServiceFailedError as error:
    say("failed", error)
supervisor.stop()
say("stopped")
"""


class Program:
    """A supervisor in a process of its own, which its test can signal and read."""

    def __init__(self, folder: Path, script: str) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder), script],
            stdout=subprocess.PIPE,
            text=True,
        )

    def read(self) -> list[str]:
        assert self.process.stdout is not None
        return self.process.stdout.readline().split(maxsplit=2)

    def wait_until_ready(self, *names: str) -> None:
        deadline = time.monotonic() + 20
        for name in names:
            log = self.folder / f"{name}.log"
            while not (log.exists() and "ready" in log.read_text()):
                assert time.monotonic() < deadline, f"{name} does not start"
                time.sleep(0.01)

    def end(self) -> list[str]:
        output, _ = self.process.communicate(timeout=20)
        return output.splitlines()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[[str], Program]]:
    programs: list[Program] = []

    def run_one(script: str) -> Program:
        programs.append(Program(tmp_path, script))
        return programs[-1]

    yield run_one
    for program in programs:
        with program.process:
            program.process.kill()


def test_services_stop_in_the_opposite_order(tmp_path: Path, run: Run) -> None:
    program = run(
        "for name in ('first', 'second', 'third'): supervisor.start(service(name, GOOD))",
    )
    program.wait_until_ready("first", "second", "third")
    program.process.terminate()
    assert program.end()[-2:] == ["asked SIGTERM", "stopped"]
    ends = {
        name: int((tmp_path / f"{name}.log").read_text().split()[-1])
        for name in ("first", "second", "third")
    }
    assert ends["third"] < ends["second"] < ends["first"]


def test_a_killed_service_starts_again_and_says_so(tmp_path: Path, run: Run) -> None:
    program = run("supervisor.start(service('worker', GOOD))")
    _, _, pid = program.read()
    program.wait_until_ready("worker")
    subprocess.run(["kill", "-9", pid.strip()], check=True)
    assert program.read() == ["crashed", "worker", pid]
    log = tmp_path / "worker.log"
    assert program.read()[1:] == [
        "the",
        f"worker was killed by SIGKILL; starting it again in 0.5 s (see {log})\n",
    ]
    again = program.read()
    assert again[:2] == ["started", "worker"]
    assert again[2] != pid
    assert program.read() == ["announced", "the", "worker runs again\n"]
    program.process.send_signal(signal.SIGINT)
    assert program.end() == ["asked SIGINT", "stopped"]


def test_the_wait_grows_while_it_crashes(tmp_path: Path, run: Run) -> None:
    program = run(
        "supervisor.start(service('worker', 'import os; os.kill(os.getpid(), 9)'))",
    )
    waits: list[str] = []
    while len(waits) < 3:
        words = " ".join(program.read())
        if "starting it again in" in words:
            waits.append(words.partition("again in ")[2].split()[0])
    assert waits == ["0.5", "1", "2"]
    program.process.terminate()
    assert program.end()[-2:] == ["asked SIGTERM", "stopped"]


def test_a_service_that_gives_up_at_once_cannot_start(tmp_path: Path, run: Run) -> None:
    program = run(
        "supervisor.start(service('first', GOOD));"
        "supervisor.start(service('worker', 'raise SystemExit(\"no such library\")'))",
    )
    log = tmp_path / "worker.log"
    assert program.end()[-2:] == [
        f"failed the worker cannot start: no such library (see {log})",
        "stopped",
    ]


@pytest.mark.parametrize("again", [True, False])
def test_a_service_that_does_not_stop_is_killed(run: Run, again: bool) -> None:
    """After its time, or when the person asks once more."""
    timeout_s = 600.0 if again else 0.1
    program = run(f"supervisor.start(service('worker', STUBBORN, stop_timeout_s={timeout_s}))")
    program.read()
    program.wait_until_ready("worker")
    program.process.terminate()
    assert program.read() == ["asked", "SIGTERM"]
    if again:
        program.process.terminate()
    assert program.end() == ["stopped"]
