"""Who keeps a worker's promises while user code may hold the GIL, crash or be killed?

A thread of the worker's main process, which runs no user code: it registers the worker, renews its
leases, enforces timeouts, carries out cancellations, reports children that died, ships logs, and at
the end hands back what could not finish.
"""

import os
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from orchestrator.errors import StoreUnavailableError
from orchestrator.ports import Doorbell, WorkerInfo, WorkerStore
from workers.board import Interruption, Phase, SlotView, TryBoard
from workers.deaths import ChildWatch, Death, OomCounter, ReturnCode, death_reason
from workers.escalation import Escalation
from workers.execute import timeout_reason
from workers.log_shipping import LogShipper, ship_leftovers
from workers.obituaries import Obituaries
from workers.processes import kill_session

__all__ = ["Supervisor", "SupervisorLimits"]

POLL_S = 0.25
"""How late a log line or the end of a time limit may be seen."""
STORE_RETRY_S = 1.0
FORK_WAIT_S = 5.0
"""How long a fork waits for the supervisor to be between two turns; a turn that hangs in the
database for longer must not keep the worker from replacing a dead child."""
HAND_BACK_CLEAN_UP_S = 5.5
"""How long tries have to clean up when their worker stops: BashOperator needs 5 s at most, and
whoever stops the worker will not wait for ever."""
_WAKE_BYTES = 4096

_log = structlog.get_logger("orchestrator.worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorLimits:
    """What the settings say about a worker's promises."""

    heartbeat_s: float
    lease_s: float


class Supervisor:
    """Supervises the children of one worker."""

    def __init__(
        self,
        *,
        info: WorkerInfo,
        store: WorkerStore,
        close_connections: Callable[[], None],
        doorbell: Doorbell,
        board: TryBoard,
        spool_folder: Path,
        spool: Path,
        limits: SupervisorLimits,
        return_code_of: Callable[[int], ReturnCode],
        unseal: Callable[[str], str],
        on_handed_back: Callable[[], None],
    ) -> None:
        """`close_connections` closes those of the store, which opens new ones when it is used.
        `on_handed_back` is called when the grace period was not enough and nothing is owed."""
        self._info = info
        self._store = store
        self._close_connections = close_connections
        self._on_handed_back = on_handed_back
        self._doorbell = doorbell
        self._board = board
        self._spool_folder = spool_folder
        self._limits = limits
        self._wake_read, self._wake_write = os.pipe()
        for descriptor in (self._wake_read, self._wake_write):
            os.set_blocking(descriptor, False)
        self._poller = select.poll()
        self._poller.register(self._wake_read, select.POLLIN)
        self._watch = ChildWatch(self._poller, return_code_of)
        self._oom = OomCounter()
        self._escalation = Escalation(board)
        self._unseal = unseal
        self._shipper = LogShipper(spool, unseal=unseal)
        self._obituaries = Obituaries(
            worker_id=info.worker_id,
            lease_s=limits.lease_s,
            doorbell=doorbell,
            shipper=self._shipper,
            on_done=lambda view: board.slot(view.index).free(),
        )
        self._dead: set[int] = set()
        self._is_registered = False
        self._owes_leftovers = True
        self._beat_at = 0.0
        self._store_at = 0.0
        self._hand_back_at = float("inf")
        self._has_handed_back = False
        self._is_signed_off = False
        self._is_stopping = threading.Event()
        self._between_turns = threading.Lock()
        self._is_fork_between_turns = False
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    # --- called by the main thread

    def start(self) -> None:
        """Begin. The worker's children may exist already."""
        os.register_at_fork(
            before=self._before_fork,
            after_in_parent=self._after_fork,
            after_in_child=self._after_fork,
        )
        self._thread.start()

    def wake(self) -> None:
        """Have a look now. A child may call it too."""
        with suppress(BlockingIOError):
            os.write(self._wake_write, b".")

    def look_for_cancellations(self) -> None:
        """Ask the store now which tries are still ours."""
        self._beat_at = 0.0
        self.wake()

    def begin_shutdown(self, *, grace_s: float) -> None:
        """Hand back what still runs after the grace period. Called in a signal handler."""
        self._hand_back_at = min(self._hand_back_at, time.monotonic() + grace_s)
        self.wake()

    def stop(self, *, timeout_s: float) -> bool:
        """The children are gone: ship what is left, sign off, end. False when the store did not
        take it all: a later worker will see to the spool."""
        self._is_stopping.set()
        self.wake()
        self._thread.join(timeout_s)
        return self._is_signed_off and not self._obituaries

    def _before_fork(self) -> None:
        """Fork only between two turns, and with no connection open: a child inherits locks that
        nobody will release, and SQLite's idea of which file locks its process holds."""
        if os.getpid() != self._info.pid:
            return  # user code forks in a child
        self._is_fork_between_turns = self._between_turns.acquire(timeout=FORK_WAIT_S)
        if self._is_fork_between_turns:
            self._close_connections()

    def _after_fork(self) -> None:
        if self._is_fork_between_turns:
            self._is_fork_between_turns = False
            self._between_turns.release()

    # --- the thread

    def _run(self) -> None:
        while not self._is_stopping.is_set():
            self._sleep()
            with self._between_turns:
                self._guarded(self._turn)
        with self._between_turns:
            self._guarded(self._turn)
            self._guarded(self._sign_off)
            self._close_connections()

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception:
            # Whatever went wrong, the other promises are still to be kept.
            _log.exception("supervisor_failed")
            self._store_at = time.monotonic() + STORE_RETRY_S

    def _sleep(self) -> None:
        now = time.monotonic()
        wake_at = min(now + POLL_S, self._escalation.next_at(self._board.views()))
        self._poller.poll(max(0, (wake_at - now) * 1000))
        with suppress(BlockingIOError):
            os.read(self._wake_read, _WAKE_BYTES)

    def _turn(self) -> None:
        views = list(self._board.views())
        now = time.monotonic()
        self._bury(views)
        living = [view for view in views if view.pid not in self._dead]
        self._escalation.check(living, now)
        if now >= self._hand_back_at:
            self._hand_back(living, now)
        if now < self._store_at:
            return
        try:
            self._keep_promises(living, now)
        except StoreUnavailableError as error:
            _log.warning("store_out_of_reach", reason=str(error))
            self._store_at = time.monotonic() + STORE_RETRY_S

    def _keep_promises(self, views: list[SlotView], now: float) -> None:
        """Do what needs the store, the most urgent first."""
        if self._is_signed_off:
            return
        if not self._is_registered:
            self._store.register_worker(self._info)
            self._is_registered = True
            self._beat_at = now + self._limits.heartbeat_s
        elif now >= self._beat_at:
            self._beat(views)
        self._obituaries.settle(self._store)
        for view in self._shipper.ship(self._store, list(self._board.views())):
            self._board.slot(view.index).note_shipped(view.serial)
        if self._owes_leftovers:
            ship_leftovers(self._spool_folder, self._store, unseal=self._unseal)
            self._owes_leftovers = False
        if self._has_handed_back and not any(view.is_busy for view in self._board.views()):
            self._sign_off()
            self._on_handed_back()

    def _beat(self, views: list[SlotView]) -> None:
        self._beat_at = time.monotonic() + self._limits.heartbeat_s
        try:
            ours = self._store.beat(self._info.worker_id, lease_s=self._limits.lease_s)
        except StoreUnavailableError:
            self._beat_at = 0.0
            raise
        now = time.monotonic()
        for view in views:
            # What was running before we asked, and is no longer ours, was taken away.
            if view.is_trying and (view.ti_id, view.epoch) not in ours:
                self._escalation.cut(view, Interruption.CANCEL, now)

    def _bury(self, views: list[SlotView]) -> None:
        """Find dead children and say what became of their tries."""
        for view in views:
            if view.pid not in self._watch and view.pid not in self._dead:
                self._watch.add(view.pid)
        by_pid = {view.pid: view for view in views}
        for pid in self._watch.dead():
            return_code = self._watch.remove(pid)
            self._dead.add(pid)
            self._write_obituary(self._board.slot(by_pid[pid].index).view(), return_code)
        self._dead &= by_pid.keys()

    def _write_obituary(self, view: SlotView, return_code: int | None) -> None:
        if not view.is_busy:
            self._obituaries.add(view, reason=None)
            return
        kill_session(view.pid)
        why = self._escalation.why_killed(view)
        # A callback that was cut short is handed out again when its lease ends.
        if view.phase is Phase.CALLING or why is Interruption.CANCEL or self._has_handed_back:
            reason = None
        elif why is Interruption.TIMEOUT:
            activity = "importing the DAG file" if view.phase is Phase.LOADING else "the task"
            reason = timeout_reason(view.limit_s, activity=activity)
        else:
            reason = death_reason(
                Death(return_code=return_code, is_out_of_memory=self._oom.has_risen())
            )
        self._obituaries.add(view, reason=reason)

    def _hand_back(self, views: list[SlotView], now: float) -> None:
        """The grace period is over: what still runs may clean up (on_kill), is killed if it does
        not end, and is left to another worker."""
        self._has_handed_back = True
        for view in views:
            if view.is_interruptible and self._escalation.cut(view, Interruption.CANCEL, now):
                _log.warning("task_handed_back", ti_id=str(view.ti_id), epoch=view.epoch)
            if view.is_busy and now >= self._hand_back_at + HAND_BACK_CLEAN_UP_S:
                self._escalation.kill(view, Interruption.CANCEL)

    def _sign_off(self) -> None:
        if self._is_registered and not self._is_signed_off:
            self._store.sign_off_worker(self._info.worker_id)
            self._is_signed_off = True
            self._doorbell.ring()  # what we held can go to another worker now
            counts = self._board.counts()
            _log.info(
                "worker_signed_off",
                worker_id=self._info.worker_id,
                started=counts.started,
                fenced=counts.fenced,
                rejected=counts.rejected,
            )
