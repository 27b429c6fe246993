"""What an operator can set: every setting's meaning, unit, default, and why that default.

Plain pydantic rather than pydantic-settings: each value's origin and errors as sentences are ours
to make anyway, and that library triples the import time of every command.
"""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    field_validator,
    model_validator,
)

from orchestrator.core.outcomes import XCOM_BYTES_MAX, XCOM_INLINE_BYTES
from orchestrator.core.specs import DEFAULT_QUEUE
from orchestrator.errors import SettingsError
from orchestrator.settings.sealed import split_backends, split_keys

__all__ = ["PREFIX", "SECRET_KEY_LENGTH_MIN", "Origin", "Settings", "absolute_sqlite_url"]

PREFIX = "ORCHESTRATOR_"
SECRET_KEY_LENGTH_MIN = 32

_DATABASE_SCHEMES = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
    "sqlite": "sqlite",
}
_REDIS_SCHEMES = ("redis", "rediss", "redis+socket", "unix")


def _split_list(value: object) -> object:
    """An environment variable has no lists: `default,gpu` is how one is written."""
    if isinstance(value, str):
        return tuple(part for part in (piece.strip() for piece in value.split(",")) if part)
    return value


Seconds = Annotated[float, Field(ge=0.05, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Names = Annotated[tuple[str, ...], Field(min_length=1), BeforeValidator(_split_list)]
NamesOrNone = Annotated[tuple[str, ...], BeforeValidator(_split_list)]


class Origin(StrEnum):
    """Which layer a value came from."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"


class Settings(BaseModel):
    """Every setting: its meaning, unit, default, and why that default."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    home: Path = Field(
        default_factory=lambda: Path.cwd() / ".orchestrator",
        description="Data folder: the SQLite database, the services' logs, the embedded Redis "
        "server's files and the secret key. In the current folder, so that each project has its "
        "own.",
        json_schema_extra={"shown": "./.orchestrator"},
    )
    dags_folder: Path = Field(
        default_factory=lambda: Path.cwd() / "dags",
        description="Folder whose Python files define DAGs; the same files on every machine.",
        json_schema_extra={"shown": "./dags"},
    )
    database_url: str = Field(
        default_factory=lambda data: f"sqlite:///{data['home'] / 'orchestrator.db'}",
        description="The SQL store: `postgresql://user:password@host/database` in production, "
        "SQLite (one scheduler, one machine) to start with.",
        repr=False,
        json_schema_extra={"shown": "sqlite:///HOME/orchestrator.db"},
    )
    redis_url: str | None = Field(
        default=None,
        description="The Redis or Valkey server that carries messages: `redis://host:6379/0`, "
        "`rediss://` for TLS, `unix:///path/to/socket`. Without it `orchestrator standalone` "
        "starts an embedded server in the data folder.",
        repr=False,
        json_schema_extra={"shown": "an embedded server"},
    )
    api_host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address the API and web page listen on; this machine only, until you decide "
        "who may reach it.",
    )
    api_port: int = Field(
        default=8080,
        ge=0,
        le=65535,
        description="Port of the API and web page; 0 picks a free one.",
    )
    api_allow_anonymous: bool = Field(
        default=False,
        description="Serve the API to other machines although there is no login: whoever reaches "
        "it may trigger and read everything. Off, so that nobody opens that door by accident.",
        json_schema_extra={"shown": "false"},
    )
    api_host_names: NamesOrNone = Field(
        default=(),
        description="Further names under which browsers and clients call the API, separated by "
        "commas (a proxy's, a container's); requests under other names are refused, which keeps "
        "rebound names of foreign web pages out.",
        json_schema_extra={"shown": "none"},
    )
    secret_key: SecretStr | None = Field(
        default=None,
        min_length=SECRET_KEY_LENGTH_MIN,
        description="Signs task messages; at least 32 characters, the same on every machine. "
        "Without it one is made from the password in DATABASE_URL, or, if that has none, made once "
        "and kept in HOME/secret_key.",
        json_schema_extra={"shown": "from the database's password, else HOME/secret_key"},
    )
    fernet_keys: SecretStr | None = Field(
        default=None,
        description="Keys that encrypt stored Connections and Variables, separated by commas: the "
        "first encrypts, all decrypt; `orchestrator secrets key` makes one, `orchestrator secrets "
        "rotate` encrypts everything with the first. The same on every machine. Without it one is "
        "made from the secret key, which always decrypts too.",
        json_schema_extra={"shown": "from the secret key"},
    )
    secrets_backends: SecretStr | None = Field(
        default=None,
        description="Installed secrets backends to ask for Connections and Variables before the "
        "environment and the store, in this order, as JSON: "
        '`[{"name": "vault", "kwargs": {"url": "https://vault"}}]`. Masked whenever it is shown: '
        "kwargs may hold tokens.",
        json_schema_extra={"shown": "none"},
    )

    worker_concurrency: Count = Field(
        default=2,
        description="Task instances one worker runs at a time; two, since a laptop has two cores "
        "to spare.",
    )
    worker_queues: Names = Field(
        default=(DEFAULT_QUEUE,),
        description="Celery queues a worker serves, separated by commas.",
    )
    heartbeat_s: Seconds = Field(
        default=10.0,
        description="Seconds between two signs of life a worker writes for its running tasks; "
        "one statement per worker, so cheap.",
    )
    lease_s: Seconds = Field(
        default=60.0,
        description="Seconds without a sign of life after which a running task counts as lost; "
        "at least three heartbeats, and longer than a database failover.",
    )
    republish_s: Seconds = Field(
        default=60.0,
        description="Seconds a queued task may wait unstarted before its message is checked and, "
        "if lost, sent again; doubled each time, since a long queue is not a lost message.",
    )
    shutdown_grace_s: Seconds = Field(
        default=20.0,
        description="Seconds running tasks get to finish after a stop signal before they are "
        "killed and handed back; below the 30 s most supervisors allow.",
    )
    infra_tries_max: Count = Field(
        default=3,
        description="Times a task may lose its worker before it fails for good; these do not use "
        "up its retries, and a task that kills every worker must not loop.",
    )
    xcom_bytes_max: Count = Field(
        default=XCOM_BYTES_MAX,
        description="Bytes that one XCom may have as JSON; more belongs in files or tables, whose "
        "names tasks then push.",
    )
    xcom_inline_bytes: Count = Field(
        default=XCOM_INLINE_BYTES,
        description="Bytes up to which an XCom is stored in its row; a larger one is stored beside "
        "it, compressed and in parts, so that lists of XComs stay quick.",
    )
    xcom_storage_url: str | None = Field(
        default=None,
        description="Where large XComs are stored: `file:///srv/xcoms` for a folder that every "
        "worker reaches, or any URL that fsspec and its drivers know (`s3://bucket/xcoms`). "
        "Without it they are in the database, which needs nothing more.",
        json_schema_extra={"shown": "the database"},
    )

    callback_timeout_s: Seconds = Field(
        default=120.0,
        description="Seconds one callback of a task or run may take; it is there to tell someone "
        "or to clean up, and it keeps a worker's slot meanwhile.",
    )
    parse_timeout_s: Seconds = Field(
        default=30.0,
        description="Seconds one DAG file may take to import; far above any sane file, so that "
        "only an endless loop is stopped.",
    )
    parse_memory_mb: int = Field(
        default=1024,
        ge=64,
        description="MiB of memory one DAG file's import may take before it is stopped.",
    )

    fallback_poll_s: Seconds = Field(
        default=5.0,
        description="Seconds a scheduler sleeps at most when neither the doorbell nor a due time "
        "wakes it; what a lost doorbell costs.",
    )
    runs_per_tick: Count = Field(
        default=64,
        description="Runs a scheduler decides in one transaction; bounds how long it holds locks.",
    )
    claims_per_tick: Count = Field(
        default=256,
        description="Task instances a scheduler hands to Celery in one batch; bounds one publish.",
    )

    spool_folder: Path = Field(
        default_factory=lambda data: data["home"] / "spool",
        description="Folder where the output of running tasks waits until it is stored in SQL, "
        "a moment later; each machine has its own.",
        json_schema_extra={"shown": "HOME/spool"},
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe message that the services write."
    )
    log_format: Literal["auto", "console", "json"] = Field(
        default="auto",
        description="How services write their log: `console` for people, `json` for machines, "
        "`auto` chooses `console` on a terminal.",
    )

    _origins: Mapping[str, Origin] = PrivateAttr(default_factory=dict)
    _config_file: Path | None = PrivateAttr(default=None)

    @property
    def config_file(self) -> Path | None:
        """The TOML file that was read, if there was one."""
        return self._config_file

    @field_validator("home", "dags_folder", "spool_folder")
    @classmethod
    def _make_absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: str) -> str:
        scheme, _, rest = value.partition("://")
        if scheme not in _DATABASE_SCHEMES or not rest.strip("/"):
            raise ValueError("must be a postgresql://user@host/database or sqlite:///path URL")
        if rest.startswith("/:memory:"):
            raise ValueError("must name a file, since several processes share the database")
        if scheme == "sqlite":
            return absolute_sqlite_url(value, Path.cwd())
        return f"{_DATABASE_SCHEMES[scheme]}://{rest}"

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, value: str | None) -> str | None:
        if value is not None:
            scheme, _, rest = value.partition("://")
            if scheme not in _REDIS_SCHEMES or not rest.strip("/"):
                raise ValueError("must be a redis://, rediss://, unix:// or redis+socket:// URL")
        return value

    @field_validator("fernet_keys")
    @classmethod
    def _check_fernet_keys(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            split_keys(value.get_secret_value())
        return value

    @field_validator("secrets_backends")
    @classmethod
    def _check_secrets_backends(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            split_backends(value.get_secret_value())
        return value

    @field_validator("xcom_storage_url")
    @classmethod
    def _check_xcom_storage_url(cls, value: str | None) -> str | None:
        if value is not None:
            scheme, _, rest = value.partition("://")
            if not scheme or not rest.strip("/") or (scheme == "file" and not rest.startswith("/")):
                raise ValueError("must be a URL like file:///srv/xcoms or s3://bucket/folder")
        return value

    @model_validator(mode="after")
    def _check_lease(self) -> Self:
        if self.lease_s < 3 * self.heartbeat_s:
            raise SettingsError(
                f"{PREFIX}LEASE_S={self.lease_s:g} must be at least three times "
                f"{PREFIX}HEARTBEAT_S={self.heartbeat_s:g}, or one late heartbeat loses a running "
                f"task; set it to {3 * self.heartbeat_s:g} or more"
            )
        return self


def absolute_sqlite_url(url: str, folder: Path) -> str:
    """Two processes started in two folders must mean the same file."""
    rest = url.removeprefix("sqlite:///")
    return f"sqlite:///{(folder / Path(rest).expanduser()).absolute()}"
