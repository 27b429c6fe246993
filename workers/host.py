"""How supervision is built into Celery's worker: what its main process adds, what its children get.

The main process makes the board, the spool and the guardian before it forks its first child, and
runs the supervisor thread. A child leads a session of its own, writes to its log stream, and builds
its own connections.
"""

import os
import secrets
import shutil
import socket
import sys
import threading
from contextlib import ExitStack
from functools import partial
from typing import Any

import structlog
from celery import bootsteps, signals
from celery.apps.worker import Worker as CeleryWorker

from orchestrator import __version__
from orchestrator.bootstrap import secret_chain
from orchestrator.broker.doorbell import RedisDoorbell
from orchestrator.broker.messages import MessageSigner
from orchestrator.ports import WorkerInfo
from orchestrator.sdk.masking import watch_secrets
from orchestrator.settings import Settings, fernet_keys, prepare_home, secret_key
from orchestrator.store.sealing import SecretSealer
from workers.board import Slot
from workers.callbacks import CallbackLimits, CallbackRunner
from workers.deaths import ReturnCode
from workers.execute import TryLimits, TryRunner
from workers.interrupts import InterruptHandler
from workers.isolation import Interpreter
from workers.log_shipping import open_spool
from workers.logs import LogStream, capture
from workers.processes import start_guardian
from workers.services import TryServices, open_own_store, own_dag_cache
from workers.supervisor import Supervisor, SupervisorLimits

__all__ = ["Host", "OrchestratorWorker"]

EXIT_MARGIN_S = 8.0
"""Celery's own shutdown may hang; this long after the grace period the process ends anyway."""
_STOP_TIMEOUT_S = 5.0

_log = structlog.get_logger("orchestrator.worker")


class OrchestratorWorker(CeleryWorker):
    """Celery's worker without the chatter between workers, however it was started."""

    def __init__(self, app: Any = None, hostname: str | None = None, **options: Any) -> None:
        """Refuse what the profile has off: liveness is told in SQL."""
        silent = {"without_gossip": True, "without_mingle": True, "without_heartbeat": True}
        self.app.steps["worker"].add(SupervisorStep)
        super().__init__(app, hostname, **{**options, **silent})


class SupervisorStep(bootsteps.StartStopStep):
    """Starts the supervisor thread once the pool has its first children."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        self._host = worker.app.host
        self._host.prepare(worker)

    def start(self, _worker: Any) -> None:
        """The pool is there."""
        self._host.start()


class Host:
    """One Celery worker on one machine."""

    def __init__(self, settings: Settings, *, redis_url: str) -> None:
        self._settings = settings
        self._redis_url = redis_url
        self._resources = ExitStack()
        self._next_slot: Slot | None = None
        self._runner: TryRunner | None = None
        self._interrupts: InterruptHandler | None = None
        self._bell_stop = threading.Event()
        self._exit_code = 0

    # --- the main process

    def prepare(self, worker: Any) -> None:
        """Make what children inherit. No child and no thread exists yet."""
        self._info = WorkerInfo(
            worker_id=f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}",
            hostname=socket.gethostname(),
            pid=os.getpid(),
            queues=tuple(sorted(worker.app.amqp.queues.consume_from)),
            concurrency=worker.concurrency,
            version=__version__,
        )
        prepare_home(self._settings)
        self._interpreter = Interpreter(
            self._settings,
            redis_url=self._redis_url,
            worker_id=self._info.worker_id,
            environment=os.environ,
            import_path=sys.path,
        )
        self._spool, self._board = self._resources.enter_context(
            open_spool(self._settings.spool_folder, self._info.worker_id)
        )
        self._resources.callback(start_guardian(self._board))
        self._doorbell = RedisDoorbell(self._redis_url)
        store = open_own_store(self._settings, "worker")
        self._sealer = SecretSealer(fernet_keys(self._settings))
        secret_chain(self._settings, store)  # what cannot be built is said at once, not by a child
        self._supervisor = Supervisor(
            info=self._info,
            store=store.worker,
            close_connections=store.close,
            doorbell=self._doorbell,
            board=self._board,
            spool_folder=self._settings.spool_folder,
            spool=self._spool,
            limits=SupervisorLimits(
                heartbeat_s=self._settings.heartbeat_s, lease_s=self._settings.lease_s
            ),
            return_code_of=partial(_return_code_of, worker),
            unseal=partial(self._sealer.open, what="what a log hides"),
            on_handed_back=self._leave,
        )
        signals.worker_before_create_process.connect(self._before_child, weak=False)
        signals.worker_process_init.connect(self._in_child, weak=False)
        signals.worker_process_shutdown.connect(_leave_at_once, weak=False)
        signals.worker_shutting_down.connect(self._shutting_down, weak=False)
        signals.worker_shutdown.connect(self._shut_down, weak=False)

    def start(self) -> None:
        """Begin to supervise."""
        self._supervisor.start()
        bell = threading.Thread(
            target=self._doorbell.listen,
            args=(self._info.worker_id, self._supervisor.look_for_cancellations),
            kwargs={"stop": self._bell_stop},
            name="bell",
            daemon=True,
        )
        bell.start()

    def _before_child(self, **_: Any) -> None:
        self._next_slot = self._board.reserve()

    def _shutting_down(self, how: str = "Warm", exitcode: int = 0, **_: Any) -> None:
        grace_s = self._settings.shutdown_grace_s if how == "Warm" else 0.0
        self._exit_code = exitcode
        self._supervisor.begin_shutdown(grace_s=grace_s)
        watchdog = threading.Timer(grace_s + EXIT_MARGIN_S, os._exit, args=(exitcode,))
        watchdog.daemon = True
        watchdog.start()

    def _shut_down(self, **_: Any) -> None:
        self._bell_stop.set()
        is_settled = self._supervisor.stop(timeout_s=_STOP_TIMEOUT_S)
        self._clean_up(is_settled=is_settled)

    def _clean_up(self, *, is_settled: bool) -> None:
        self._resources.close()
        if is_settled:
            shutil.rmtree(self._spool, ignore_errors=True)

    def _leave(self) -> None:
        """End the process now: Celery would wait ten seconds for the children we have killed."""
        self._clean_up(is_settled=True)
        os._exit(self._exit_code)

    # --- a child

    def _in_child(self, **_: Any) -> None:
        """Become a child that user code can hurt without hurting anyone else."""
        slot = self._next_slot
        assert slot is not None, "a child is forked only after a slot was reserved for it"
        os.setsid()
        slot.claim(os.getpid())
        stream = LogStream(self._spool, on_file=slot.set_stream, seal=self._sealer.seal)
        watch_secrets(stream.hide)
        capture(stream)
        settings = self._settings
        self._interrupts = InterruptHandler(slot)
        store, doorbell = open_own_store(settings, "task"), RedisDoorbell(self._redis_url)
        services = TryServices(settings, store, doorbell)
        dags = own_dag_cache(settings, store)
        callbacks = CallbackRunner(
            worker_id=self._info.worker_id,
            store=store.worker,
            dags=dags,
            slot=slot,
            stream=stream,
            interrupts=self._interrupts,
            services=services.of_a_callback,
            limits=CallbackLimits(
                timeout_s=settings.callback_timeout_s,
                load_timeout_s=settings.parse_timeout_s,
                xcom_bytes_max=settings.xcom_bytes_max,
            ),
        )
        self._runner = TryRunner(
            worker_id=self._info.worker_id,
            store=store.worker,
            services=services,
            interpreter=self._interpreter,
            doorbell=doorbell,
            signer=MessageSigner(secret_key(settings)),
            dags=dags,
            slot=slot,
            stream=stream,
            interrupts=self._interrupts,
            callbacks=callbacks,
            wake_supervisor=self._supervisor.wake,
            limits=TryLimits(
                lease_s=settings.lease_s,
                load_timeout_s=settings.parse_timeout_s,
                xcom_bytes_max=settings.xcom_bytes_max,
            ),
        )
        self._supervisor.wake()

    def run(self, arguments: tuple[object, ...], *, queue: str) -> None:
        """Handle one message, in a child."""
        assert self._runner is not None, "messages are handled in children only"
        if self._interrupts is not None:
            # Only now: the pool sets its own handlers after a child's initialization.
            self._interrupts.install()
            self._interrupts = None
        self._runner.handle(arguments, queue=queue)


def _leave_at_once(exitcode: int = 0, **_: Any) -> None:
    """End a child that has had its tasks. The pool would have it sleep for a second first, to be
    sure that its last message was read, which the pool makes sure of otherwise too."""
    os._exit(exitcode)


def _return_code_of(worker: Any, pid: int) -> ReturnCode:
    """Remember the pool's own record of a child, which outlives its place in the pool."""
    process = next((each for each in tuple(worker.pool._pool._pool) if each.pid == pid), None)

    def ask(_pid: int) -> int | None:
        popen = None if process is None else process._popen
        return None if popen is None else popen.returncode

    return ask
