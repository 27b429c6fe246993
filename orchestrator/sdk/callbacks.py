"""Which functions does an author want called when a try or a run comes to its end, and how are
they called?

Each is called with the context, apart from the others: what one raises is logged, and neither
keeps the others from being called nor changes how the task or run has ended.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from orchestrator.core.specs import CallbackKind
from orchestrator.sdk.arguments import Subject, shown_value
from orchestrator.sdk.edges import Uncalled

if TYPE_CHECKING:
    from orchestrator.sdk.context import Context

__all__ = [
    "Callback",
    "CallbackArgument",
    "Callbacks",
    "Delivery",
    "TryTrace",
    "call_each",
    "callback_name",
    "check_callback",
    "freeze_callbacks",
]

Callback = Callable[[Any], Any]
"""A function of the context, or a notifier; an `async def` one is run to its end."""
CallbackArgument = Callback | Sequence[Callback] | None
"""What an `on_..._callback` argument takes."""
Callbacks = Mapping[CallbackKind, tuple[Callback, ...]]

CALLBACKS_MAX = 32
ERROR_LENGTH_MAX = 500


def freeze_callbacks(subject: Subject, given: Mapping[CallbackKind, object]) -> Callbacks:
    """Return the functions of each kind that has any. A kind takes one function or a list."""
    frozen = {}
    for kind, value in given.items():
        functions = _listed(value)
        name = f"on_{kind}_callback"
        if len(functions) > CALLBACKS_MAX:
            raise subject.error(
                f"{name} has {len(functions)} functions; at most {CALLBACKS_MAX} are allowed"
            )
        for function in functions:
            check_callback(function, name=name, subject=subject)
        if functions:
            frozen[kind] = functions
    return MappingProxyType(frozen)


def check_callback(function: object, *, name: str, subject: Subject) -> None:
    """Refuse, at authoring time, what cannot be called with the context."""
    if isinstance(function, Uncalled):
        raise subject.error(
            f"{name} is given {function!r}, a task; give it a plain function of the context"
        )
    if isinstance(function, type) or not callable(function):
        raise subject.error(
            f"{name} is {shown_value(function)}; it must be a function of the context or a "
            "notifier object, or a list of them"
        )
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some builtins do not say what they take
        return
    try:
        signature.bind({})
    except TypeError as error:
        raise subject.error(
            f"{name} is called with one argument, the context, but "
            f"{callback_name(function)}{signature} cannot be: {error}"
        ) from None


def callback_name(function: object) -> str:
    """Return how people know a callback."""
    function = getattr(function, "func", function)  # functools.partial
    return getattr(function, "__name__", type(function).__name__)


class Delivery:
    """One attempt to call a list of functions. What it has completed can be read at any moment,
    also after an interruption."""

    def __init__(
        self, functions: Sequence[Callback], *, delivered: Iterable[int] = (), attempt: int = 1
    ) -> None:
        """`delivered` are the places of those that an earlier attempt has completed."""
        self._functions = functions
        self._attempt = attempt
        self._delivered = set(delivered)
        self._errors: list[str] = []

    @property
    def delivered(self) -> tuple[int, ...]:
        """The places of all functions that have completed."""
        return tuple(sorted(self._delivered))

    @property
    def error(self) -> str | None:
        """What went wrong, if anything did."""
        return "; ".join(self._errors)[:ERROR_LENGTH_MAX] or None

    def call(self, context: Any) -> None:
        """Call what is left. Every second attempt begins at the end: one that hangs or ends its
        process must not keep those behind it from ever being called."""
        left = [place for place in range(len(self._functions)) if place not in self._delivered]
        for place in left if self._attempt % 2 else reversed(left):
            function = self._functions[place]
            try:
                _call(function, context)
            except (Exception, SystemExit) as error:
                from orchestrator.sdk.masking import mask  # noqa: PLC0415 - only when one failed

                name = callback_name(function)
                import logging  # noqa: PLC0415 - slow to import where DAG files are only read

                logging.getLogger("orchestrator.task").exception("the callback %s failed", name)
                said = f"{name}: {type(error).__name__}: {error}".rstrip(": ")
                self._errors.append(mask(said))
            else:
                self._delivered.add(place)


def call_each(functions: Sequence[Callback], context: Any) -> str | None:
    """Call functions with the context; return what went wrong, if anything did."""
    delivery = Delivery(functions)
    delivery.call(context)
    return delivery.error


def _call(function: Callback, context: Any) -> None:
    from orchestrator.sdk.coroutines import finished  # noqa: PLC0415 - only when one is called

    finished(function(context))


def _listed(value: object) -> tuple[Any, ...]:
    if value is None:
        return ()
    if isinstance(value, list | tuple | set | frozenset):
        return tuple(value)
    return (value,)


class TryTrace:
    """What a try had in hand, for those who look at it after its end in the same process."""

    def __init__(self) -> None:
        self.context: Context | None = None
        self.error: BaseException | None = None
        self.ended_at: datetime | None = None
