"""What runs in the interpreter of one try: the order comes in by a pipe, its end goes out by it."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from types import FrameType

from orchestrator.bootstrap import configure_logging
from orchestrator.broker.doorbell import RedisDoorbell
from orchestrator.core.outcomes import Failed, Outcome
from orchestrator.errors import OrchestratorError
from orchestrator.lifeline import bind_to_parent
from orchestrator.sdk.exceptions import TaskTimeoutError
from orchestrator.sdk.execution import execute
from orchestrator.sdk.interruption import interrupt
from orchestrator.sdk.masking import mask, masked_values, secret_scope, watch_secrets
from orchestrator.settings import fernet_keys
from orchestrator.store.sealing import SecretSealer
from workers.interrupts import TaskCancelledError
from workers.isolation import CANCEL_SIGNAL, TIMEOUT_SIGNAL, Ended, Loaded, Order
from workers.logs import JoinedStream, LogStream, capture, flush_lines
from workers.services import TryServices, open_own_store, own_dag_cache

__all__ = ["main"]


def main(pipe_descriptor: int, seen_descriptor: int) -> None:
    """Carry out one order. Exits without Python's own end, which would wait for user's threads."""
    bind_to_parent(os.getppid(), on_death=signal.SIGKILL)
    for descriptor in (pipe_descriptor, seen_descriptor):
        os.set_inheritable(descriptor, False)  # programs that the task starts have no part in it
    interrupts = _Interrupts(seen_descriptor)
    interrupts.install()
    pid = os.getpid()
    with Connection(pipe_descriptor) as pipe:
        order: Order = pipe.recv()
        configure_logging(order.settings)
        sealer = SecretSealer(fernet_keys(order.settings))
        stream = JoinedStream(order.log, end_max=order.log_end_max, seal=sealer.seal)
        watch_secrets(stream.hide)
        capture(stream)
        ended = _carry_out(order, pipe, interrupts, stream)
        if os.getpid() == pid:  # else user code has forked, and this is its child
            flush_lines()
            pipe.send(ended)
    os._exit(0)


def _carry_out(
    order: Order, pipe: Connection, interrupts: "_Interrupts", stream: LogStream
) -> Ended:
    settings, assignment = order.settings, order.assignment
    store = open_own_store(settings, "isolated")
    services = TryServices(settings, store, RedisDoorbell(order.redis_url))
    with secret_scope():
        try:
            with interrupts.arm():
                dag = own_dag_cache(settings, store).load(assignment)
                pipe.send(Loaded())
                outcome: Outcome = execute(
                    dag,
                    assignment,
                    services=services.of_a_try(assignment, worker_id=order.worker_id),
                    xcom_bytes_max=settings.xcom_bytes_max,
                )
        except OrchestratorError as error:
            stream.write(event=str(error), level="error", logger="orchestrator.worker")
            outcome = Failed(reason=mask(str(error)))
        return Ended(outcome=outcome, masked=masked_values(outcome.xcoms))


class _Interrupts:
    """The signals of this process."""

    def __init__(self, seen_descriptor: int) -> None:
        self._seen = seen_descriptor
        self._is_armed = False

    def install(self) -> None:
        """Listen to the worker's child, and to nobody else."""
        signal.signal(TIMEOUT_SIGNAL, self._interrupt)
        signal.signal(CANCEL_SIGNAL, self._interrupt)
        # Handlers, not SIG_IGN: a program that the user starts would inherit that.
        signal.signal(signal.SIGINT, _stay)
        signal.signal(signal.SIGTERM, _stay)

    @contextmanager
    def arm(self) -> Iterator[None]:
        """Let interruptions raise in this block."""
        self._is_armed = True
        try:
            yield
        finally:
            self._is_armed = False

    def _interrupt(self, number: int, _frame: FrameType | None) -> None:
        os.write(self._seen, b"s")
        if self._is_armed:
            interrupt(TaskTimeoutError() if number == TIMEOUT_SIGNAL else TaskCancelledError())


def _stay(_number: int, _frame: FrameType | None) -> None:
    """The worker's child decides when a try has had its time."""
