"""How a try whose process died gets its end into the store, however long the store is away."""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from orchestrator.core.outcomes import Failed
from orchestrator.ports import Doorbell, WorkerStore
from workers.board import Phase, SlotView
from workers.execute import conclude_try
from workers.log_shipping import LogShipper

__all__ = ["Obituaries"]

_log = structlog.get_logger("orchestrator.worker")


@dataclass(frozen=True, slots=True)
class _Obituary:
    """A dead try. Without a reason nothing is reported: it was cancelled or is handed back."""

    view: SlotView
    reason: str | None


class Obituaries:
    """The tries of dead children that the store has not heard of, oldest first."""

    def __init__(
        self,
        *,
        worker_id: str,
        lease_s: float,
        doorbell: Doorbell,
        shipper: LogShipper,
        on_done: Callable[[SlotView], None],
    ) -> None:
        """`on_done` is told when nothing more is owed for a slot."""
        self._worker_id = worker_id
        self._lease_s = lease_s
        self._doorbell = doorbell
        self._shipper = shipper
        self._on_done = on_done
        self._open: list[_Obituary] = []

    def add(self, view: SlotView, *, reason: str | None) -> None:
        """Take over the try that a dead child had."""
        self._open.append(_Obituary(view, reason))

    def __len__(self) -> int:
        return len(self._open)

    def settle(self, store: WorkerStore) -> None:
        """Ship and report what is owed, in this order: a try that has ended has all its log.
        StoreUnavailableError leaves the rest for the next call."""
        while self._open:
            first = self._open[0]
            if first.view.try_number:
                self._shipper.finish(store, first.view)
            if first.reason is not None:
                self._report(store, first.view, first.reason)
            self._on_done(first.view)
            del self._open[0]

    def _report(self, store: WorkerStore, view: SlotView, reason: str) -> None:
        """Fail the try if it is still ours."""
        key = view.ti_id, view.epoch
        if view.phase is Phase.STARTING and key not in store.beat(
            self._worker_id, lease_s=self._lease_s
        ):
            return  # it had not started: its message will come again
        assignment = store.start(
            view.ti_id,
            view.epoch,
            worker_id=self._worker_id,
            pid=view.pid,
            lease_s=self._lease_s,
        )
        if assignment is None:
            return
        conclusion = conclude_try(assignment, Failed(reason=reason))
        if not store.finish(assignment, conclusion, worker_id=self._worker_id, xcoms={}):
            return
        self._doorbell.ring()
        _log.warning(
            "task_process_died",
            key=str(assignment.key),
            try_number=assignment.try_number,
            state=str(conclusion.state),
            reason=reason,
        )
