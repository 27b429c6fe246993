"""How do tasks speak SQL with any database that SQLAlchemy has a dialect for?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from orchestrator.sdk.connections import Connection
from orchestrator.sdk.exceptions import TaskException
from orchestrator.sdk.hooks.base import BaseHook
from orchestrator.sdk.hooks.sql_urls import database_url
from orchestrator.sdk.hooks.statements import split_statements as split
from orchestrator.sdk.masking import mask

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine, Table

__all__ = ["DbApiHook", "SqlHook", "fetch_all_handler", "fetch_one_handler"]

_LOGGED_MAX = 2_000
"""Of a longer statement only so much is logged."""


def fetch_all_handler(cursor: Any) -> list[tuple[Any, ...]] | None:
    """Return all rows of a statement; None of one that gives none."""
    return None if cursor.description is None else [tuple(row) for row in cursor.fetchall()]


def fetch_one_handler(cursor: Any) -> tuple[Any, ...] | None:
    """Return the first row of a statement; None if there is none."""
    row = None if cursor.description is None else cursor.fetchone()
    return None if row is None else tuple(row)


class SqlHook(BaseHook):
    """Runs SQL on the database of a Connection. Parameters are written as its driver has them:
    `%s` or `%(name)s` for PostgreSQL and MySQL, `?` or `:name` for SQLite."""

    conn_name_attr: ClassVar[str] = "conn_id"
    hook_name: ClassVar[str] = "SQL"

    def __init__(
        self,
        conn_id: str = "",
        *,
        connection: Connection | None = None,
        schema: str | None = None,
        log_sql: bool = True,
    ) -> None:
        """`schema` is another database on the Connection's server."""
        if connection is None and not conn_id:
            raise TaskException("an SqlHook needs the conn_id of a Connection to its database")
        self.conn_id = conn_id or (connection.conn_id if connection else "")
        self._given = connection
        self._schema = schema
        self._log_sql = log_sql

    @cached_property
    def connection(self) -> Connection:
        """The Connection, secrets included."""
        return self._given or self.get_connection(str(self.conn_id))

    @cached_property
    def sqlalchemy_url(self) -> URL:
        """The database's URL, secrets included."""
        return database_url(self.connection, schema=self._schema)

    def get_uri(self) -> str:
        """Return the database's URL as a text, secrets included."""
        return self.sqlalchemy_url.render_as_string(hide_password=False)

    def get_sqlalchemy_engine(self, engine_kwargs: Mapping[str, Any] | None = None) -> Engine:
        """Return an engine that keeps no connection open."""
        from sqlalchemy import NullPool, create_engine  # noqa: PLC0415 - slow to import
        from sqlalchemy.exc import NoSuchModuleError  # noqa: PLC0415

        try:
            return create_engine(
                self.sqlalchemy_url, **{"poolclass": NullPool, **(engine_kwargs or {})}
            )
        except (NoSuchModuleError, ModuleNotFoundError) as error:
            raise TaskException(
                f"Connection {self.conn_id!r} needs SQLAlchemy's "
                f"{self.sqlalchemy_url.drivername!r}, which is not installed on this worker "
                f"({error})"
            ) from error

    def get_conn(self) -> Any:
        """Return an open DB-API connection; closing it is the caller's affair."""
        return self._engine.raw_connection()

    @contextmanager
    def get_cursor(self) -> Iterator[Any]:
        """Open a cursor on a connection of its own; what is not committed is rolled back."""
        with closing(self.get_conn()) as connection, closing(connection.cursor()) as cursor:
            yield cursor

    def run(  # noqa: PLR0917 - Airflow's signature
        self,
        sql: str | Iterable[str],
        autocommit: bool = False,
        parameters: Iterable[Any] | Mapping[str, Any] | None = None,
        handler: Callable[[Any], Any] | None = None,
        split_statements: bool = False,
        return_last: bool = True,
    ) -> Any:
        """Run one statement, or several in one transaction, and return what `handler` makes of
        each cursor: of one text the last one's (or all, with `return_last=False`), of a list all.
        """
        statements = self._statements(sql, split_statements=split_statements)
        results = []
        with self._engine.connect() as opened:
            if autocommit:
                opened.execution_options(isolation_level="AUTOCOMMIT")
            connection = opened.connection
            with closing(connection.cursor()) as cursor:
                for statement in statements:
                    self._run_one(cursor, statement, parameters)
                    if handler is not None:
                        results.append(handler(cursor))
            if not autocommit:
                connection.commit()
        if handler is None:
            return None
        wants_one = isinstance(sql, str) and (return_last or not split_statements)
        return results[-1] if wants_one else results

    def get_records(self, sql: str | list[str], parameters: Any = None) -> Any:
        """Return all rows."""
        return self.run(sql, parameters=parameters, handler=fetch_all_handler)

    def get_first(self, sql: str | list[str], parameters: Any = None) -> Any:
        """Return the first row."""
        return self.run(sql, parameters=parameters, handler=fetch_one_handler)

    def get_df(self, sql: str, parameters: Any = None, *, df_type: str = "pandas") -> Any:
        """Return all rows as a data frame of pandas or polars, which must be installed."""
        from importlib import import_module  # noqa: PLC0415

        if df_type not in ("pandas", "polars"):
            raise TaskException(f"df_type is {df_type!r}; it must be 'pandas' or 'polars'")
        try:
            library = import_module(df_type)
        except ModuleNotFoundError as error:
            raise TaskException(
                f"{df_type} is not installed on this worker; install it or use get_records"
            ) from error
        with self.get_cursor() as cursor:
            self._run_one(cursor, sql, parameters)
            names = [column[0] for column in cursor.description or ()]
            rows = [tuple(row) for row in cursor.fetchall()]
        if df_type == "polars":
            return library.DataFrame(rows, schema=names, orient="row")
        return library.DataFrame(rows, columns=names)

    def insert_rows(
        self,
        table: str,
        rows: Iterable[Sequence[Any]],
        target_fields: Sequence[str] | None = None,
        commit_every: int = 1000,
        replace: bool = False,
        *,
        replace_index: str | Sequence[str] | None = None,
    ) -> int:
        """Insert rows in batches of `commit_every` (0: all in one transaction) and return how many.
        With `replace`, a row takes the place of the one that has its `replace_index`."""
        target = self._table(table, target_fields)
        names = [column.name for column in target.columns]
        statement = self._insert(target, replace_index) if replace else target.insert()
        total, remaining = 0, iter(rows)
        while batch := list(islice(remaining, commit_every or None)):
            values = [dict(zip(names, row, strict=True)) for row in batch]
            with self._engine.begin() as connection:
                connection.execute(statement, values)
            total += len(batch)
        self.log.info("inserted %d rows into %s", total, table)
        return total

    def test_connection(self) -> tuple[bool, str]:
        """Ask the database for a 1."""
        from sqlalchemy import literal, select  # noqa: PLC0415 - slow to import

        try:
            with self._engine.connect() as connection:
                connection.execute(select(literal(1))).scalar_one()
        except Exception as error:  # whatever a driver raises is the answer
            return False, mask(" ".join(str(error).split()))
        return True, f"the database answers ({self.sqlalchemy_url.get_backend_name()})"

    @cached_property
    def _engine(self) -> Engine:
        return self.get_sqlalchemy_engine()

    def _statements(self, sql: str | Iterable[str], *, split_statements: bool) -> list[str]:
        texts = [sql] if isinstance(sql, str) else list(sql)
        if split_statements:
            texts = [statement for text in texts for statement in split(text)]
        statements = [text for text in texts if text.strip()]
        if not statements:
            raise TaskException("there is no SQL statement to run: the list of them is empty")
        return statements

    def _run_one(self, cursor: Any, statement: str, parameters: Any) -> None:
        if self._log_sql:
            self.log.info("running: %s", mask(statement)[:_LOGGED_MAX])
        if parameters is None:
            cursor.execute(statement)
        else:
            cursor.execute(statement, parameters)

    def _table(self, name: str, fields: Sequence[str] | None) -> Table:
        from sqlalchemy import MetaData, Table, column, table  # noqa: PLC0415 - slow to import

        schema, _, bare = name.rpartition(".")
        if fields is None:
            return Table(bare, MetaData(), schema=schema or None, autoload_with=self._engine)
        made: Any = table(bare, *(column(field) for field in fields), schema=schema or None)
        return made  # type: ignore[no-any-return]

    def _insert(self, target: Table, replace_index: str | Sequence[str] | None) -> Any:
        keys = [replace_index] if isinstance(replace_index, str) else list(replace_index or ())
        names = [column.name for column in target.columns]
        backend = self.sqlalchemy_url.get_backend_name()
        if backend in ("mysql", "mariadb"):
            from sqlalchemy.dialects import mysql  # noqa: PLC0415 - only where it is used

            insert = mysql.insert(target)
            return insert.on_duplicate_key_update({name: insert.inserted[name] for name in names})
        if backend not in ("postgresql", "sqlite") or not keys:
            raise TaskException(
                "insert_rows(replace=True) needs replace_index=(the unique columns) and a "
                f"PostgreSQL, SQLite or MySQL database; here they are {keys} and {backend}"
            )
        from sqlalchemy.dialects import postgresql, sqlite  # noqa: PLC0415

        dialect: Any = postgresql if backend == "postgresql" else sqlite
        insert = dialect.insert(target)
        kept = {name: insert.excluded[name] for name in names if name not in keys}
        if not kept:
            return insert.on_conflict_do_nothing(index_elements=keys)
        return insert.on_conflict_do_update(index_elements=keys, set_=kept)


DbApiHook = SqlHook  # the name that authors arrive with
