"""How an `async def` of a task runs: on an event loop of its own, to its end."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
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


@contextmanager
def _woken_by_signals(loop: AbstractEventLoop) -> Iterator[None]:
    """Have every signal end the loop's sleep, so that its handler runs. One that arrives just
    before the system call would else be noticed only when something else wakes the loop."""
    import signal  # noqa: PLC0415 - only a loop needs it
    import socket  # noqa: PLC0415 - likewise

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard, told = socket.socketpair()
    with heard, told:
        heard.setblocking(False)
        told.setblocking(False)
        loop.add_reader(heard, heard.recv, 4096)
        before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            loop.remove_reader(heard)


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
        with _woken_by_signals(self._loop):
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
            self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._main is not None:
            self._main.cancel()
