"""Tasks that only the newest run of a schedule shall do: catching up, older runs skip them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.core.states import RunType
from orchestrator.core.timetables import next_tick
from orchestrator.sdk.python import BaseBranchOperator
from orchestrator.sdk.services import current_services

if TYPE_CHECKING:
    from orchestrator.sdk.context import Context

__all__ = ["LatestOnlyOperator"]

_ASKED_FOR = frozenset({RunType.MANUAL, RunType.OPERATOR_TRIGGERED})


class LatestOnlyOperator(BaseBranchOperator):
    """Skips its direct downstream tasks unless the run is the latest of the schedule: none that
    came after it is due. In a run that somebody asked for they are always followed."""

    def choose_branch(self, context: Context) -> list[str]:
        """Follow all direct downstream tasks, or none."""
        run, dag = context["dag_run"], context["dag"]
        followed = sorted(self.downstream_task_ids)
        if run.run_type in _ASKED_FOR:
            self.log.info("somebody asked for this run: going on")
            return followed
        now = current_services().clock.now()
        following = next_tick(
            dag.schedule,
            last_tick_at=run.data_interval_end or run.run_after,
            start_date=None,
            end_date=dag.end_date,
            catchup=True,
            now=now,
        )
        if following is None or now <= following.run_after:
            self.log.info("this is the latest run: going on")
            return followed
        self.log.info("a later run was due at %s: skipping", following.run_after.isoformat())
        return []
