"""When does the scheduler work, and when does it sleep?

It works when the doorbell rings, when the earliest `wake_at` comes, and at the latest after the
fallback poll. Nothing but a stop signal, or another scheduler on a store that takes only one, ends
it: an outage is named once in the log, waited for, and named again when it is over.
"""

import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from threading import current_thread, main_thread
from types import FrameType
from typing import Protocol

import structlog

from orchestrator.errors import ConflictError, OrchestratorError
from orchestrator.ports import Doorbell, Publisher, SchedulerStore
from orchestrator.scheduler.callbacks import CallbackPost
from orchestrator.scheduler.dispatch import Dispatch
from orchestrator.scheduler.janitor import Janitor
from orchestrator.scheduler.limits import SchedulerLimits
from orchestrator.scheduler.tick import PassResult, Tick

__all__ = ["Companion", "Scheduler", "breather_s", "run_scheduler"]

SETTLE_S = 0.02
"""Nap after a pass that did something: the next news is likely near, and looking up the earliest
`wake_at` after every single completion would cost a statement each."""
BREATHER_S_PER_MESSAGE = 0.001
"""A worker slot needs longer than this for a message. While messages wait for every slot, passes
pause for so long times their number: the news of the meantime are decided in one pass."""
BREATHER_S_MIN = 0.002
BREATHER_S_MAX = 0.02
OVERDUE_S = 0.05
"""Nap when something is due but locked by another scheduler."""
FIRST_OUTAGE_WAIT_S = 0.2

_log = structlog.get_logger(__name__)


class Companion(Protocol):
    """Something that lives as long as the scheduler does (the watch over the DAG folder)."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


class Scheduler:
    """One scheduler process. `turn` is told the time and says how long to rest: it has no clock."""

    def __init__(
        self,
        store: SchedulerStore,
        publisher: Publisher,
        doorbell: Doorbell,
        limits: SchedulerLimits,
        *,
        scheduler_id: str,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._doorbell = doorbell
        self._limits = limits
        self._scheduler_id = scheduler_id
        self._jitter = jitter
        dispatch = Dispatch(publisher)
        self._tick = Tick(store, dispatch, limits=limits)
        self._janitor = Janitor(store, dispatch, limits=limits)
        self._post = CallbackPost(store, dispatch, limits=limits)
        self._beat_due_s = self._sweep_due_s = self._look_due_s = float("-inf")
        self._well_since_s: float | None = None
        self._failures = 0
        self._trouble: str | None = None
        self._breather_s = 0.0
        self._is_stopping = False
        self._is_resting = False
        self._is_deaf = False

    def turn(self, *, now_s: float, rang: bool) -> float:
        """Do one batch of what is due and return how many seconds to rest unless the bell rings.

        Raises only ConflictError: another scheduler has this store to itself.
        """
        try:
            rest_s = self._turn(now_s, rang=rang)
        except ConflictError:
            raise
        except Exception as error:
            return self._suffer(error)
        self._recover(now_s)
        return rest_s

    def run(self, companions: Sequence[Companion] = ()) -> None:
        """Work until `stop` is called or SIGTERM or SIGINT arrives."""
        with ExitStack() as stack:
            stack.enter_context(self._stopped_by_signals())
            self._enrol()
            stack.callback(self._sign_off)
            for companion in companions:
                companion.start()
                stack.callback(companion.stop)
            _log.info("scheduler_started", scheduler=self._scheduler_id)
            rang = True
            with suppress(_StopSignalError):  # it may arrive just as a rest is over
                while not self._is_stopping:
                    rest_s = self.turn(now_s=time.monotonic(), rang=rang)
                    if self._breather_s:
                        self._pause(self._breather_s)
                    rang = self._rest(rest_s)
        _log.info("scheduler_stopped", scheduler=self._scheduler_id)

    def stop(self) -> None:
        """End `run` soon; safe from any thread."""
        self._is_stopping = True
        self._doorbell.ring()

    def failing(self) -> tuple[str, ...]:
        """Return, sorted, the runs and DAGs that cannot be decided at present."""
        return self._tick.failing()

    @property
    def hindrance(self) -> str | None:
        """What keeps it from working at present, if anything does."""
        return self._trouble

    def _turn(self, now_s: float, *, rang: bool) -> float:
        if now_s >= self._beat_due_s:
            self._store.register_scheduler(
                self._scheduler_id, lease_s=self._limits.scheduler_lease_s
            )
            self._beat_due_s = now_s + self._limits.heartbeat_s
        has_swept = now_s >= self._sweep_due_s
        if has_swept:
            self._janitor.sweep(now_s=now_s, may_reap=self._is_calm(now_s))
            self._sweep_due_s = now_s + self._limits.sweep_s
        look = rang or now_s >= self._look_due_s
        result = self._tick.run_pass(hand_out=look)
        if result.owes_callbacks or has_swept or not result.did_work:
            self._post.send()
        for worker_id in sorted(result.cancelled_workers):
            self._doorbell.ring_worker(worker_id)
        self._breather_s = breather_s(result)
        if look:
            self._look_due_s = now_s + self._limits.fallback_poll_s
        if result.free_at is not None:
            free_in_s = max(OVERDUE_S, _seconds(result.now, result.free_at))
            self._look_due_s = min(self._look_due_s, now_s + free_in_s)
        if result.candidates_left:
            self._look_due_s = now_s
        return self._rest_s(result, now_s)

    def _is_calm(self, now_s: float) -> bool:
        """Whether the store has answered for a whole lease, so that a worker that has not renewed
        its own in that time had every chance to."""
        return self._well_since_s is not None and now_s - self._well_since_s >= self._limits.lease_s

    def _rest_s(self, result: PassResult, now_s: float) -> float:
        if result.has_more:
            return 0.0
        if result.did_work:
            return SETTLE_S
        due_in_s = min(self._beat_due_s, self._sweep_due_s, self._look_due_s) - now_s
        wake_at = self._store.next_wake_at()
        if wake_at is not None:
            due_in_s = min(due_in_s, max(OVERDUE_S, _seconds(result.now, wake_at)))
        return max(0.0, due_in_s)

    def _suffer(self, error: Exception) -> float:
        self._well_since_s = None
        self._breather_s = 0.0
        # A server that is away is described in many ways, one for each call; it is one outage.
        # A defect of ours needs its stack.
        is_outage = isinstance(error, OrchestratorError)
        kind = type(error).__name__
        if self._trouble is None or not self._trouble.startswith(kind):
            _log.error("scheduler_hindered", error=str(error), kind=kind, exc_info=not is_outage)
        self._trouble = f"{kind}: {error}"
        wait_s = min(FIRST_OUTAGE_WAIT_S * 2.0**self._failures, self._limits.outage_wait_max_s)
        self._failures = min(self._failures + 1, 16)
        return wait_s * (0.5 + self._jitter() / 2)

    def _recover(self, now_s: float) -> None:
        if self._well_since_s is None:
            self._well_since_s = now_s
        if self._trouble is not None:
            _log.info("scheduler_well_again", was=self._trouble)
        self._failures, self._trouble = 0, None

    def _enrol(self) -> None:
        """Register before anything else starts, so that a refused scheduler touches nothing."""
        while not self._is_stopping:
            try:
                self._store.register_scheduler(
                    self._scheduler_id, lease_s=self._limits.scheduler_lease_s
                )
            except ConflictError:
                raise
            except Exception as error:
                self._pause(self._suffer(error))
            else:
                return

    def _sign_off(self) -> None:
        with suppress(Exception):  # the lease runs out by itself
            self._store.sign_off_scheduler(self._scheduler_id)

    def _rest(self, rest_s: float) -> bool:
        """Sleep until the bell rings (True) or the time is over."""
        if rest_s <= 0.0:
            return False
        try:
            rang = self._interruptibly(lambda: self._doorbell.wait(rest_s))
        except Exception as error:
            if not self._is_deaf:
                _log.error("doorbell_broken", error=str(error), exc_info=error)
            self._is_deaf = True
            self._pause(min(rest_s, 1.0))
            return True
        self._is_deaf = False
        return rang

    def _pause(self, wait_s: float) -> None:
        self._interruptibly(lambda: time.sleep(wait_s))

    def _interruptibly(self, wait: Callable[[], bool | None]) -> bool:
        """A stop signal that arrives in here raises, since Python would else resume the wait."""
        try:
            self._is_resting = True
            return not self._is_stopping and bool(wait())
        except _StopSignalError:
            return False
        finally:
            self._is_resting = False

    @contextmanager
    def _stopped_by_signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT end the loop; elsewhere than in the main thread they are not ours."""
        if current_thread() is not main_thread():
            yield
            return

        def stop(_signal: int, _frame: FrameType | None) -> None:
            self._is_stopping = True
            if self._is_resting:
                raise _StopSignalError

        before = {name: signal.signal(name, stop) for name in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for name, handler in before.items():
                signal.signal(name, handler)


def run_scheduler(
    store: SchedulerStore,
    publisher: Publisher,
    doorbell: Doorbell,
    limits: SchedulerLimits,
    *,
    scheduler_id: str,
    companions: Sequence[Companion] = (),
) -> None:
    """Schedule until told to stop. Raises ConflictError, whose message names the other's host and
    process, when the store takes only one scheduler and has one."""
    Scheduler(store, publisher, doorbell, limits, scheduler_id=scheduler_id).run(companions)


class _StopSignalError(Exception):
    """A stop signal arrived while the scheduler slept."""


def breather_s(result: PassResult) -> float:
    """Return for how long another pass could only cost: the workers have work."""
    wait_s = min(BREATHER_S_MAX, BREATHER_S_PER_MESSAGE * result.messages_per_slot)
    return wait_s if wait_s >= BREATHER_S_MIN and not result.has_more else 0.0


def _seconds(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds()
