"""A worker process as the store sees it: pops, starts, beats, reports, freezes and dies."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from orchestrator.core.assignments import Assignment
from orchestrator.core.callbacks import (
    CallbackId,
    CallbackReport,
    callback_id_of,
    callback_of,
)
from orchestrator.core.ids import Slot, TiId
from orchestrator.core.outcomes import Outcome
from orchestrator.core.retries import Conclusion, conclude, jitter_seed
from orchestrator.errors import StoreUnavailableError
from orchestrator.ports import CallbackMessage, TaskMessage, WorkerInfo
from tests.simulation.broker import Broker
from tests.simulation.faults import Faults

HEARTBEAT_S = 10.0
LEASE_S = 60.0
POP_LATENCY_S = 0.002
START_RETRY_S = 2.0
FINISH_RETRY_S = 2.0
CALLBACK_S = 0.5
CALLBACK_LEASE_S = 40.0
RESTART_S = 20.0
FREEZES_S = (5.0, 40.0, 90.0, 400.0)


class Surroundings(Protocol):
    """What a simulated worker needs of its world."""

    faults: Faults
    broker: Broker

    def monotonic(self) -> float: ...

    def after(self, delay_s: float, action: Callable[[], None]) -> None: ...

    def ring(self) -> None: ...

    def script(self, assignment: Assignment) -> tuple[float, Outcome]: ...

    def user_code_began(self, assignment: Assignment, worker_id: str) -> None: ...

    def user_code_ended(self, assignment: Assignment, worker_id: str) -> None: ...

    def called_back(self, callback_id: CallbackId) -> None: ...


@dataclass(slots=True)
class _Execution:
    """One try in a child process."""

    pid: int
    assignment: Assignment
    conclusion: Conclusion
    xcoms: dict[str, Any]


class SimulatedWorker:
    """One host with so many child processes; comes back under a new name after it died."""

    def __init__(
        self,
        world: Surroundings,
        store: Any,
        name: str,
        *,
        queues: tuple[str, ...],
        concurrency: int,
    ) -> None:
        self._world = world
        self._store = store
        self._queues = queues
        self._concurrency = concurrency
        self._name = name
        self._lives = 0
        self._frozen_until_s = 0.0
        self._executions: dict[tuple[TiId, int], _Execution] = {}
        self._free_pids: list[int] = []
        self.worker_id = ""
        self.is_alive = False

    @property
    def is_busy(self) -> bool:
        """Whether user code runs here."""
        return bool(self._executions)

    def boot(self) -> None:
        """Start a process with a new identity; try again later if the store is away."""
        self._lives += 1
        self.worker_id = f"{self._name}#{self._lives}"
        self._free_pids = [self._lives * 100 + child for child in range(self._concurrency)]
        self._executions.clear()
        info = WorkerInfo(
            worker_id=self.worker_id,
            hostname=self._name,
            pid=self._lives,
            queues=self._queues,
            concurrency=self._concurrency,
            version="sim",
        )
        try:
            self._store.register_worker(info)
        except StoreUnavailableError:
            self._world.after(START_RETRY_S, self.boot)
            return
        self.is_alive = True
        self._later(HEARTBEAT_S, self._beat)
        self.poll()

    def dies(self, *, restarts_in_s: float | None = RESTART_S) -> None:
        """kill -9 of the whole host: children die with it, nothing is reported."""
        assert self.is_alive
        for execution in self._executions.values():
            self._world.user_code_ended(execution.assignment, self.worker_id)
        self._executions.clear()
        self.is_alive = False
        self._frozen_until_s = 0.0
        if restarts_in_s is not None:
            self._world.after(restarts_in_s, self.boot)

    def freezes(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after so long: everything it would have done happens then."""
        self._frozen_until_s = self._world.monotonic() + seconds
        self._later(seconds, self.poll)

    def poll(self) -> None:
        """Pop a message for each free child. Popping and starting are two moments: a worker that
        dies in between has lost the message."""
        while self._is_awake() and self._free_pids:
            message = self._world.broker.pop(self._queues)
            if message is None:
                return
            if self._world.faults.happens("worker_crash"):
                self.dies()
                return
            pid = self._free_pids.pop()
            if isinstance(message, TaskMessage):
                self._later(POP_LATENCY_S, partial(self._start, message, pid))
            else:
                self._later(POP_LATENCY_S, partial(self._claim, message, pid))

    def looks_now(self) -> None:
        """The worker's bell rang: one of its tasks may have been cancelled."""
        if self._is_awake():
            self._renew()

    def _is_awake(self) -> bool:
        return self.is_alive and self._world.monotonic() >= self._frozen_until_s

    def _later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do something later, if this process still lives, and after the thaw if it is frozen."""
        life = self._lives

        def act() -> None:
            if life != self._lives or not self.is_alive:
                return
            if self._is_awake():
                action()
            else:
                # Whatever it was about to do when it froze, it does in any order.
                wait_s = self._frozen_until_s - self._world.monotonic()
                self._world.after(wait_s + self._world.faults.rng.random(), act)

        self._world.after(delay_s, act)

    def _start(self, message: TaskMessage, pid: int) -> None:
        try:
            assignment = self._store.start(
                message.ti_id,
                message.epoch,
                worker_id=self.worker_id,
                pid=pid,
                lease_s=LEASE_S,
            )
        except StoreUnavailableError:
            # Never dropped: if the answer was lost after the start, only this child can go on.
            self._later(START_RETRY_S, lambda: self._start(message, pid))
            return
        if assignment is None:
            self._free(pid)
            return
        if self._world.faults.happens("worker_crash"):
            self.dies()
            return
        self._execute(assignment, pid)

    def _execute(self, assignment: Assignment, pid: int) -> None:
        duration_s, outcome = self._world.script(assignment)
        conclusion = conclude(
            outcome,
            policy=assignment.task.retry,
            try_number=assignment.try_number,
            max_tries=assignment.max_tries,
            seed=jitter_seed(
                dag_id=assignment.key.dag_id,
                task_id=assignment.key.task_id,
                logical_date=str(assignment.run.logical_date),
                try_number=assignment.try_number,
            ),
        )
        execution = _Execution(pid, assignment, conclusion, dict(outcome.xcoms))
        self._executions[assignment.ti_id, assignment.epoch] = execution
        self._world.user_code_began(assignment, self.worker_id)
        if self._world.faults.happens("worker_freeze"):
            self.freezes(self._world.faults.rng.choice(FREEZES_S))
        self._later(duration_s, lambda: self._user_code_ends(execution))

    def _user_code_ends(self, execution: _Execution) -> None:
        if self._is_mine(execution):
            self._world.user_code_ended(execution.assignment, self.worker_id)
            if self._world.faults.happens("worker_crash"):
                self.dies()
                return
            self._report(execution)

    def _report(self, execution: _Execution) -> None:
        if not self._is_mine(execution):
            return
        try:
            is_recorded = self._store.finish(
                execution.assignment,
                execution.conclusion,
                worker_id=self.worker_id,
                xcoms=execution.xcoms,
                callback_lease_s=CALLBACK_LEASE_S,
            )
        except StoreUnavailableError:
            self._later(FINISH_RETRY_S, lambda: self._report(execution))
            return
        self._world.ring()
        assignment = execution.assignment
        kind = callback_of(assignment.task, execution.conclusion.event)
        if is_recorded and kind is not None:
            del self._executions[assignment.ti_id, assignment.epoch]
            callback_id = callback_id_of(assignment.ti_id, assignment.epoch, kind)
            self._call(callback_id, 1, execution.pid)
        else:
            self._drop(execution)

    def _claim(self, message: CallbackMessage, pid: int) -> None:
        try:
            given = self._store.claim_callback(
                message.callback_id, worker_id=self.worker_id, lease_s=CALLBACK_LEASE_S
            )
        except StoreUnavailableError:
            self._free(pid)  # another message will come
            return
        if given is None:
            self._free(pid)
            return
        self._call(given.callback_id, given.attempt, pid)

    def _call(self, callback_id: CallbackId, attempt: int, pid: int) -> None:
        """Run a callback in a child; a host that dies on the way tells nobody."""
        if self._world.faults.happens("worker_crash"):
            self.dies()
            return
        self._later(CALLBACK_S, lambda: self._callback_ends(callback_id, attempt, pid))

    def _callback_ends(self, callback_id: CallbackId, attempt: int, pid: int) -> None:
        has_failed = self._world.faults.happens("callback_error")
        if not has_failed:
            self._world.called_back(callback_id)
        if self._world.faults.happens("worker_crash"):
            self.dies()
            return
        report = CallbackReport(delivered=(), error="as drawn" if has_failed else None)
        self._report_callback(callback_id, report, attempt, pid)

    def _report_callback(
        self, callback_id: CallbackId, report: CallbackReport, attempt: int, pid: int
    ) -> None:
        try:
            self._store.finish_callback(callback_id, report, attempt=attempt)
        except StoreUnavailableError:
            again = partial(self._report_callback, callback_id, report, attempt, pid)
            self._later(FINISH_RETRY_S, again)
            return
        self._free(pid)

    def _beat(self) -> None:
        self._renew()
        self.poll()  # the broker may be back
        self._later(HEARTBEAT_S, self._beat)

    def _renew(self) -> None:
        try:
            mine = self._store.beat(self.worker_id, lease_s=LEASE_S)
        except StoreUnavailableError:
            return  # patient: the tasks go on, the next beat may revive the lease
        for execution in list(self._executions.values()):
            if (execution.assignment.ti_id, execution.assignment.epoch) not in mine:
                self._world.user_code_ended(execution.assignment, self.worker_id)
                self._drop(execution)

    def _is_mine(self, execution: _Execution) -> bool:
        key = (execution.assignment.ti_id, execution.assignment.epoch)
        return self._executions.get(key) is execution

    def _drop(self, execution: _Execution) -> None:
        del self._executions[execution.assignment.ti_id, execution.assignment.epoch]
        self._free(execution.pid)

    def _free(self, pid: int) -> None:
        self._free_pids.append(pid)
        self.poll()


def slot_of(assignment: Assignment) -> Slot:
    """Return which task instance of its run an assignment is."""
    return Slot(assignment.key.task_id, assignment.key.map_index)
