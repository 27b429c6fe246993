"""Random installations, random faults: whatever the seed, no invariant breaks, all runs end."""

from tests.simulation.journeys import journey, simulate


def test_every_invariant_holds_and_every_run_ends_as_the_core_says(seed: int) -> None:
    simulate(seed)


def test_the_same_seed_writes_the_same_history_and_another_seed_another() -> None:
    history = simulate(7).observer.digest()

    assert simulate(7).observer.digest() == history
    assert simulate(8).observer.digest() != history


def test_the_random_worlds_are_not_all_alike() -> None:
    worlds = [journey(seed) for seed in range(40)]

    assert {len(world.schedulers) for world in worlds} == {1, 2}
    assert len({len(world.programs) for world in worlds}) > 1
