"""What goes wrong, when, and in whose hands: one seeded source of every fault of a world.

A fault point is a call to the store or the broker. Before it and after it the process may die, the
database may refuse, or the answer may be lost after the work was done. Code that dies gets no
second chance: `CrashedError` is no `Exception`, so nothing catches it, as nothing catches kill -9.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import StoreUnavailableError

SIMULATED = "simulated"
"""What every error that is raised on purpose begins with."""


class CrashedError(BaseException):
    """The process is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRates:
    """How often what goes wrong, per call or per message."""

    crash: float = 0.0
    store_error: float = 0.0
    commit_unknown: float = 0.0
    message_lost: float = 0.0
    message_doubled: float = 0.0
    message_delayed: float = 0.0
    publish_unknown: float = 0.0
    worker_crash: float = 0.0
    worker_freeze: float = 0.0
    bell_lost: float = 0.0
    callback_error: float = 0.0


CALM = FaultRates()
ROUGH = FaultRates(
    crash=0.002,
    store_error=0.003,
    commit_unknown=0.003,
    message_lost=0.05,
    message_doubled=0.1,
    message_delayed=0.05,
    publish_unknown=0.02,
    worker_crash=0.02,
    worker_freeze=0.04,
    bell_lost=0.1,
    callback_error=0.1,
)


@dataclass(slots=True)
class Faults:
    """Decides at each point, from one seed, whether something goes wrong there."""

    rng: random.Random
    rates: FaultRates = CALM
    crash_at: int | None = None
    """Crash at exactly this scheduler point (they are counted from 0) and nowhere else."""
    points: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    store_is_down: bool = False
    broker_is_down: bool = False

    def stop(self) -> None:
        """From now on all is well."""
        self.rates = CALM
        self.store_is_down = self.broker_is_down = False

    def happens(self, kind: str) -> bool:
        """Say whether a fault of this kind happens now, and count it."""
        rate: float = getattr(self.rates, kind)
        if rate and self.rng.random() < rate:
            self.seen[kind] += 1
            return True
        return False

    def maybe_refuse(self, name: str) -> None:
        """The database may not answer: nothing is done."""
        if self.store_is_down or self.happens("store_error"):
            raise StoreUnavailableError(f"{SIMULATED}: the database did not answer to {name}")

    def maybe_lose_answer(self, name: str) -> None:
        """The database did it, and nobody is told."""
        if self.happens("commit_unknown"):
            raise StoreUnavailableError(f"{SIMULATED}: the answer to {name} was lost")

    def maybe_crash(self) -> None:
        """The calling process may die here."""
        is_due = self.points == self.crash_at
        self.points += 1
        if is_due or self.happens("crash"):
            raise CrashedError


class Faulty:
    """A port's implementation with a fault point around each of its calls."""

    def __init__(
        self,
        target: Any,
        faults: Faults,
        *,
        may_crash: bool,
        is_store: bool = True,
        between: Callable[[], None] = lambda: None,
    ) -> None:
        self._target = target
        self._faults = faults
        self._may_crash = may_crash
        self._is_store = is_store
        self._between = between
        self._is_in_transaction = False
        self.is_dead = False

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._target, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self._check_alive()
            with self._dying():
                self._let_others_act()
                self._before(name)
                answer = method(*args, **kwargs)
                self._after(name)
                self._let_others_act()
            return answer

        return call

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """A transaction whose begin, statements and commit are fault points."""
        self._check_alive()
        with self._dying():
            self._let_others_act()
            self._is_in_transaction = True
            try:
                with self._target.transaction() as inner:
                    yield _FaultyTransaction(inner, self)
                    self.point("commit")
            finally:
                self._is_in_transaction = False
            self._after("commit")
            self._let_others_act()

    def point(self, name: str) -> None:
        """A fault point inside a transaction: failing here undoes it."""
        self._check_alive()
        with self._dying():
            self._before(name)

    def _let_others_act(self) -> None:
        if not self._is_in_transaction:
            self._between()

    def _before(self, name: str) -> None:
        if self._may_crash:
            self._faults.maybe_crash()
        if self._is_store:
            self._faults.maybe_refuse(name)

    def _after(self, name: str) -> None:
        if self._may_crash:
            self._faults.maybe_crash()
        if self._is_store:
            self._faults.maybe_lose_answer(name)

    def _check_alive(self) -> None:
        """A dead process calls nobody, even while its stack unwinds."""
        if self.is_dead:
            raise CrashedError

    @contextmanager
    def _dying(self) -> Iterator[None]:
        try:
            yield
        except CrashedError:
            self.is_dead = True
            raise


class _FaultyTransaction:
    def __init__(self, target: Any, faulty: Faulty) -> None:
        self._target = target
        self._faulty = faulty

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._target, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self._faulty.point(name)
            return method(*args, **kwargs)

        return call
