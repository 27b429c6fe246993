"""Whatever process of a standalone orchestrator is killed during a run, the run ends right."""

import os
import signal
from collections.abc import Callable

from orchestrator.bootstrap import Services
from orchestrator.core.states import RunState, TaskState
from tests.e2e.processes import (
    Folder,
    Standalone,
    parent_of,
    tries,
    trigger,
    wait_for_end,
    wait_until,
)

UNDISTURBED = [(TaskState.SUCCESS, None)]


def test_any_service_may_be_killed_during_a_run(
    folder: Folder, start: Callable[..., Standalone]
) -> None:
    # One start serves all victims: each costs seconds.
    standalone = start()
    standalone.wait_until_serving()
    with folder.services() as services:
        for victim in ("Redis server", "scheduler", "API"):
            check_run_survives_service(victim, standalone, services)
        check_run_survives_worker_child(folder, services)
        check_run_survives_worker(standalone, services)


def check_run_survives_service(victim: str, standalone: Standalone, services: Services) -> None:
    """A service that executes nothing: the task is not disturbed."""
    folder, run_id = standalone.folder, f"without_{victim.split(maxsplit=1)[0]}"
    trigger(services, "holding", run_id)
    folder.holder(run_id)
    os.kill(standalone.pid_of(victim), signal.SIGKILL)
    standalone.wait_for(f"the {victim} was killed by SIGKILL; starting it again")
    folder.go(run_id)
    assert wait_for_end(services, "holding", run_id).state is RunState.SUCCESS
    assert tries(services, run_id, "hold") == UNDISTURBED


def check_run_survives_worker_child(folder: Folder, services: Services) -> None:
    """The process a task runs in: that try has failed, and says why; the next one succeeds."""
    trigger(services, "holding", "without_child")
    os.kill(folder.holder("without_child"), signal.SIGKILL)
    folder.go("without_child")
    assert wait_for_end(services, "holding", "without_child").state is RunState.SUCCESS
    (first, second) = tries(services, "without_child", "hold")
    assert (first[0], second[0]) == (TaskState.UP_FOR_RETRY, TaskState.SUCCESS)
    assert "SIGKILL" in str(first[1])


def check_run_survives_worker(standalone: Standalone, services: Services) -> None:
    """The worker itself: its tasks are tried again at once, not when their lease ends."""
    folder = standalone.folder
    trigger(services, "holding", "without_worker")
    holder = folder.holder("without_worker")
    worker = standalone.pid_of("worker")
    assert parent_of(holder) == worker
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: holder not in folder.pids(), "the worker's child is gone")
    folder.go("without_worker")
    assert wait_for_end(services, "holding", "without_worker").state is RunState.SUCCESS
    (first, second) = tries(services, "without_worker", "hold")
    assert (first[0], second[0]) == (TaskState.UP_FOR_RETRY, TaskState.SUCCESS)
    assert "heartbeat lost" in str(first[1])
