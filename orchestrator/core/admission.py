"""Who gets the free slots?

Pools, runs and tasks have limits; queues take only as many messages as their workers will soon
work off, so that priority is decided here and not by who came first to a long queue. Between
tasks of one weight, DAGs take turns: a flood in one never starves another.
"""

import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import heapify, heappop, heappush

from orchestrator.core.concurrency import RateUse, rate_in_words
from orchestrator.core.ids import RunUid, TaskKey, TiId
from orchestrator.core.specs import RateLimit, TaskSpec

QUEUE_MESSAGES_MIN = 64
"""Messages a queue takes however few workers serve it: enough to bridge one scheduler pass."""
MESSAGES_PER_WORKER_SLOT = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A scheduled task instance with the limits it is under. None means no such limit."""

    ti_id: TiId
    key: TaskKey
    run_uid: RunUid
    epoch: int
    pool: str
    pool_slots: int
    priority: int
    """Its place among its own DAG's: its weight and that of its relatives, by its weight rule."""
    queue: str
    """The queue its task names, else its pool's own, else the default one."""
    run_after: datetime
    max_active_tasks: int
    max_active_tis_per_dag: int | None = None
    max_active_tis_per_dagrun: int | None = None
    weight: int = 1
    """The priority_weight its author gave it: what counts between DAGs."""
    concurrency_key: str | None = None
    concurrency_limit: int = 1
    """How many task instances of its key may hold slots at once."""
    rate_name: str | None = None
    """What its rate limit is counted over."""
    rate_limit: RateLimit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """Task instances of one task of one run in one pool and queue that hold slots now."""

    dag_id: str
    run_uid: RunUid
    task_id: str
    pool: str
    queue: str
    count: int
    slots: int
    queued: int
    """How many of `count` wait for a worker (the rest are running)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """Limits as they stand: slots of each pool, worker slots per queue, and who holds what."""

    pools: Mapping[str, int]
    worker_slots: Mapping[str, int]
    holdings: tuple[Holding, ...] = ()
    keys: Mapping[str, int] = field(default_factory=dict)
    """Task instances that hold slots, by concurrency_key."""
    rates: Mapping[str, RateUse] = field(default_factory=dict)
    """Starts of late, by what a rate limit is counted over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Which limit keeps a candidate waiting: `limit` names its kind for grouping and filtering."""

    limit: str
    reason: str


@dataclass(slots=True)
class _Use:
    """What is taken so far, holdings and this pass's admissions together."""

    pools: Counter[str] = field(default_factory=Counter)
    runs: Counter[RunUid] = field(default_factory=Counter)
    tasks: Counter[tuple[str, str]] = field(default_factory=Counter)
    run_tasks: Counter[tuple[RunUid, str]] = field(default_factory=Counter)
    queues: Counter[str] = field(default_factory=Counter)
    dags: Counter[str] = field(default_factory=Counter)
    keys: Counter[str] = field(default_factory=Counter)
    rates: Counter[str] = field(default_factory=Counter)


def admit(candidates: Iterable[Candidate], capacity: Capacity) -> tuple[Candidate, ...]:
    """Return the candidates that get their slots now, in the order to publish them."""
    use = _use_of(capacity)
    admitted: list[Candidate] = []
    for candidate in _in_turn(candidates, use, capacity):
        if _refusal(candidate, capacity, use) is None:
            _take(candidate, use)
            admitted.append(candidate)
    return tuple(admitted)


def refusal(candidate: Candidate, capacity: Capacity) -> Refusal | None:
    """Return the limit that keeps one candidate waiting at this moment, None if none does."""
    return _refusal(candidate, capacity, _use_of(capacity))


def shared_room(
    task: TaskSpec, capacity: Capacity, key: str | None, rate_name: str | None
) -> int | float:
    """Return how many more instances of a task its concurrency_key and its rate limit allow."""
    room: int | float = math.inf
    if key is not None:
        room = task.concurrency_limit - capacity.keys.get(key, 0)
    if rate_name is not None and task.rate_limit is not None:
        used = capacity.rates.get(rate_name)
        room = min(room, task.rate_limit.count - (used.starts if used else 0))
    return room


def next_free_at(
    admitted: Iterable[Candidate], capacity: Capacity, now: datetime
) -> datetime | None:
    """Return when a rate limit lets the next one start, the `admitted` ones counted; None where
    nothing of late counts against one. No event tells of it, so it must be waited for."""
    instants = [use.free_at for use in capacity.rates.values() if use.free_at is not None]
    instants += [
        now + timedelta(seconds=each.rate_limit.per_s) for each in admitted if each.rate_limit
    ]
    return min(instants, default=None)


def messages_per_slot(admitted: Iterable[Candidate], capacity: Capacity) -> float:
    """Return how many messages wait for each worker slot of the least supplied queue that has both
    workers and messages, `admitted` ones included; 0 when no such queue exists."""
    waiting = _use_of(capacity).queues
    waiting.update(candidate.queue for candidate in admitted)
    supplies = [
        waiting[queue] / slots
        for queue, slots in capacity.worker_slots.items()
        if slots and waiting[queue]
    ]
    return min(supplies, default=0.0)


def full_queues(capacity: Capacity) -> tuple[str, ...]:
    """Return, sorted, the queues that take no more messages now."""
    use = _use_of(capacity)
    return tuple(sorted(q for q, waiting in use.queues.items() if waiting >= _room(q, capacity)))


def _use_of(capacity: Capacity) -> _Use:
    use = _Use()
    for holding in capacity.holdings:
        use.pools[holding.pool] += holding.slots
        use.runs[holding.run_uid] += holding.count
        use.tasks[holding.dag_id, holding.task_id] += holding.count
        use.run_tasks[holding.run_uid, holding.task_id] += holding.count
        use.queues[holding.queue] += holding.queued
        use.dags[holding.dag_id] += holding.count
    use.keys.update(capacity.keys)
    use.rates.update({name: rate.starts for name, rate in capacity.rates.items()})
    return use


def _in_turn(candidates: Iterable[Candidate], use: _Use, capacity: Capacity) -> list[Candidate]:
    """Order a DAG's own candidates by priority. Between DAGs the weight that their authors gave the
    tasks counts, not the sums over what stands below them: with the same weight DAGs take turns,
    the one that holds least first. Whose queue no worker serves comes last: it could only sit on
    its slots."""
    lines: dict[tuple[bool, str], deque[Candidate]] = {}
    for candidate in sorted(candidates, key=lambda c: (-c.priority, c.run_after, c.key)):
        is_unserved = not capacity.worker_slots.get(candidate.queue)
        lines.setdefault((is_unserved, candidate.key.dag_id), deque()).append(candidate)
    turns = Counter(use.dags)
    heads = [_rank(line, name, turns) for name, line in lines.items()]
    heapify(heads)
    ordered: list[Candidate] = []
    while heads:
        name = heappop(heads)[-1]
        line = lines[name]
        ordered.append(line.popleft())
        turns[name[1]] += 1
        if line:
            heappush(heads, _rank(line, name, turns))
    return ordered


def _rank(
    line: deque[Candidate], name: tuple[bool, str], turns: Counter[str]
) -> tuple[bool, int, int, int, datetime, TaskKey, tuple[bool, str]]:
    """Where the first of a DAG's line stands among those of the others."""
    is_unserved, dag_id = name
    first = line[0]
    return (
        *(is_unserved, -first.weight, turns[dag_id], -first.priority),
        *(first.run_after, first.key, name),
    )


def _take(candidate: Candidate, use: _Use) -> None:
    key = candidate.key
    use.pools[candidate.pool] += candidate.pool_slots
    use.runs[candidate.run_uid] += 1
    use.tasks[key.dag_id, key.task_id] += 1
    use.run_tasks[candidate.run_uid, key.task_id] += 1
    use.queues[candidate.queue] += 1
    if candidate.concurrency_key is not None:
        use.keys[candidate.concurrency_key] += 1
    if candidate.rate_name is not None:
        use.rates[candidate.rate_name] += 1


def _refusal(candidate: Candidate, capacity: Capacity, use: _Use) -> Refusal | None:
    key, pool = candidate.key, candidate.pool
    slots = capacity.pools.get(pool)
    if slots is None:
        return Refusal(limit="pool", reason=f"pool {pool!r} does not exist; create it")
    if candidate.pool_slots > slots:
        return Refusal(
            limit="pool",
            reason=f"it needs {candidate.pool_slots} slots, pool {pool!r} has {slots} in all",
        )
    if use.pools[pool] + candidate.pool_slots > slots:
        return Refusal(
            limit="pool", reason=f"pool {pool!r} has {use.pools[pool]} of its {slots} slots taken"
        )
    return (
        _over(
            use.runs[candidate.run_uid],
            candidate.max_active_tasks,
            limit="max_active_tasks",
            whose=f"run {key.run_id!r}",
        )
        or _over(
            use.tasks[key.dag_id, key.task_id],
            candidate.max_active_tis_per_dag,
            limit="max_active_tis_per_dag",
            whose=f"task {key.task_id!r}",
        )
        or _over(
            use.run_tasks[candidate.run_uid, key.task_id],
            candidate.max_active_tis_per_dagrun,
            limit="max_active_tis_per_dagrun",
            whose=f"task {key.task_id!r} in this run",
        )
        or _over_key(candidate, use)
        or _over_rate(candidate, capacity, use)
        or _over(
            use.queues[candidate.queue],
            _room(candidate.queue, capacity),
            limit="queue",
            whose=f"queue {candidate.queue!r} (messages waiting)",
        )
    )


def _over(taken: int, allowed: int | None, *, limit: str, whose: str) -> Refusal | None:
    if allowed is None or taken < allowed:
        return None
    return Refusal(limit=limit, reason=f"{whose} has {taken} of {allowed} allowed by {limit}")


def _over_key(candidate: Candidate, use: _Use) -> Refusal | None:
    key = candidate.concurrency_key
    if key is None:
        return None
    return _over(
        use.keys[key],
        candidate.concurrency_limit,
        limit="concurrency_key",
        whose=f"concurrency_key {key!r}",
    )


def _over_rate(candidate: Candidate, capacity: Capacity, use: _Use) -> Refusal | None:
    name, limit = candidate.rate_name, candidate.rate_limit
    if name is None or limit is None or use.rates[name] < limit.count:
        return None
    known = capacity.rates.get(name)
    until = f" until {known.free_at:%H:%M:%S}" if known and known.free_at else ""
    return Refusal(
        limit="rate_limit", reason=f"{name} had {rate_in_words(limit)}, its rate_limit{until}"
    )


def _room(queue: str, capacity: Capacity) -> int:
    return max(QUEUE_MESSAGES_MIN, MESSAGES_PER_WORKER_SLOT * capacity.worker_slots.get(queue, 0))
