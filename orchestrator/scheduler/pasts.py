"""Does a run's ledger know how the run before it stands?

Only DAGs with tasks that depend on the past pay for it, and states are read again only when the run
before has another revision than was told.
"""

from functools import lru_cache
from weakref import WeakKeyDictionary

from orchestrator.core.graph import Graph
from orchestrator.core.ids import RunUid
from orchestrator.core.past import PreviousRun, blocked_tasks, looked_at, needs_past
from orchestrator.core.scheduling import RunLedger
from orchestrator.core.specs import TaskSpec
from orchestrator.core.states import TaskState
from orchestrator.ports import DueRun, Predecessor, SchedulerTransaction

__all__ = ["Pasts"]

GRAPHS_MAX = 256
"""As many graphs are looked through once only."""
BUSY_WAIT_S = 0.05
"""Until a run is looked at again whose predecessor another scheduler is deciding."""


class Pasts:
    """What each ledger was told last."""

    def __init__(self) -> None:
        self._told: WeakKeyDictionary[RunLedger, tuple[RunUid, int] | None] = WeakKeyDictionary()

    def tell(self, transaction: SchedulerTransaction, run: DueRun, ledger: RunLedger) -> bool:
        """Tell a ledger what has changed in the run before; False when that cannot be known at the
        moment, so that nothing may be decided."""
        graph = ledger.graph
        tasks = _looking_back(graph)
        if not tasks:
            return True
        before = transaction.lock_predecessor(run, skips_manual=graph.spec.catchup)
        if before is not None and not before.is_locked:
            return False
        key = None if before is None else (before.uid, before.revision)
        if ledger not in self._told or self._told[ledger] != key:
            previous = None if before is None else _read(transaction, before, graph)
            ledger.learn_past(blocked_tasks(tasks, graph, previous))
            self._told[ledger] = key
        return True


@lru_cache(maxsize=GRAPHS_MAX)
def _looking_back(graph: Graph) -> tuple[TaskSpec, ...]:
    return tuple(task for task in graph.tasks.values() if needs_past(task))


def _read(transaction: SchedulerTransaction, before: Predecessor, graph: Graph) -> PreviousRun:
    wanted = looked_at(_looking_back(graph), graph)
    if before.has_instances:
        states = transaction.states_of_tasks(before.uid, sorted(wanted))
    else:  # they are made when it starts
        states = dict.fromkeys(wanted, frozenset({TaskState.NONE}))
    return PreviousRun(run_id=before.run_id, states=states)
