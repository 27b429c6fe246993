"""A scheduler process: the production object, its sleep, and its death."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from orchestrator.core.lifecycle import Actor
from orchestrator.scheduler.limits import SchedulerLimits
from orchestrator.scheduler.loop import Scheduler
from tests.simulation.broker import Bell, Broker
from tests.simulation.checkers import require
from tests.simulation.faults import SIMULATED, CrashedError, Faults, Faulty

LIMITS = SchedulerLimits(sweep_s=5.0, runs_per_tick=8, claims_per_tick=16, ledger_instances_max=40)
TURN_S = 0.001
"""Virtual time one turn of a scheduler takes at least."""
SCHEDULER_RESTART_S = 3.0


class Surroundings(Protocol):
    """What a scheduler process needs of its world."""

    faults: Faults
    broker: Broker
    bell: Bell

    def monotonic(self) -> float: ...

    def after(self, delay_s: float, action: Callable[[], None], owner: object = None) -> None: ...

    def interleave(self, me: object) -> None: ...

    def acting(self, actor: Actor, action: Callable[[], Any]) -> Any: ...


class SchedulerProcess:
    """One scheduler; comes back under the same name after it died."""

    def __init__(self, world: Surroundings, ports: Any, name: str, *, is_alone: bool) -> None:
        self._world = world
        self._ports = ports
        self._name = name
        self._is_alone = is_alone
        self._scheduler: Scheduler | None = None
        self._sleep = 0
        self._rang = False
        self._acts = False
        self._store: Faulty | None = None

    @property
    def is_alive(self) -> bool:
        return self._scheduler is not None

    def failing(self) -> tuple[str, ...]:
        """What the scheduler says it cannot decide."""
        return self._scheduler.failing() if self._scheduler is not None else ()

    def boot(self) -> None:
        """Start a process that knows nothing of the one before."""
        faults = self._world.faults
        between = lambda: self._world.interleave(self)  # noqa: E731
        ports = self._ports if self._is_alone else _Sociable(self._ports)
        self._store = Faulty(ports, faults, may_crash=True, between=between)
        self._scheduler = Scheduler(
            self._store,
            Faulty(self._world.broker, faults, may_crash=True, is_store=False, between=between),
            self._world.bell,
            LIMITS,
            scheduler_id=self._name,
            jitter=faults.rng.random,
        )
        self._acts = False
        self._wake(rang=True)

    def dies(self, *, restarts_in_s: float = SCHEDULER_RESTART_S) -> None:
        """kill -9."""
        self._scheduler = None
        self._sleep += 1
        self._world.after(restarts_in_s, self.boot, self)

    def hears_the_bell(self) -> None:
        if not self._rang:
            self._rang = True
            if not self._acts:
                self._sleep_until(0.0005)

    def _sleep_until(self, delay_s: float) -> None:
        self._sleep += 1
        number = self._sleep
        self._world.after(delay_s, lambda: self._wake_from(number), self)

    def _wake_from(self, number: int) -> None:
        if number == self._sleep and self.is_alive:
            rang, self._rang = self._rang, False
            self._wake(rang=rang)

    def _wake(self, *, rang: bool) -> None:
        scheduler = self._scheduler
        assert scheduler is not None
        assert not self._acts, "a process does one thing at a time"
        self._acts = True
        try:
            rest_s = self._world.acting(
                Actor.SCHEDULER,
                lambda: scheduler.turn(now_s=self._world.monotonic(), rang=rang),
            )
        except CrashedError:
            self.dies()
            return
        finally:
            self._acts = False
        hindrance = scheduler.hindrance
        require(hindrance is None or SIMULATED in hindrance, "no defect of ours", hindrance)
        self._sleep_until(0.0 if self._rang else max(rest_s, TURN_S))


class _Sociable:
    """SQLite's store with PostgreSQL's manners: it lets a second scheduler in."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    def register_scheduler(self, scheduler_id: str, *, lease_s: float) -> None:
        with suppress(Exception):
            self._target.register_scheduler(scheduler_id, lease_s=lease_s)
