"""May a task run, given how its direct upstream task instances ended?

The verdict is a function of how *all* upstream instances end. It is given before the last of them
has finished only where no later ending could change it, so the order of completion never matters
(a failure dominates a skip whatever came first).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from orchestrator.core.specs import TriggerRule
from orchestrator.core.states import FINISHED_TASK_STATES, TaskState


class Verdict(StrEnum):
    """What a trigger rule says."""

    WAIT = "wait"
    RUN = "run"
    SKIP = "skip"
    UPSTREAM_FAILED = "upstream_failed"
    FAIL = "fail"
    """No rule says so: what a task is mapped over cannot be mapped over."""


@dataclass(slots=True)
class Tally:
    """How many upstream task instances there are, and how many ended how.

    A removed instance is no longer an upstream: it counts neither as needed nor as done.
    """

    total: int = 0
    success: int = 0
    failed: int = 0
    skipped: int = 0
    upstream_failed: int = 0
    removed: int = 0

    def count(self, state: TaskState, by: int) -> None:
        """Add `by` instances in `state` (negative: take away); unfinished ones do not count."""
        match state:
            case TaskState.SUCCESS:
                self.success += by
            case TaskState.FAILED:
                self.failed += by
            case TaskState.SKIPPED:
                self.skipped += by
            case TaskState.UPSTREAM_FAILED:
                self.upstream_failed += by
            case TaskState.REMOVED:
                self.removed += by
            case _:
                assert state not in FINISHED_TASK_STATES

    def add(self, other: "Tally") -> None:
        """Count what `other` counts as well."""
        self.total += other.total
        self.success += other.success
        self.failed += other.failed
        self.skipped += other.skipped
        self.upstream_failed += other.upstream_failed
        self.removed += other.removed

    @property
    def shape(self) -> int:
        """All that `judge` looks at: which of the counts are zero. While it stays the same, so does
        every verdict."""
        return (
            (self.total > 0)
            | (self.success > 0) << 1
            | (self.failed > 0) << 2
            | (self.skipped > 0) << 3
            | (self.upstream_failed > 0) << 4
            | (self.unfinished > 0) << 5
            | (self.total > self.removed) << 6
        )

    @property
    def bad(self) -> int:
        """Upstream instances that failed or could not run because of a failure."""
        return self.failed + self.upstream_failed

    @property
    def unfinished(self) -> int:
        """Upstream instances still to end."""
        return self.total - self.removed - self.success - self.bad - self.skipped


NO_SETUPS = Tally()


def judge(rule: TriggerRule, upstream: Tally, setups: Tally = NO_SETUPS) -> Verdict:
    """Say what `rule` makes of `upstream`; `setups` counts those of them that are setup tasks."""
    if rule is TriggerRule.ALWAYS or upstream.total == 0:
        return Verdict.RUN
    early = _early(rule, upstream)
    if early is not Verdict.WAIT or upstream.unfinished:
        return early
    return _final(rule, upstream, setups)


def _early(rule: TriggerRule, t: Tally) -> Verdict:
    """The verdict that nothing still to come can change, or WAIT."""
    match rule:
        case TriggerRule.ALL_SUCCESS | TriggerRule.NONE_FAILED:
            return Verdict.UPSTREAM_FAILED if t.bad else Verdict.WAIT
        case TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS:
            return Verdict.UPSTREAM_FAILED if t.bad else Verdict.WAIT
        case TriggerRule.ALL_FAILED:
            return Verdict.SKIP if t.success or t.skipped else Verdict.WAIT
        case TriggerRule.ALL_DONE_MIN_ONE_SUCCESS | TriggerRule.NONE_SKIPPED:
            return Verdict.SKIP if t.skipped else Verdict.WAIT
        case TriggerRule.ALL_SKIPPED:
            return Verdict.SKIP if t.success or t.bad else Verdict.WAIT
        case TriggerRule.ONE_SUCCESS:
            return Verdict.RUN if t.success else Verdict.WAIT
        case TriggerRule.ONE_FAILED:
            return Verdict.RUN if t.bad else Verdict.WAIT
        case TriggerRule.ONE_DONE:
            return Verdict.RUN if t.success or t.failed else Verdict.WAIT
        case TriggerRule.ALL_DONE | TriggerRule.ALL_DONE_SETUP_SUCCESS | TriggerRule.ALWAYS:
            return Verdict.WAIT
        case _:
            assert_never(rule)


def _final(rule: TriggerRule, t: Tally, setups: Tally) -> Verdict:
    """The verdict once every upstream has ended and none of them settled it early."""
    match rule:
        case TriggerRule.ALL_SUCCESS:
            return Verdict.SKIP if t.skipped else Verdict.RUN
        case TriggerRule.ALL_DONE_MIN_ONE_SUCCESS:
            return Verdict.RUN if t.success else Verdict.UPSTREAM_FAILED
        case TriggerRule.ALL_DONE_SETUP_SUCCESS:
            return _after_setups(setups)
        case TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS:
            return Verdict.RUN if t.success else Verdict.SKIP
        case TriggerRule.ONE_SUCCESS:
            return Verdict.UPSTREAM_FAILED if t.bad else Verdict.SKIP
        case TriggerRule.ONE_FAILED | TriggerRule.ONE_DONE:
            return Verdict.SKIP
        case (
            TriggerRule.ALL_FAILED
            | TriggerRule.ALL_DONE
            | TriggerRule.ALL_SKIPPED
            | TriggerRule.NONE_FAILED
            | TriggerRule.NONE_SKIPPED
            | TriggerRule.ALWAYS
        ):
            return Verdict.RUN
        case _:
            assert_never(rule)


def _after_setups(setups: Tally) -> Verdict:
    if setups.total == setups.removed or setups.success:
        return Verdict.RUN
    return Verdict.UPSTREAM_FAILED if setups.bad else Verdict.SKIP
