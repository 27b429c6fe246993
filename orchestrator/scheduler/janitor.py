"""What has been lost: a worker with its tasks, or a message on its way?

Both are found in SQL. A lease that ended gives its task to another try; a queued task whose message
is missing on the broker is published again. A repeated message is harmless, a repeated try is not,
so republishing is eager and reaping is patient.
"""

from collections import Counter
from collections.abc import Sequence

import structlog

from orchestrator.errors import OperatorError, StoreUnavailableError
from orchestrator.ports import SchedulerStore, TaskMessage
from orchestrator.scheduler.dispatch import Dispatch
from orchestrator.scheduler.limits import SchedulerLimits

__all__ = ["Janitor"]

_log = structlog.get_logger(__name__)


class Janitor:
    """Sweeps on the loop's cadence; holds no truth of its own."""

    def __init__(
        self, store: SchedulerStore, dispatch: Dispatch, *, limits: SchedulerLimits
    ) -> None:
        self._store = store
        self._dispatch = dispatch
        self._limits = limits
        self._emptied_due_s = float("-inf")
        self._values_due_s = float("-inf")

    def sweep(self, *, now_s: float, may_reap: bool) -> None:
        """Look once for lost tasks and lost messages. `may_reap` is False after an outage until
        live workers have had the time to renew their leases; who signed off is gone anyway."""
        self._reap(spares_leases=not may_reap)
        if self._dispatch.probe(now_s):
            self._look_at_emptied_queues(now_s)
            self._reconcile()
            self._withdraw()
        self._sweep_values(now_s)

    def _reap(self, *, spares_leases: bool) -> None:
        reaped = self._store.reap(
            infra_tries_max=self._limits.infra_tries_max,
            limit=self._limits.sweep_batch,
            spares_leases=spares_leases,
        )
        for worker in reaped.offline_workers:
            _log.warning("worker_lost", worker=worker)
        if reaped.lost:
            _log.warning("tasks_lost", count=len(reaped.lost), ti_ids=[str(t) for t in reaped.lost])

    def _sweep_values(self, now_s: float) -> None:
        if now_s < self._values_due_s:
            return
        self._values_due_s = now_s + self._limits.values_sweep_s
        try:
            swept = self._store.sweep_values(limit=self._limits.sweep_batch)
        except StoreUnavailableError:
            raise
        except OperatorError as error:  # where files lie that are not the database
            _log.warning("values_not_swept", reason=str(error))
        else:
            if swept:
                _log.info("values_swept", count=swept)

    def _look_at_emptied_queues(self, now_s: float) -> None:
        """Workers that stand idle are no time to wait for a look that was put off: while a queue is
        long its depth hides a lost message, once it is empty nothing does."""
        if now_s < self._emptied_due_s:
            return
        queued = self._store.queued_by_queue()
        depths = self._dispatch.depths(sorted(queued)) if queued else {}
        emptied = [] if depths is None else [q for q in sorted(queued) if not depths.get(q)]
        if emptied:
            wait_s = self._limits.emptied_queue_s
            self._store.expire_published(emptied, queued_for_s=wait_s)
            self._emptied_due_s = now_s + wait_s

    def _reconcile(self) -> None:
        if self._dispatch.in_doubt:
            count = self._store.expire_all_published()
            self._store.expire_published_callbacks()
            if count:
                _log.info("queued_tasks_checked", count=count)
            self._dispatch.in_doubt = False
        while not self._dispatch.in_doubt:
            due = self._store.lease_undelivered(
                limit=self._limits.sweep_batch, republish_after_s=self._limits.republish_s
            )
            if due:
                self._republish(due)
            if len(due) < self._limits.sweep_batch:
                return

    def _republish(self, due: Sequence[TaskMessage]) -> None:
        """Send what is missing. A queue on which as many messages wait as SQL has tasks queued is
        only slow: sending again would double a backlog."""
        depths = self._dispatch.depths(sorted({message.queue for message in due}))
        if depths is None:
            return
        queued = self._store.queued_by_queue()
        missing = [m for m in due if depths.get(m.queue, 0) < queued.get(m.queue, 0)]
        if missing:
            _log.warning(
                "messages_republished", queues=dict(Counter(message.queue for message in missing))
            )
            self._dispatch.send(missing)

    def _withdraw(self) -> None:
        withdrawn = self._store.withdraw_undelivered(
            looks_min=self._limits.looks_before_withdrawal, limit=self._limits.sweep_batch
        )
        if withdrawn:
            _log.warning(
                "tasks_undeliverable",
                count=len(withdrawn),
                ti_ids=[str(ti_id) for ti_id in withdrawn],
                cure="no worker starts them: is one serving their queue?",
            )
