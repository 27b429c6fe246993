"""How a function becomes a task: `@task` and its kinds."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, overload

from orchestrator.sdk.arguments import Subject
from orchestrator.sdk.bash import BashOperator
from orchestrator.sdk.callsite import author_call, invalid
from orchestrator.sdk.context import Context, is_task_running
from orchestrator.sdk.edges import Uncalled
from orchestrator.sdk.exceptions import TaskException
from orchestrator.sdk.operators import BaseOperator, home_of, subject_of
from orchestrator.sdk.python import (
    BranchPythonOperator,
    PythonOperator,
    ShortCircuitOperator,
    call,
    check_call,
)
from orchestrator.sdk.references import XComArg
from orchestrator.sdk.scope import current_scope
from orchestrator.sdk.templates import render_text

if TYPE_CHECKING:
    from orchestrator.sdk.conditions import Conditional
    from orchestrator.sdk.mapped_operators import Promise
    from orchestrator.sdk.mapping import ExpandInput

__all__ = ["TaskFunction", "task"]


class Role(NamedTuple):
    """What the tasks of a function are to others."""

    is_setup: bool = False
    is_teardown: bool = False
    on_failure_fail_dagrun: bool = False

    def give(self, made: BaseOperator) -> XComArg:
        """Have a task in the role."""
        if self.is_setup:
            made.as_setup()
        if self.is_teardown:
            made.as_teardown(on_failure_fail_dagrun=self.on_failure_fail_dagrun)
        return made.output


class TaskFunction(Uncalled):
    """A function that, called where a DAG is written, creates a task and returns its output.

    The call's arguments become the function's when the task runs; outputs of other tasks among
    them make the task wait for those. `function` is the plain function, for tests.
    """

    def __init__(
        self,
        function: object,
        operator: type[BaseOperator],
        arguments: Mapping[str, Any],
        partial: Mapping[str, Any] | None = None,
        role: Role | None = None,
        *,
        promise: Promise | None = None,
    ) -> None:
        if not callable(function) or isinstance(function, type | Uncalled):
            raise invalid("@task", f"{function!r} is no function; @task stands above a `def`")
        self.function: Callable[..., Any] = function
        self._operator = operator
        self._arguments = dict(arguments)
        self._partial = dict(partial or {})
        self._role = role or Role()
        self._promise = promise
        functools.update_wrapper(self, function)

    def __repr__(self) -> str:
        return f"<@task {self.function.__qualname__}>"

    def __call__(self, *args: Any, **kwargs: Any) -> XComArg:
        if current_scope() is None and is_task_running():
            raise TaskException(
                f"{self!r} was called inside a running task, where no task can be made; call "
                f"{self.__name__}.function(...) to run the plain function"
            )
        if self._partial:
            raise invalid(
                repr(self), "a call of .partial(...) makes no task; call .expand(argument=[...])"
            )
        made = self._operator(op_args=args, op_kwargs=kwargs, **self._given())
        return self._role.give(made)

    def override(self, **arguments: Any) -> TaskFunction:
        """Return the same function as a task with other operator arguments."""
        return self._with(arguments={**self._arguments, **arguments})

    def in_role(self, role: Role) -> TaskFunction:
        """Return the same function as a setup or teardown."""
        return self._with(role=role)

    @property
    def operator_arguments(self) -> Mapping[str, Any]:
        """What its tasks are given besides the function's own arguments."""
        return self._arguments

    def partial(self, **arguments: Any) -> TaskFunction:
        """Give arguments of the function that all instances of a mapped task share."""
        from orchestrator.sdk.mapped_operators import Promise  # noqa: PLC0415 - few files need it
        from orchestrator.sdk.mapping import (  # noqa: PLC0415 - few files need it
            check_function_names,
            refuse_doubles,
        )

        subject = Subject(repr(self), author_call())
        check_function_names(self.function, arguments, subject)
        refuse_doubles(arguments, self._partial, subject)
        promise = self._promise or Promise(subject, home_of(self._arguments))
        return self._with(partial={**self._partial, **arguments}, promise=promise)

    def expand(self, **mapped: Any) -> XComArg:
        """Create a mapped task: one instance for each combination of the lists' elements, of which
        the last argument varies fastest. Its output is the list of what they return."""
        from orchestrator.sdk.mapping import ListsInput  # noqa: PLC0415 - few files need it

        return self._expand(lambda subject: ListsInput(mapped, subject), strict=True)

    def expand_kwargs(self, kwargs: Any, *, strict: bool = True) -> XComArg:
        """Create a mapped task with one instance for each dict of arguments. With `strict=False`
        such an argument may stand in partial() too and replaces it."""
        from orchestrator.sdk.mapping import DictsInput  # noqa: PLC0415 - few files need it

        return self._expand(lambda subject: DictsInput(kwargs, subject), strict=strict)

    def _expand(self, make: Callable[[Subject], ExpandInput], *, strict: bool) -> XComArg:
        from orchestrator.sdk.mapped_operators import (  # noqa: PLC0415 - few files need it
            mapped_function_task,
        )

        if self._promise is not None:
            self._promise.is_kept = True
        given = self._given()
        subject = subject_of(given)
        made = mapped_function_task(
            self._operator,
            given,
            partial=self._partial,
            expand_input=make(subject),
            strict=strict,
            subject=subject,
        )
        return self._role.give(made)

    def _with(self, **changes: Any) -> TaskFunction:
        """The same function, with other arguments of this class."""
        own = {
            "arguments": self._arguments,
            "partial": self._partial,
            "role": self._role,
            "promise": self._promise,
        }
        return TaskFunction(self.function, self._operator, **{**own, **changes})

    def _given(self) -> dict[str, Any]:
        """The operator's arguments, but for those of the function."""
        given = {"task_id": getattr(self.function, "__name__", ""), **self._arguments}
        given["task_id"] = _free_label(given)
        if self.function.__doc__:
            given.setdefault("doc_md", inspect.cleandoc(self.function.__doc__))
        if "multiple_outputs" not in given and issubclass(self._operator, PythonOperator):
            given["multiple_outputs"] = _returns_dict(self.function)
        return {"python_callable": self.function, **given}


class _DecoratedPython(PythonOperator):
    template_fields: Sequence[str] = ("op_args", "op_kwargs")

    @property
    def operator_name(self) -> str:
        return "@task"


class _DecoratedBranch(BranchPythonOperator):
    template_fields: Sequence[str] = ("op_args", "op_kwargs")

    @property
    def operator_name(self) -> str:
        return "@task.branch"


class _DecoratedShortCircuit(ShortCircuitOperator):
    template_fields: Sequence[str] = ("op_args", "op_kwargs")

    @property
    def operator_name(self) -> str:
        return "@task.short_circuit"


class _DecoratedBash(BashOperator):
    """The function returns the command, which is rendered as a template like any bash_command."""

    template_fields: Sequence[str] = ("op_args", "op_kwargs", "env", "cwd")
    template_ext: Sequence[str] = ()

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Sequence[Any],
        op_kwargs: Mapping[str, Any],
        **kwargs: Any,
    ) -> None:
        super().__init__(bash_command=None, **kwargs)
        self.python_callable = python_callable
        self.op_args, self.op_kwargs = op_args, op_kwargs
        check_call(python_callable, op_args, op_kwargs, self.subject)

    @property
    def operator_name(self) -> str:
        return "@task.bash"

    def execute(self, context: Context) -> Any:
        command = call(self.python_callable, tuple(self.op_args), dict(self.op_kwargs), context)
        if not isinstance(command, str):
            raise TaskException(
                f"a @task.bash function returns the command as text; it returned {command!r}"
            )
        self.bash_command = render_text(command, self, field="the command", context=context)
        return super().execute(context)


class _Decorator:
    """Makes task functions of one kind: `@kind` or `@kind(retries=3, ...)`."""

    def __init__(self, operator: type[BaseOperator]) -> None:
        self._operator = operator

    @overload
    def __call__(self, function: Callable[..., Any], /, **arguments: Any) -> TaskFunction: ...
    @overload
    def __call__(self, /, **arguments: Any) -> Callable[[Callable[..., Any]], TaskFunction]: ...
    def __call__(self, function: Any = None, /, **arguments: Any) -> Any:
        if function is not None:
            return TaskFunction(function, self._operator, arguments)
        return lambda function: TaskFunction(function, self._operator, arguments)


class _TaskDecorator(_Decorator):
    """`@task` runs the function and pushes what it returns; below it are the other kinds."""

    def __init__(self) -> None:
        super().__init__(_DecoratedPython)
        self.python = _Decorator(_DecoratedPython)
        self.branch = _Decorator(_DecoratedBranch)
        """The function returns which tasks downstream to follow."""
        self.short_circuit = _Decorator(_DecoratedShortCircuit)
        """A false answer of the function skips what is downstream."""
        self.bash = _Decorator(_DecoratedBash)
        """The function returns a bash command to run."""

    @functools.cached_property
    def run_if(self) -> Conditional:
        """Above `@task`: run only if a condition on the context holds, else be skipped."""
        from orchestrator.sdk.conditions import run_if  # noqa: PLC0415 - few files need it

        return run_if

    @functools.cached_property
    def skip_if(self) -> Conditional:
        """Above `@task`: be skipped if a condition on the context holds."""
        from orchestrator.sdk.conditions import skip_if  # noqa: PLC0415 - few files need it

        return skip_if

    @functools.cached_property
    def sensor(self) -> _Decorator:
        """The function says whether what the task waits for is so."""
        from orchestrator.sdk.sensors import DecoratedSensor  # noqa: PLC0415 - few files need it

        return _Decorator(DecoratedSensor)

    @functools.cached_property
    def external_python(self) -> _Decorator:
        """The function runs in the interpreter at the path `python`."""
        return _other_interpreter("other_interpreters", "DecoratedExternalPython")

    @functools.cached_property
    def branch_external_python(self) -> _Decorator:
        """A branch whose function runs in the interpreter at the path `python`."""
        return _other_interpreter("other_interpreters", "DecoratedBranchExternalPython")

    @functools.cached_property
    def virtualenv(self) -> _Decorator:
        """The function runs in a virtual environment with `requirements`."""
        return _other_interpreter("virtualenv", "DecoratedVirtualenv")

    @functools.cached_property
    def branch_virtualenv(self) -> _Decorator:
        """A branch whose function runs in a virtual environment with `requirements`."""
        return _other_interpreter("virtualenv", "DecoratedBranchVirtualenv")

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(name)  # Python itself asks, and takes this for a no
        raise invalid(
            "@task",
            f"there is no @task.{name} in this version; there are bash, branch, "
            "branch_external_python, branch_virtualenv, external_python, python, sensor, "
            "short_circuit, virtualenv",
        )


def _other_interpreter(module: str, operator: str) -> _Decorator:
    return _Decorator(getattr(import_module(f"orchestrator.sdk.{module}"), operator))


task = _TaskDecorator()


def _free_label(given: Mapping[str, Any]) -> Any:
    """The task id, with a suffix where the same function was called before."""
    scope = current_scope()
    group = given.get("task_group") or (scope.group if scope else None)
    dag = given.get("dag") or (group.dag if group else scope.dag if scope else None)
    label = given["task_id"]
    if dag is None or not isinstance(label, str):
        return label
    full = label if group is None else group.prefixed(label)
    return label + dag.free_id(full)[len(full) :]


def _returns_dict(function: Callable[..., Any]) -> bool:
    """Whether the function says that it returns a dict, by its annotation."""
    try:
        annotation = function.__annotations__.get("return")
        if isinstance(annotation, str):
            holder = SimpleNamespace(__annotations__={"return": annotation})
            scope = getattr(function, "__globals__", {})
            annotation = typing.get_type_hints(holder, globalns=scope)["return"]
    except Exception:  # an annotation is the author's code, and only a hint here
        return False
    kind = typing.get_origin(annotation) or annotation
    return inspect.isclass(kind) and issubclass(kind, dict | Mapping)
