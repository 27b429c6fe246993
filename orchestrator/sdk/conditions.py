"""Does a task run at all? A condition that is asked right before it would."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.sdk.callsite import invalid
from orchestrator.sdk.exceptions import SkipException

if TYPE_CHECKING:
    from orchestrator.sdk.context import Context
    from orchestrator.sdk.decorators import TaskFunction

__all__ = ["Conditional", "run_if", "skip_if"]

Condition = Callable[["Context"], "bool | tuple[bool, str | None]"]


class Conditional(Protocol):
    """Makes a decorator of a condition."""

    def __call__(
        self, condition: Condition, skip_message: str | None = None
    ) -> Callable[[TaskFunction], TaskFunction]:
        """Return what makes a task function conditional."""


def run_if(
    condition: Condition, skip_message: str | None = None
) -> Callable[[TaskFunction], TaskFunction]:
    """Decorate a task function (above `@task`): it is skipped unless `condition(context)` is true.

    The condition may return a pair, its answer and what to say when the task is skipped.
    """
    _check(condition, "run_if")
    return lambda function: _guarded(
        function, _Guard(condition, skip_message, name="run_if", runs_on=True)
    )


def skip_if(
    condition: Condition, skip_message: str | None = None
) -> Callable[[TaskFunction], TaskFunction]:
    """Decorate a task function (above `@task`): it is skipped if `condition(context)` is true."""
    _check(condition, "skip_if")
    return lambda function: _guarded(
        function, _Guard(condition, skip_message, name="skip_if", runs_on=False)
    )


class _Guard:
    """Asks one condition before a task's own `pre_execute`, if it has one."""

    def __init__(
        self, condition: Condition, message: str | None, *, name: str, runs_on: bool
    ) -> None:
        self._condition = condition
        self._message = message
        self._name = name
        self._runs_on = runs_on
        self.then: Callable[[Context], Any] | None = None

    def __call__(self, context: Context) -> None:
        answer: Any = self._condition(context)
        message = self._message
        if isinstance(answer, tuple):
            answer, said = answer
            message = said or message
        if bool(answer) is not self._runs_on:
            asked = getattr(self._condition, "__name__", "condition").strip("<>")
            raise SkipException(message or f"{self._name}: {asked} is {bool(answer)}")
        if self.then is not None:
            self.then(context)


def _guarded(function: TaskFunction, guard: _Guard) -> TaskFunction:
    from orchestrator.sdk.decorators import TaskFunction  # noqa: PLC0415 - it needs this module

    if not isinstance(function, TaskFunction):
        raise invalid(
            f"@task.{guard._name}",
            f"{function!r} is no task function yet; put @task.{guard._name} above @task",
        )
    guard.then = function.operator_arguments.get("pre_execute")
    return function.override(pre_execute=guard)


def _check(condition: object, name: str) -> None:
    if not callable(condition):
        raise invalid(
            f"@task.{name}", f"the condition is {condition!r}; it must be a function of the context"
        )
