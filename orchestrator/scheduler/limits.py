"""How much does a scheduler do at a time, and how long does it wait?"""

from dataclasses import dataclass

__all__ = ["SchedulerLimits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerLimits:
    """Bounds of one scheduler process. Those an operator may set have the settings' names."""

    runs_per_tick: int = 64
    """Runs decided in one transaction: bounds how long it holds locks."""
    dags_per_tick: int = 64
    """DAGs planned in one transaction."""
    claims_per_tick: int = 256
    """Task instances handed to the broker in one batch: bounds one publish."""
    ledger_instances_max: int = 200_000
    """Task instances kept in memory between passes (some 100 MB); a run beyond it is read anew."""
    infra_tries_max: int = 3
    """Times a task may lose its worker before it fails for good."""
    republish_s: float = 60.0
    """Wait before an unstarted message is checked for loss; doubled at each look."""
    emptied_queue_s: float = 15.0
    """A task queued for so long on a queue without any message has lost its own: a worker needs far
    less from popping a message to starting its task. Also the least wait between two such looks."""
    looks_before_withdrawal: int = 6
    """After so many looks (half an hour at 60 s) an unstarted task gives its slots back."""
    lease_s: float = 60.0
    """A worker's silence of so long loses its tasks; also the calm needed before reaping."""
    fallback_poll_s: float = 5.0
    """Longest sleep: what a lost doorbell costs."""
    sweep_s: float = 2.0
    """Between two looks for lost workers and lost messages."""
    sweep_batch: int = 500
    """Task instances reaped or republished in one statement."""
    values_sweep_s: float = 600.0
    """Between two looks for large XComs that belong to nothing any more: they cost space only."""
    heartbeat_s: float = 10.0
    """Between two signs of life of this scheduler."""
    outage_wait_max_s: float = 10.0
    """Longest wait between two attempts while the database or the broker is away."""

    @property
    def scheduler_lease_s(self) -> float:
        """Silence after which others may believe this scheduler dead."""
        return 3 * self.heartbeat_s
