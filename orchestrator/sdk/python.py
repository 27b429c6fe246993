"""Tasks that call a Python function, and what its answer decides."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from orchestrator.core.specs import DagSpec
from orchestrator.sdk.context import CONTEXT_KEYS, Context
from orchestrator.sdk.coroutines import finished
from orchestrator.sdk.edges import Uncalled
from orchestrator.sdk.exceptions import TaskException
from orchestrator.sdk.operators import BaseOperator
from orchestrator.sdk.references import XComArg

if TYPE_CHECKING:
    from orchestrator.sdk.arguments import Subject

__all__ = [
    "BaseBranchOperator",
    "BranchPythonOperator",
    "PythonOperator",
    "ShortCircuitOperator",
]


class PythonOperator(BaseOperator):
    """Calls `python_callable(*op_args, **op_kwargs)`.

    Arguments of the function that are named like an entry of the context (`ti`, `ds`, `params` ...)
    are filled in; a `**kwargs` receives the whole context.
    """

    template_fields: Sequence[str] = ("templates_dict", "op_args", "op_kwargs")

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Sequence[Any] | XComArg | None = None,
        op_kwargs: Mapping[str, Any] | XComArg | None = None,
        templates_dict: Mapping[str, Any] | None = None,
        templates_exts: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if templates_exts:
            self.template_ext = self._extensions(templates_exts)
        if not callable(python_callable):
            raise self.subject.error(
                f"python_callable is {python_callable!r}; it must be a function"
            )
        self.python_callable = python_callable
        self.op_args: Any = () if op_args is None else op_args
        self.op_kwargs: Any = {} if op_kwargs is None else op_kwargs
        self.templates_dict = templates_dict
        if isinstance(self.op_args, list | tuple) and isinstance(self.op_kwargs, dict):
            check_call(python_callable, self.op_args, self.op_kwargs, self.subject)

    def _extensions(self, given: Sequence[str]) -> tuple[str, ...]:
        """Endings of texts that name a template file, as in `(".sql", ".j2")`."""
        if isinstance(given, str) or not all(str(each).startswith(".") for each in given):
            raise self.subject.error(
                f"templates_exts is {given!r}; it must be a list of endings such as ['.sql']"
            )
        return tuple(given)

    def execute(self, context: Context) -> Any:
        """Call the function."""
        if self.templates_dict is not None:
            context["templates_dict"] = self.templates_dict
        return call(self.python_callable, tuple(self.op_args), dict(self.op_kwargs), context)


class BaseBranchOperator(BaseOperator):
    """Decides which of the tasks downstream run: define `choose_branch(context)`, returning a task
    or group id, several, or None for none of them."""

    def choose_branch(self, context: Context) -> Any:
        """Return the id or ids to follow."""
        raise NotImplementedError(f"{type(self).__name__} does not define choose_branch(context)")

    def execute(self, context: Context) -> Any:
        """Choose; the choice is pushed as the returned value."""
        chosen = finished(self.choose_branch(context))
        return sorted(chosen) if isinstance(chosen, set | frozenset) else chosen

    def skipped_by(self, result: Any, dag: DagSpec) -> tuple[str, ...]:
        """The direct downstream tasks that were not chosen."""
        from orchestrator.sdk.branching import (  # noqa: PLC0415 - for a task that has decided
            tasks_not_chosen,
        )

        return tasks_not_chosen(result, task_id=self.task_id, dag=dag, id_prefix=self.id_prefix)


class BranchPythonOperator(BaseBranchOperator, PythonOperator):
    """Calls a function that returns the task or group id (or ids) to follow."""

    def choose_branch(self, context: Context) -> Any:
        """Ask the function."""
        return PythonOperator.execute(self, context)


class ShortCircuitOperator(PythonOperator):
    """Calls a function; a false answer skips every task downstream, or with
    `ignore_downstream_trigger_rules=False` only the direct ones, so that later ones may still run
    as their trigger rules say."""

    def __init__(self, *, ignore_downstream_trigger_rules: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ignore_downstream_trigger_rules = self.subject.flag(
            "ignore_downstream_trigger_rules", ignore_downstream_trigger_rules
        )

    def skipped_by(self, result: Any, dag: DagSpec) -> tuple[str, ...]:
        """Nothing after a true answer."""
        if result:
            return ()
        from orchestrator.sdk.branching import (  # noqa: PLC0415 - for a task that has decided
            tasks_cut_off,
        )

        return tasks_cut_off(
            task_id=self.task_id, dag=dag, all_descendants=self.ignore_downstream_trigger_rules
        )


def check_call(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    subject: Subject,
) -> None:
    """Refuse, at authoring time, arguments that the function cannot be called with."""
    signature = _signature(function)
    if signature is None:
        return
    name = getattr(function, "__name__", repr(function))
    for parameter in signature.parameters.values():
        if parameter.name in CONTEXT_KEYS and parameter.default not in (
            None,
            inspect.Parameter.empty,
        ):
            raise subject.error(
                f"{name}() gives its argument {parameter.name!r} the default "
                f"{parameter.default!r}, but that name is filled in from the context; rename it or "
                "make the default None"
            )
    for value in (*args, *kwargs.values()):
        _refuse_unfinished(value, name, subject)
    try:
        bound = signature.bind_partial(*args, **kwargs)
    except TypeError as error:
        raise subject.error(f"{name}{signature}: {error}") from None
    missing = [
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        and parameter.name not in bound.arguments
        and parameter.name not in CONTEXT_KEYS
    ]
    if missing:
        raise subject.error(f"{name}{signature}: missing a required argument: {missing[0]!r}")


def _refuse_unfinished(value: Any, name: str, subject: Subject) -> None:
    """Refuse a task, or what is not yet one, where its output must be meant."""
    if isinstance(value, Uncalled):
        raise subject.error(
            f"{name}() is given {value!r}, a function that was not called; pass the output of a "
            f"task: {value.__name__}(...)"
        )
    if isinstance(value, BaseOperator):
        raise subject.error(
            f"{name}() is given the task {value.task_id!r} itself; pass its output: "
            f"{value.task_id}.output"
        )
    if isinstance(value, list | tuple):
        for each in value:
            _refuse_unfinished(each, name, subject)


def call(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], context: Context
) -> Any:
    """Call a task's function, its context arguments filled in; run it to its end if it is async."""
    signature = _signature(function)
    if signature is not None:
        kwargs = {**_context_arguments(signature, args, kwargs, context), **kwargs}
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            name = getattr(function, "__name__", repr(function))
            raise TaskException(f"{name}{signature} cannot be called: {error}") from None
    return finished(function(*args, **kwargs))


def _context_arguments(
    signature: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any], context: Context
) -> dict[str, Any]:
    parameters = signature.parameters
    given = {*kwargs, *list(parameters)[: len(args)]}
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        positional_only = {
            each.name for each in parameters.values() if each.kind is each.POSITIONAL_ONLY
        }
        return {name: context[name] for name in context if name not in given | positional_only}
    return {name: context[name] for name in parameters if name in context and name not in given}


@lru_cache(maxsize=1024)
def _cached_signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):  # some builtins do not say what they take
        return None


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return _cached_signature(function)
    except TypeError:  # a callable object that cannot be hashed
        return _cached_signature.__wrapped__(function)
