"""How does what cuts a try short (a cancellation, its time limit) reach the code that runs?

By an exception, raised where the code is. An event loop would lose it in whatever task of its own
is on at that moment; so while one runs, it is told instead, and cancels the task's coroutine.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["diverted", "interrupt"]

_divert: list[Callable[[BaseException], None]] = []


def interrupt(error: BaseException) -> None:
    """Raise `error` here, or hand it to who has asked for it. Called in a signal handler."""
    if _divert:
        _divert[-1](error)
    else:
        raise error


@contextmanager
def diverted(receive: Callable[[BaseException], None]) -> Iterator[None]:
    """Have interruptions handed to `receive` in this block. For the main thread: signals arrive
    there."""
    _divert.append(receive)
    try:
        yield
    finally:
        _divert.pop()
