"""When may a process that has SQLite open fork?

SQLite remembers in memory which locks its process holds. A child forked with a connection open
believes in locks it does not have, and the commits it then makes can be lost with the write-ahead
log. So a fork waits until no thread uses the database, and closes what is open.
"""

import os
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FORK_WAIT_S = 10.0
"""How long a fork waits for statements under way: longer than any transaction of ours."""


class ForkGate:
    """Counts who uses a database; a fork goes through when nobody does."""

    def __init__(self, close_idle: Callable[[], None]) -> None:
        self._close_idle = close_idle
        self._changed = threading.Condition()
        self._users: Counter[int] = Counter()
        gate = weakref.ref(self)
        os.register_at_fork(
            before=lambda: _with(gate, ForkGate._shut),
            after_in_parent=lambda: _with(gate, ForkGate._open),
            after_in_child=lambda: _with(gate, ForkGate._reset),
        )

    @contextmanager
    def use(self) -> Iterator[None]:
        """Keep forks of other threads out while the block runs."""
        thread = threading.get_ident()
        with self._changed:
            self._users[thread] += 1
        try:
            yield
        finally:
            with self._changed:
                self._users[thread] -= 1
                if not self._users[thread]:
                    del self._users[thread]
                self._changed.notify_all()

    def _shut(self) -> None:
        self._changed.acquire()
        self._changed.wait_for(self._is_free, FORK_WAIT_S)
        self._close_idle()

    def _is_free(self) -> bool:
        return not self._users.keys() - {threading.get_ident()}

    def _open(self) -> None:
        self._changed.release()

    def _reset(self) -> None:
        self._changed = threading.Condition()
        self._users.clear()


def _with(gate: "weakref.ref[ForkGate]", act: Callable[[ForkGate], None]) -> None:
    known = gate()
    if known is not None:
        act(known)
