"""Which database does a Connection name, as SQLAlchemy says it?"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING

from orchestrator.sdk.connections import Connection
from orchestrator.sdk.exceptions import TaskException

if TYPE_CHECKING:
    from sqlalchemy import URL

__all__ = ["database_url"]

_DRIVERS: Mapping[str, tuple[tuple[str, str], ...]] = MappingProxyType(
    {
        "postgres": (("psycopg", "postgresql+psycopg"), ("psycopg2", "postgresql+psycopg2")),
        "redshift": (("psycopg", "postgresql+psycopg"), ("psycopg2", "postgresql+psycopg2")),
        "mysql": (("pymysql", "mysql+pymysql"), ("MySQLdb", "mysql+mysqldb")),
        "mariadb": (("pymysql", "mariadb+pymysql"), ("MySQLdb", "mariadb+mysqldb")),
        "mssql": (("pymssql", "mssql+pymssql"), ("pyodbc", "mssql+pyodbc")),
        "oracle": (("oracledb", "oracle+oracledb"),),
        "sqlite": (("sqlite3", "sqlite"),),
    }
)
"""Installed modules by type of Connection, the preferred first, and what SQLAlchemy calls them."""

_OPTIONS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "postgresql": frozenset(
            {
                *("application_name", "client_encoding", "connect_timeout", "keepalives"),
                *("keepalives_idle", "options", "sslcert", "sslkey", "sslmode", "sslrootcert"),
                *("target_session_attrs",),
            }
        ),
        "mysql": frozenset({"charset", "connect_timeout", "ssl_ca", "ssl_cert", "ssl_key"}),
        "mariadb": frozenset({"charset", "connect_timeout", "ssl_ca", "ssl_cert", "ssl_key"}),
        "mssql": frozenset({"charset", "login_timeout", "timeout", "tds_version"}),
        "oracle": frozenset({"service_name", "sid"}),
        "sqlite": frozenset({"mode", "timeout"}),
    }
)
"""What of a Connection's extra is passed to a driver. Drivers have options that read files or load
libraries, so there is no other way through."""


def database_url(connection: Connection, *, schema: str | None = None) -> URL:
    """Return the URL of a Connection's database, or of another one (`schema`) on its server."""
    from sqlalchemy import URL  # noqa: PLC0415 - only tasks that use it pay for its import

    drivername = _drivername(connection)
    backend = drivername.partition("+")[0]
    database = schema or connection.schema
    if backend == "sqlite":
        # Airflow keeps the file's path in the host; of a URI it is what follows the slash.
        database = connection.host or database or ":memory:"
        return URL.create(drivername, database=database)
    allowed = _OPTIONS.get(backend, frozenset())
    extra = connection.extra_dejson
    return URL.create(
        drivername,
        username=connection.login,
        password=connection.password,
        host=connection.host,
        port=connection.port,
        database=database,
        query={name: str(extra[name]) for name in sorted(extra) if name in allowed},
    )


def _drivername(connection: Connection) -> str:
    chosen = connection.extra_dejson.get("sqlalchemy_scheme")
    if chosen:
        return str(chosen)
    kind = connection.conn_type
    if kind == "sql":
        raise TaskException(
            f"Connection {connection.conn_id!r} is of type 'sql'; name the dialect in its extra, "
            'as in {"sqlalchemy_scheme": "mysql+pymysql"}'
        )
    known = _DRIVERS.get(kind)
    if known is None:
        return kind
    for module, drivername in known:
        if find_spec(module) is not None:
            return drivername
    raise TaskException(
        f"no driver for Connection {connection.conn_id!r} of type {kind!r} is installed here; "
        f"install {' or '.join(module for module, _ in known)}"
    )
