"""Tasks that run SQL, check what it says, branch by it, or wait for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.sdk.connections import Connection
from orchestrator.sdk.exceptions import FailException, TaskException
from orchestrator.sdk.hooks.sql import SqlHook, fetch_all_handler, fetch_one_handler
from orchestrator.sdk.operators import BaseOperator
from orchestrator.sdk.python import BaseBranchOperator
from orchestrator.sdk.sensors import BaseSensorOperator, PokeReturnValue

if TYPE_CHECKING:
    from orchestrator.sdk.context import Context

__all__ = [
    "BranchSQLOperator",
    "SQLCheckOperator",
    "SQLExecuteQueryOperator",
    "SQLValueCheckOperator",
    "SqlSensor",
]

_TRUE = frozenset({"true", "t", "yes", "y", "on", "1"})
_FALSE = frozenset({"false", "f", "no", "n", "off", "0", ""})


class BaseSQLOperator(BaseOperator):
    """A task with an SQL hook. `database` is another one on the Connection's server; `hook_params`
    are further arguments of the hook of its type."""

    def __init__(
        self,
        *,
        conn_id: str | None = None,
        database: str | None = None,
        hook_params: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not conn_id:
            raise self.subject.error(
                f"{self.operator_name} needs conn_id, the id of a Connection to its database"
            )
        self.conn_id = conn_id
        self.database = database
        self.hook_params = hook_params

    def get_db_hook(self) -> Any:
        """Return the hook of the Connection's type, which must speak SQL."""
        connection = Connection.get(self.conn_id)
        params = dict(self.hook_params or {})
        if self.database:
            params["schema"] = self.database
        hook = connection.get_hook(**params)
        if not hasattr(hook, "get_records"):
            raise FailException(
                f"Connection {self.conn_id!r} is of type {connection.conn_type!r}, whose hook "
                f"({type(hook).__name__}) does not speak SQL"
            )
        return hook


class SQLExecuteQueryOperator(BaseSQLOperator):
    """Runs SQL: a text, a list of them, or a template file ending in `.sql`.

    Values go in by `parameters`, never written into the SQL. What `handler` makes of the cursor is
    pushed (all rows unless given); of several statements the last, with `return_last=False` all.
    `split_statements` splits a text at its semicolons.
    """

    template_fields: Sequence[str] = ("conn_id", "sql", "parameters", "hook_params", "database")
    template_ext: Sequence[str] = (".sql",)

    def __init__(
        self,
        *,
        sql: Any,
        autocommit: bool = False,
        parameters: Mapping[str, Any] | Iterable[Any] | None = None,
        handler: Callable[[Any], Any] | None = fetch_all_handler,
        output_processor: Callable[[list[Any], list[Any]], Any] | None = None,
        split_statements: bool = False,
        return_last: bool = True,
        show_return_value_in_logs: bool = False,
        requires_result_fetch: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(sql, str) and not sql.strip():
            raise self.subject.error("sql is empty; it must be a statement")
        self.sql = sql
        self.autocommit = self.subject.flag("autocommit", autocommit)
        self.parameters = parameters
        self.handler = handler
        self.output_processor = output_processor
        self.split_statements = self.subject.flag("split_statements", split_statements)
        self.return_last = self.subject.flag("return_last", return_last)
        self.show_return_value_in_logs = self.subject.flag(
            "show_return_value_in_logs", show_return_value_in_logs
        )
        self.requires_result_fetch = self.subject.flag(
            "requires_result_fetch", requires_result_fetch
        )

    def execute(self, context: Context) -> Any:  # noqa: ARG002
        """Run it."""
        wants_result = self.do_xcom_push or self.requires_result_fetch
        descriptions: list[Any] = []
        result = self.get_db_hook().run(
            self.sql,
            autocommit=self.autocommit,
            parameters=self.parameters,
            handler=self._describing(descriptions) if wants_result else None,
            split_statements=self.split_statements,
            return_last=self.return_last,
        )
        if self.output_processor is not None and wants_result:
            is_one = isinstance(self.sql, str) and (self.return_last or not self.split_statements)
            results = self.output_processor([result] if is_one else result, descriptions)
            result = results[-1] if is_one else results
        if self.show_return_value_in_logs:
            self.log.info("result: %s", result)
        return result

    def _describing(self, descriptions: list[Any]) -> Callable[[Any], Any] | None:
        handler = self.handler
        if handler is None:
            return None

        def handle(cursor: Any) -> Any:
            descriptions.append(cursor.description)
            return handler(cursor)

        return handle


class SQLCheckOperator(BaseSQLOperator):
    """Fails, without another try, unless a query gives a first row whose values are all true."""

    template_fields: Sequence[str] = ("conn_id", "sql", "parameters", "hook_params", "database")
    template_ext: Sequence[str] = (".sql",)

    def __init__(
        self,
        *,
        sql: str,
        parameters: Mapping[str, Any] | Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sql = sql
        self.parameters = parameters

    def execute(self, context: Context) -> None:  # noqa: ARG002
        """Ask and judge."""
        row = self.get_db_hook().get_first(self.sql, self.parameters)
        self.log.info("the first row: %s", row)
        if not row:
            raise FailException(f"the query gave no row: {self.sql}")
        if not all(bool(value) for value in row):
            raise FailException(f"the check failed: {self.sql} gave {row}")


class SQLValueCheckOperator(SQLCheckOperator):
    """Fails, without another try, unless each value of a query's first row is `pass_value`, within
    the share `tolerance` of it if that is given."""

    template_fields: Sequence[str] = (*SQLCheckOperator.template_fields, "pass_value")

    def __init__(self, *, pass_value: Any, tolerance: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pass_value = pass_value
        self.tolerance = tolerance

    def execute(self, context: Context) -> None:  # noqa: ARG002
        """Ask and compare."""
        row = self.get_db_hook().get_first(self.sql, self.parameters)
        if not row:
            raise FailException(f"the query gave no row: {self.sql}")
        if not all(self._passes(value) for value in row):
            within = f" within {self.tolerance:.1%}" if self.tolerance is not None else ""
            raise FailException(
                f"the check failed: {self.sql} gave {row}, not {self.pass_value!r}{within}"
            )

    def _passes(self, value: Any) -> bool:
        try:
            wanted, found = float(self.pass_value), float(value)
        except (TypeError, ValueError):
            return str(value) == str(self.pass_value)
        slack = abs(wanted) * (self.tolerance or 0.0)
        return wanted - slack <= found <= wanted + slack


class BranchSQLOperator(BaseSQLOperator, BaseBranchOperator):
    """Follows `follow_task_ids_if_true` or `..._if_false`, as the first value of a query says."""

    template_fields: Sequence[str] = ("conn_id", "sql", "parameters", "hook_params", "database")
    template_ext: Sequence[str] = (".sql",)

    def __init__(
        self,
        *,
        sql: str,
        follow_task_ids_if_true: str | list[str],
        follow_task_ids_if_false: str | list[str],
        parameters: Mapping[str, Any] | Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sql = sql
        self.follow_task_ids_if_true = follow_task_ids_if_true
        self.follow_task_ids_if_false = follow_task_ids_if_false
        self.parameters = parameters

    def choose_branch(self, context: Context) -> Any:  # noqa: ARG002
        """Ask and choose."""
        row = self.get_db_hook().get_first(self.sql, self.parameters)
        if not row:
            raise TaskException(f"the query gave no row to branch by: {self.sql}")
        return self.follow_task_ids_if_true if _truth(row[0]) else self.follow_task_ids_if_false


class SqlSensor(BaseSensorOperator):
    """Waits until the first value of a query's first row is true, or until `success(value)` is;
    fails at once when `failure(value)` is, or with `fail_on_empty` when there is no row. `selector`
    picks the value of a row."""

    template_fields: Sequence[str] = ("conn_id", "sql", "parameters", "hook_params")
    template_ext: Sequence[str] = (".sql",)

    def __init__(
        self,
        *,
        conn_id: str,
        sql: str,
        parameters: Mapping[str, Any] | Iterable[Any] | None = None,
        success: Callable[[Any], Any] | None = None,
        failure: Callable[[Any], Any] | None = None,
        selector: Callable[[Sequence[Any]], Any] | None = None,
        fail_on_empty: bool = False,
        hook_params: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.conn_id = conn_id
        self.sql = sql
        self.parameters = parameters
        self.success = success
        self.failure = failure
        self.selector = selector
        self.fail_on_empty = self.subject.flag("fail_on_empty", fail_on_empty)
        self.hook_params = hook_params

    def poke(self, context: Context) -> bool | PokeReturnValue:  # noqa: ARG002
        """Ask once."""
        hook: Any = Connection.get(self.conn_id).get_hook(**(self.hook_params or {}))
        if not isinstance(hook, SqlHook) and not hasattr(hook, "run"):
            raise FailException(f"Connection {self.conn_id!r} does not speak SQL")
        row = hook.run(self.sql, parameters=self.parameters, handler=fetch_one_handler)
        if not row:
            if self.fail_on_empty:
                raise FailException(f"the query gave no row: {self.sql}")
            return False
        value = self.selector(row) if self.selector is not None else row[0]
        if self.failure is not None and self.failure(value):
            raise FailException(f"failure({value!r}) is true: there is nothing to wait for")
        if self.success is not None:
            return bool(self.success(value))
        return str(value).strip() not in ("0", "", "None")


def _truth(value: Any) -> bool:
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
        raise TaskException(
            f"the query gave {value!r} to branch by; it must give a truth value or a number"
        )
    return bool(value)
