"""One random world from its seed: what is in it, what goes wrong in it, and how it is judged."""

import random
from typing import Any

from tests.simulation.checkers import InvariantBrokenError, require
from tests.simulation.faults import CALM, ROUGH, FaultRates
from tests.simulation.programs import random_program
from tests.simulation.world import World

FAULTY_S = 480.0
"""Virtual time with faults; then they stop."""
QUIET_WITHIN_S = 3600.0
"""I10: lease + republishing + retries + the work itself, at the smallest limits a program draws."""
POOLS = {"small": 2, "wide": 8}


def journey(
    seed: int,
    *,
    rates: FaultRates | None = None,
    schedulers: int | None = None,
) -> World:
    """Return the world of a seed at its beginning."""
    rng = random.Random(f"{seed}/world")
    count = rng.choice([1, 2, 3, 4])
    programs = [random_program(rng, f"d{n}", lasts_s=FAULTY_S) for n in range(count)]
    world = World(
        seed,
        programs,
        rates=rates if rates is not None else rng.choice([CALM, ROUGH, ROUGH, ROUGH, ROUGH]),
        schedulers=schedulers or rng.choice([1, 1, 2]),
        workers=rng.choice([1, 2, 3]),
        pools=POOLS,
    )
    if world.faults.rates is not CALM:
        _plan_disasters(world, rng)
    return world


def simulate(seed: int, **options: Any) -> World:
    """Live through a seed's world to its end; what breaks names the command that repeats it."""
    world = journey(seed, **options)
    try:
        world.run_for(FAULTY_S)
        world.faults.stop()
        world.run_until_quiet(QUIET_WITHIN_S)
        world.run_until_settled(QUIET_WITHIN_S)
        world.check_ends()
        for scheduler in world.schedulers:
            require(not scheduler.failing(), "no defect of ours", scheduler.failing())
    except InvariantBrokenError as error:
        raise InvariantBrokenError(f"{error}\nrepeat it with: make simulate SEED={seed}") from error
    return world


def _plan_disasters(world: World, rng: random.Random) -> None:
    """Whole servers go away for a while."""
    if rng.random() < 0.5:
        world.after(rng.uniform(10, FAULTY_S), world.broker.flush)
    for name, longest_s in (("store_is_down", 150.0), ("broker_is_down", 90.0)):
        if rng.random() < 0.5:
            begins_s = rng.uniform(10, FAULTY_S - longest_s)
            _between(world, name, begins_s, begins_s + rng.uniform(1, longest_s))


def _between(world: World, name: str, begins_s: float, ends_s: float) -> None:
    world.after(begins_s, lambda: setattr(world.faults, name, True))
    world.after(ends_s, lambda: setattr(world.faults, name, False))
