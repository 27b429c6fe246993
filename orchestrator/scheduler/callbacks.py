"""Which callbacks are owed a message, and which deadlines have passed?

A worker runs the callback of a try that it ended itself; everything else is sent from here: what
the end of a run owes, what a lost or abandoned try does, missed deadlines, and callbacks whose
worker died or whose attempt failed.
"""

import structlog

from orchestrator.ports import SchedulerStore
from orchestrator.scheduler.dispatch import Dispatch
from orchestrator.scheduler.limits import SchedulerLimits

__all__ = ["CallbackPost"]

_log = structlog.get_logger(__name__)


class CallbackPost:
    """Sends callbacks; holds no truth of its own."""

    def __init__(
        self, store: SchedulerStore, dispatch: Dispatch, *, limits: SchedulerLimits
    ) -> None:
        self._store = store
        self._dispatch = dispatch
        self._limits = limits

    def send(self) -> None:
        """Send what is due now."""
        due = self._store.lease_callbacks(
            limit=self._limits.sweep_batch, republish_after_s=self._limits.republish_s
        )
        if due.missed_deadlines:
            _log.warning("deadlines_missed", count=due.missed_deadlines)
        for callback_id in due.given_up:
            _log.error(
                "callback_failed",
                callback_id=str(callback_id),
                cure="its worker died with it each time; `orchestrator callbacks list` says more",
            )
        self._dispatch.send(due.messages)
