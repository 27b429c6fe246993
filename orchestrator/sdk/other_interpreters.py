"""Tasks whose function runs in another Python interpreter, with packages of its own."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import sys
import tempfile
import textwrap
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.sdk import interpreter_run
from orchestrator.sdk.bash import environment_for
from orchestrator.sdk.commands import Command, exit_in_words
from orchestrator.sdk.context import CONTEXT_KEYS
from orchestrator.sdk.exceptions import FailException, SkipException, TaskException
from orchestrator.sdk.python import BaseBranchOperator, PythonOperator
from orchestrator.sdk.references import Reference

if TYPE_CHECKING:
    from orchestrator.sdk.arguments import Subject
    from orchestrator.sdk.context import Context

__all__ = ["BranchExternalPythonOperator", "ExternalPythonOperator"]

JSON = "json"
_SERIALIZERS = (JSON, "pickle", "cloudpickle", "dill")
_NOT_TO_BE_SENT = frozenset(
    {
        *("conn", "dag", "dag_run", "macros", "task", "task_instance", "ti", "var"),
        *("task_state", "task_state_store"),
    }
)
"""What of the context lives in the worker's process only."""
_SKIPS = frozenset({"AirflowSkipException", "SkipException"})
_FAILS = frozenset({"AirflowFailException", "FailException"})


class Source(NamedTuple):
    """A function as text, and where it stands."""

    name: str
    text: str
    file: str
    line: int


class OtherPythonOperator(PythonOperator):
    """Calls a function in the interpreter that `interpreter(context)` names.

    The function must bring its imports along: nothing of the file around it is there. Arguments
    and result travel as JSON (with dates and durations), or by `serializer="pickle"`. Of the
    context it can have what JSON can say: dates, params, run_id ... What it prints is the task's
    log. Exit codes in `skip_on_exit_code` skip the task.
    """

    template_fields: Sequence[str] = ("templates_dict", "op_args", "op_kwargs", "env_vars")

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        serializer: str | None = None,
        string_args: Iterable[str] | None = None,
        skip_on_exit_code: int | Collection[int] | None = None,
        env_vars: Mapping[str, str] | None = None,
        inherit_env: bool = True,
        expect_airflow: bool = False,
        expect_pendulum: bool = False,
        use_airflow_context: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(python_callable=python_callable, **kwargs)
        subject = self.subject
        self.serializer = JSON if serializer is None else serializer
        if self.serializer not in _SERIALIZERS:
            raise subject.error(
                f"serializer is {serializer!r}; it must be one of {', '.join(_SERIALIZERS)}"
            )
        self.string_args = list(string_args or ())
        codes = skip_on_exit_code
        self.skip_on_exit_code = frozenset([codes] if isinstance(codes, int) else codes or ())
        self.env_vars = env_vars
        self.inherit_env = subject.flag("inherit_env", inherit_env)
        # Airflow's own package is not needed there; these say only that it might be.
        subject.flag("expect_airflow", expect_airflow)
        subject.flag("expect_pendulum", expect_pendulum)
        if use_airflow_context:
            raise subject.error(
                "use_airflow_context=True: the context lives in the worker's process; name what "
                "the function needs of it as arguments (ds, params, run_id ...)"
            )
        self.source = _source_of(python_callable, subject)
        self._refuse_what_stays(subject)

    def interpreter(self) -> str:
        """Return the path of the interpreter."""
        raise NotImplementedError(f"{type(self).__name__} does not define interpreter()")

    def execute(self, context: Context) -> Any:
        """Have the other interpreter call the function."""
        python = self.interpreter()
        if self.templates_dict is not None:
            context["templates_dict"] = self.templates_dict
        args, kwargs = list(self.op_args), dict(self.op_kwargs)
        kwargs = {**self._context_arguments(context, args, kwargs), **kwargs}
        with tempfile.TemporaryDirectory(prefix="orchestrator-python-") as name:
            folder = Path(name)
            self._write_call(folder, args, kwargs)
            code, last_line = self._run(python, folder, context)
            return self._conclude(folder, code, last_line)

    def _refuse_what_stays(self, subject: Subject) -> None:
        for name in inspect.signature(self.python_callable).parameters:
            if name in _NOT_TO_BE_SENT:
                raise subject.error(
                    f"{self.source.name}() asks for {name!r}, which lives in the worker's process "
                    "and cannot be sent to another interpreter; name what it needs of it (ds, "
                    "params, run_id ...)"
                )

    def _context_arguments(
        self, context: Context, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> dict[str, Any]:
        """What the function asks of the context by name; all that can be sent for a `**kwargs`."""
        parameters = inspect.signature(self.python_callable).parameters
        given = {*kwargs, *list(parameters)[: len(args)]}
        names: Iterable[str] = parameters
        if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
            names = CONTEXT_KEYS - _NOT_TO_BE_SENT
        return {
            name: _plain(context[name])
            for name in names
            if name in CONTEXT_KEYS and name in context and name not in given
        }

    def _write_call(self, folder: Path, args: list[Any], kwargs: dict[str, Any]) -> None:
        (folder / "run.py").write_text(Path(interpreter_run.__file__).read_text(encoding="utf-8"))
        call: dict[str, Any] = {
            "function": self.source.name,
            "source": self.source.text,
            "file": self.source.file,
            "line": self.source.line,
            "serializer": self.serializer,
            "string_args": self.string_args,
        }
        if self.serializer == JSON:
            call["args"] = [
                _as_json(each, f"argument {position}") for position, each in enumerate(args)
            ]
            call["kwargs"] = {name: _as_json(each, name) for name, each in kwargs.items()}
        else:
            dumped = self._serializer_module().dumps((args, kwargs))
            (folder / interpreter_run.ARGUMENTS).write_bytes(dumped)
        (folder / interpreter_run.CALL).write_text(json.dumps(call), encoding="utf-8")

    def _run(self, python: str, folder: Path, context: Context) -> tuple[int, str]:
        environment = environment_for(context, self.env_vars, inherits=self.inherit_env)
        command = Command(
            (python, "-u", str(folder / "run.py"), str(folder)),
            env={**environment, "PYTHONDONTWRITEBYTECODE": "1"},
            folder=str(folder),
        )
        try:
            last_line = command.follow(self.log, encoding="utf-8")
        finally:
            command.stop()
        return command.exit_code, last_line

    def _conclude(self, folder: Path, code: int, last_line: str) -> Any:
        file = folder / interpreter_run.CAME
        came = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        if "error" in came:
            raise _error(came, self.source)
        if code in self.skip_on_exit_code:
            raise SkipException(f"the function exited with code {code}, which means skip")
        if code != 0 or not file.exists():
            said = f"; its last line of output: {last_line}" if last_line else ""
            raise TaskException(f"the interpreter {exit_in_words(code)}{said}")
        if self.serializer == JSON:
            return interpreter_run.decoded(came["result"])
        result = (folder / interpreter_run.RESULT).read_bytes()
        return self._serializer_module().loads(result)

    def _serializer_module(self) -> Any:
        try:
            return importlib.import_module(self.serializer)
        except ImportError:
            raise TaskException(
                f"serializer is {self.serializer!r}, which is not installed on this worker"
            ) from None


class ExternalPythonOperator(OtherPythonOperator):
    """Calls a function in the interpreter at the path `python` (of a virtual environment that
    exists already, say)."""

    template_fields: Sequence[str] = ("python", *OtherPythonOperator.template_fields)

    def __init__(self, *, python: str | Reference, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.python: Any = (
            python if isinstance(python, Reference) else self.subject.text("python", python)
        )

    def interpreter(self) -> str:
        """Return the path, once there is a file."""
        if not Path(self.python).is_file():
            raise TaskException(
                f"python is {self.python!r}, and there is no such file on this worker"
            )
        return str(self.python)


class BranchExternalPythonOperator(BaseBranchOperator, ExternalPythonOperator):
    """A branch whose function runs in the interpreter at the path `python`."""

    def choose_branch(self, context: Context) -> Any:
        """Ask the function."""
        return ExternalPythonOperator.execute(self, context)


class DecoratedExternalPython(ExternalPythonOperator):
    """What `@task.external_python` makes of a function."""

    @property
    def operator_name(self) -> str:
        """The decorator's name."""
        return "@task.external_python"


class DecoratedBranchExternalPython(BranchExternalPythonOperator):
    """What `@task.branch_external_python` makes of a function."""

    @property
    def operator_name(self) -> str:
        """The decorator's name."""
        return "@task.branch_external_python"


def _source_of(function: Callable[..., Any], subject: Subject) -> Source:
    """Return a function's own lines, without its decorators."""
    name = getattr(function, "__name__", repr(function))
    if not inspect.isfunction(function) or name == "<lambda>":
        raise subject.error(
            f"python_callable is {name}, which cannot be sent to another interpreter; it must be "
            "a function written with def"
        )
    if function.__code__.co_freevars:
        raise subject.error(
            f"{name}() uses {', '.join(function.__code__.co_freevars)} of the function around it, "
            "which another interpreter does not have; pass it as an argument"
        )
    try:
        lines, first = inspect.getsourcelines(function)
    except (OSError, TypeError):
        raise subject.error(
            f"the source of {name}() is not there to be sent to another interpreter; write it in "
            "a file"
        ) from None
    text = textwrap.dedent("".join(lines))
    node = next(
        each
        for each in ast.walk(ast.parse(text))
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    own = text.splitlines(keepends=True)[node.lineno - 1 : node.end_lineno]
    file = inspect.getsourcefile(function) or sys.argv[0]
    return Source(name, "".join(own), file, first + node.lineno - 1)


def _plain(value: Any) -> Any:
    """Return a value of the context without classes of ours and pendulum's."""
    from datetime import datetime  # noqa: PLC0415 - beside what needs it

    from orchestrator.sdk.instants import plain_utc  # noqa: PLC0415

    return plain_utc(value) if isinstance(value, datetime) else value


def _as_json(value: Any, name: str) -> Any:
    try:
        return interpreter_run.encoded(value)
    except TypeError as error:
        raise TaskException(
            f"{name} is or holds {error}, which does not travel as JSON; set serializer='pickle'"
        ) from None


def _error(came: Mapping[str, Any], source: Source) -> TaskException:
    place = f" ({Path(source.file).name}:{came['line']})" if came["line"] else ""
    if came["error"] in _SKIPS:
        return SkipException(came["message"])
    if came["error"] in _FAILS:
        return FailException(f"{came['message']}{place}")
    return TaskException(f"{came['error']}: {came['message']}{place}")
