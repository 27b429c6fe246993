"""How an `async def` of a task runs: on an event loop of its own, to its end."""

from __future__ import annotations

import inspect
import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Task
    from collections.abc import Coroutine
    from contextlib import AbstractContextManager

__all__ = ["finished"]


def finished(result: Any) -> Any:
    """Return `result`, or if that is a coroutine what it returns in the end.

    What cuts the try short reaches it as a cancellation, like any other in asyncio: it may clean
    up in `finally`, and its own tasks are cancelled with it.
    """
    return _Loop().run(result) if inspect.iscoroutine(result) else result


class _Loop:
    """One event loop, and what interrupted it."""

    def __init__(self) -> None:
        self._interruption: BaseException | None = None
        self._loop: AbstractEventLoop | None = None
        self._main: Task[Any] | None = None

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        import asyncio  # noqa: PLC0415 - slow to import

        try:
            with self._listening():
                result = asyncio.run(self._supervised(coroutine))
        except asyncio.CancelledError as cancelled:
            if self._interruption is None:
                raise
            raise self._interruption.with_traceback(cancelled.__traceback__) from None
        if self._interruption is not None:
            raise self._interruption
        return result

    async def _supervised(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        import asyncio  # noqa: PLC0415 - slow to import

        self._loop, self._main = asyncio.get_running_loop(), asyncio.current_task()
        if self._interruption is not None:
            self._cancel()
        return await coroutine

    def _listening(self) -> AbstractContextManager[None]:
        from orchestrator.sdk.interruption import diverted  # noqa: PLC0415 - only a loop needs it

        is_main = threading.current_thread() is threading.main_thread()
        return diverted(self._receive) if is_main else nullcontext()

    def _receive(self, error: BaseException) -> None:
        self._interruption = error
        if self._loop is not None and not self._loop.is_closed():
            # It may sleep in a system call, from which only a write to its own pipe wakes it.
            self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._main is not None:
            self._main.cancel()
