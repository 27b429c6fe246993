from orchestrator.core.ids import RunUid
from orchestrator.scheduler.ledgers import LedgerCache
from tests.builders import a_dag, a_ledger, a_task, uuid_of

ONE, TWO, THREE = (RunUid(uuid_of(name)) for name in ("one", "two", "three"))
OF_TWO_TASKS = a_dag(a_task("a"), a_task("b"))


def test_a_ledger_is_found_at_its_revision_and_only_once() -> None:
    cache = LedgerCache(instances_max=10)
    ledger = a_ledger(OF_TWO_TASKS)
    cache.keep(ONE, ledger, revision=7)

    assert cache.take(ONE, revision=7) is ledger
    assert cache.take(ONE, revision=7) is None


def test_a_ledger_of_another_revision_is_forgotten() -> None:
    cache = LedgerCache(instances_max=10)
    cache.keep(ONE, a_ledger(OF_TWO_TASKS), revision=7)

    assert cache.take(ONE, revision=8) is None
    assert cache.take(ONE, revision=7) is None


def test_the_bound_counts_task_instances_and_the_least_recently_used_goes_first() -> None:
    cache = LedgerCache(instances_max=4)
    ledgers = {uid: a_ledger(OF_TWO_TASKS) for uid in (ONE, TWO, THREE)}
    cache.keep(ONE, ledgers[ONE], revision=1)
    cache.keep(TWO, ledgers[TWO], revision=1)
    cache.take(ONE, revision=1)
    cache.keep(ONE, ledgers[ONE], revision=2)
    cache.keep(THREE, ledgers[THREE], revision=1)

    assert cache.take(TWO, revision=1) is None
    assert cache.take(ONE, revision=2) is ledgers[ONE]
    assert cache.take(THREE, revision=1) is ledgers[THREE]


def test_a_run_larger_than_the_bound_is_kept_while_it_is_the_latest() -> None:
    cache = LedgerCache(instances_max=1)
    huge = a_ledger(OF_TWO_TASKS)
    cache.keep(ONE, huge, revision=1)

    assert cache.take(ONE, revision=1) is huge
