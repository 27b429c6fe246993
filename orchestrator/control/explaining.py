"""Why is this task instance not running, as asked by a person?"""

from orchestrator.control.ports import ReasonStore
from orchestrator.core.admission import Capacity
from orchestrator.core.explain import Subject, explain
from orchestrator.core.graph import build_graph
from orchestrator.core.ids import UNMAPPED, Slot
from orchestrator.core.past import blocked_tasks, needs_past
from orchestrator.core.reasons import TaskInstanceFacts
from orchestrator.core.scheduling import RunLedger
from orchestrator.core.states import TaskState

__all__ = ["explain_task_instance"]


def explain_task_instance(
    store: ReasonStore, dag_id: str, run_id: str, task_id: str, *, map_index: int = UNMAPPED
) -> tuple[str, ...]:
    """Return sentences that say what a task instance waits for, the most telling first; for a
    finished one, how it ended. Raise NotFoundError naming what does not exist."""
    around = store.surroundings_if_queued(dag_id, run_id, task_id)
    if around is not None:
        # Its task instances are made when the run starts: what it waits for is the run.
        waiting = Subject(slot=Slot(task_id, map_index), state=TaskState.NONE, queue="")
        return explain(waiting, None, Capacity(pools={}, worker_slots={}), around)
    facts = store.task_instance_facts(dag_id, run_id, task_id, map_index=map_index)
    return explain(_subject(facts), _ledger(facts), facts.capacity, facts.around)


def _subject(facts: TaskInstanceFacts) -> Subject:
    seen = facts.task_instance
    return Subject(
        slot=Slot(seen.key.task_id, seen.key.map_index),
        state=seen.state,
        queue=seen.queue,
        reason=seen.reason,
        eligible_at=seen.eligible_at,
        queued_at=seen.queued_at,
        started_at=seen.started_at,
        worker=seen.worker_id,
        try_number=seen.try_number,
        candidate=facts.candidate,
    )


def _ledger(facts: TaskInstanceFacts) -> RunLedger | None:
    if facts.run_started_at is None:
        return None
    graph = build_graph(facts.spec)
    ledger = RunLedger(graph, facts.instances, started_at=facts.run_started_at)
    ledger.learn_past(blocked_tasks(filter(needs_past, facts.spec.tasks), graph, facts.previous))
    return ledger
