"""The one place where settings become running parts: store, broker, control, scheduler, logging.

Every process (CLI command, scheduler, worker, API) starts here, so that all agree on what a setting
means. Parts that not every process needs are imported by those that do.
"""

import logging
import os
import secrets
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import structlog

from orchestrator.broker import embedded
from orchestrator.broker.doorbell import RedisDoorbell
from orchestrator.broker.publisher import CeleryPublisher
from orchestrator.control import (
    Clearing,
    Control,
    SecretControl,
    XComControl,
    explain_task_instance,
)
from orchestrator.core.explain_callbacks import explain_callback
from orchestrator.core.ids import UNMAPPED, TaskKey
from orchestrator.errors import SettingsError
from orchestrator.sdk.secrets import EnvironmentVariablesBackend, SecretChain, load_backends
from orchestrator.settings import (
    Settings,
    fernet_keys,
    prepare_home,
    secret_key,
    split_backends,
)
from orchestrator.store import (
    SpillRules,
    Store,
    check,
    downgrade,
    migrate,
    open_store,
    open_value_files,
)
from orchestrator.store.clearing import SqlClearing
from orchestrator.store.commands import Commands
from orchestrator.store.reads import Reads
from orchestrator.store.secret_backend import StoreSecretsBackend, VariableSnapshot
from orchestrator.store.secrets import SqlSecrets
from orchestrator.store.versions import Versions

if TYPE_CHECKING:
    from orchestrator.parsing.folder import DagFolderService

__all__ = [
    "Services",
    "check_database",
    "configure_logging",
    "downgrade_database",
    "migrate_database",
    "new_service_id",
    "open_services",
    "open_stored_secrets",
    "redis_url_of",
    "run_scheduler_service",
    "secret_chain",
    "spill_rules",
]

_FIRST_SCAN_TIMEOUT_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What a process that looks after runs works with."""

    settings: Settings
    store: Store
    reads: Reads
    publisher: CeleryPublisher
    doorbell: RedisDoorbell
    control: Control
    clearing: Clearing
    secrets: SecretControl
    stored_secrets: SqlSecrets
    xcoms: XComControl

    def explain(
        self, dag_id: str, run_id: str, task_id: str, *, map_index: int = UNMAPPED
    ) -> tuple[str, ...]:
        """Say in sentences what a task instance waits for, or how it ended."""
        said = explain_task_instance(self.reads, dag_id, run_id, task_id, map_index=map_index)
        owed = self.reads.undelivered_of(TaskKey(dag_id, run_id, task_id, map_index))
        return (*said, *(explain_callback(each) for each in owed))

    def let_go(self) -> None:
        """Close every connection until one is needed again. A fork must not have any: SQLite would
        believe in the child that it holds the parent's locks."""
        self.store.database.close()

    def close(self) -> None:
        """Give every connection back."""
        self.doorbell.close()
        self.publisher.close()
        self.store.close()


def open_services(settings: Settings) -> Services:
    """Open the store and the broker. The data folder and its secret key are made if there are none;
    so is the embedded database. Raise an OperatorError that names what must change."""
    key = secret_key(settings)
    check_database(settings)
    redis_url = redis_url_of(settings)
    store = open_store(settings.database_url, spill=spill_rules(settings))
    versions = Versions(store.database)
    doorbell = RedisDoorbell(redis_url)
    stored_secrets = store.secrets(fernet_keys(settings))
    return Services(
        settings=settings,
        store=store,
        reads=Reads(store.database, versions),
        publisher=CeleryPublisher(redis_url, secret_key=key),
        doorbell=doorbell,
        control=Control(Commands(store.database, versions), doorbell),
        clearing=Clearing(SqlClearing(store.database, versions), doorbell),
        secrets=SecretControl(stored_secrets),
        stored_secrets=stored_secrets,
        xcoms=XComControl(store.xcom_changes),
    )


def secret_chain(settings: Settings, store: Store) -> SecretChain:
    """Return where tasks find Connections and Variables: installed backends, the environment, the
    store. SettingsError if a backend of the settings is not there or cannot be built."""
    configured = settings.secrets_backends
    wanted = () if configured is None else split_backends(configured.get_secret_value())
    kept = StoreSecretsBackend(store.secrets(fernet_keys(settings)))
    return SecretChain([*load_backends(wanted), EnvironmentVariablesBackend(), kept], keeper=kept)


def open_stored_secrets(settings: Settings) -> StoreSecretsBackend:
    """Return the store's Connections and Variables, for a process that needs nothing else of it
    and must not make it. Raise an OperatorError if there is no store."""
    path = settings.database_url.removeprefix("sqlite:///")
    if settings.database_url.startswith("sqlite:") and not Path(path).is_file():
        raise SettingsError(f"there is no database {path}")
    check(settings.database_url)
    store = open_store(settings.database_url, pool_size=1, tries=1)
    return StoreSecretsBackend(store.secrets(fernet_keys(settings)))


def spill_rules(settings: Settings) -> SpillRules:
    """Return which XComs are stored beside their rows, and where."""
    return SpillRules(
        inline_bytes=settings.xcom_inline_bytes, files=open_value_files(settings.xcom_storage_url)
    )


def redis_url_of(settings: Settings) -> str:
    """Return the Redis server of the settings, else where the data folder's own one listens."""
    return settings.redis_url or embedded.url(settings.home)


def check_database(settings: Settings) -> None:
    """Raise StoreUnavailableError unless the database can be used. The embedded one is migrated
    when that is due; another one only when asked, since other services may be using it."""
    prepare_home(settings)
    if settings.database_url.startswith("sqlite:"):
        migrate(settings.database_url)
    else:
        check(settings.database_url)


def migrate_database(settings: Settings) -> bool:
    """Bring the database to the schema this version needs; False when it has it already."""
    prepare_home(settings)
    return migrate(settings.database_url)


def downgrade_database(settings: Settings, revision: str) -> None:
    """Take the database back to an older schema; what newer ones added is lost."""
    downgrade(settings.database_url, revision)


def new_service_id() -> str:
    """Return a name for a process that no other one ever had: where it runs, for people, and a
    random end."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


def run_scheduler_service(
    settings: Settings,
    *,
    scheduler_id: str | None = None,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Run a scheduler and the watch over the DAG folder until SIGTERM or SIGINT. `on_ready` is
    called, from another thread, once every DAG file was looked at. Whoever gives the id answers
    for it: of two schedulers with one id, one must be dead."""
    from orchestrator.parsing import ParseLimits  # noqa: PLC0415 - only here
    from orchestrator.parsing.folder import DagFolderService  # noqa: PLC0415 - only here
    from orchestrator.scheduler.limits import SchedulerLimits  # noqa: PLC0415 - only here
    from orchestrator.scheduler.loop import run_scheduler  # noqa: PLC0415 - only here

    configure_logging(settings)
    services = open_services(settings)
    folder = DagFolderService(
        services.store.catalog,
        settings.dags_folder,
        limits=ParseLimits(timeout_s=settings.parse_timeout_s, memory_mb=settings.parse_memory_mb),
        on_change=services.doorbell.ring,
        variables=VariableSnapshot(services.stored_secrets),
    )
    threading.Thread(target=_await_scan, args=(folder, on_ready), daemon=True).start()
    try:
        run_scheduler(
            services.store.scheduler,
            services.publisher,
            services.doorbell,
            SchedulerLimits(
                runs_per_tick=settings.runs_per_tick,
                claims_per_tick=settings.claims_per_tick,
                infra_tries_max=settings.infra_tries_max,
                republish_s=settings.republish_s,
                lease_s=settings.lease_s,
                fallback_poll_s=settings.fallback_poll_s,
                heartbeat_s=settings.heartbeat_s,
            ),
            scheduler_id=scheduler_id or new_service_id(),
            companions=[folder],
        )
    finally:
        services.close()


def _await_scan(folder: "DagFolderService", on_ready: Callable[[], None]) -> None:
    if folder.wait_for_first_scan(_FIRST_SCAN_TIMEOUT_S):
        on_ready()


def configure_logging(settings: Settings, stream: TextIO | None = None) -> None:
    """Have everything a process logs, ours and the libraries', written to one stream in one form:
    JSON lines for machines, or coloured lines for a person at a terminal."""
    stream = sys.stderr if stream is None else stream
    is_console = settings.log_format == "console" or (
        settings.log_format == "auto" and stream.isatty()
    )
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
    ]
    last: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(colors=stream.isatty())]
        if is_console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
