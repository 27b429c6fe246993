"""What becomes of a task instance that is not decided yet?

On its way it passes the levels of its mapping, outermost first: at each it waits until the length
of what it is mapped over is known. Its trigger rule is judged where its mapped groups are expanded,
before its own expansion. Each point of the way gives a `Ruling`; the first that does not say RUN is
the answer.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from math import prod
from typing import assert_never

from orchestrator.core.ids import PATH_STRIDE, MapPath
from orchestrator.core.levels import Level
from orchestrator.core.roster import Place, Roster
from orchestrator.core.specs import (
    ConcatLength,
    LiteralLength,
    MapInput,
    ReturnLength,
    TaskSpec,
    TriggerRule,
    ZipLength,
)
from orchestrator.core.states import TaskState
from orchestrator.core.trigger_rules import Tally, Verdict, judge

MAPPED_OVER_NOTHING = "mapped over nothing"


class Waits(StrEnum):
    """For what an instance waits."""

    UPSTREAM = "upstream"
    BRANCH = "branch"
    """It may still be decided against."""
    MAPPING = "mapping input"
    SETUP = "setup"
    SCOPE = "scope"
    """Of a teardown: what its setups were for."""
    PAST = "past"
    """The run before this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What one point of the way says. `on` are the places whose end it waits for, unless they are
    its direct upstream, whose changes touch it anyway."""

    verdict: Verdict
    reason: str = ""
    waits_for: Waits | None = None
    on: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """How many instances an expansion has, if the ruling says RUN."""

    ruling: Ruling
    length: int = 0


def rule_on(roster: Roster, task_id: str, prefix: MapPath) -> Ruling:
    """Judge a task's trigger rule at a path of its mapped groups."""
    graph = roster.graph
    chooser = roster.chooser_against(task_id, prefix)
    if chooser is not None:
        return Ruling(verdict=Verdict.SKIP, reason=f"not followed by {chooser!r}")
    task = graph.tasks[task_id]
    if task.trigger_rule is TriggerRule.ALWAYS:
        return Ruling(verdict=Verdict.RUN, reason="always")
    ruling = _needed_setups(roster, task_id, prefix)
    if ruling is None:
        ruling = _direct_upstream(roster, task, prefix)
    if ruling.verdict is Verdict.WAIT:
        return ruling
    # What a branch may still forbid is not decided before it has chosen: the end would depend on
    # who is quicker.
    choosers = graph.choosers.get(task_id, ())
    undecided = tuple(roster.unfinished_among(choosers, (task_id, prefix)))
    if undecided:
        return Ruling(
            verdict=Verdict.WAIT, reason=ruling.reason, waits_for=Waits.BRANCH, on=undecided
        )
    return ruling


def held_by_past(ruling: Ruling, task: TaskSpec, blocked: str | None) -> Ruling:
    """Have a task wait that may not run (or be skipped) because of `blocked`, what the run before
    this one left undone."""
    holds_skip = task.wait_for_past_depends_before_skipping
    if blocked is None or not (
        ruling.verdict is Verdict.RUN or (ruling.verdict is Verdict.SKIP and holds_skip)
    ):
        return ruling
    return Ruling(verdict=Verdict.WAIT, reason=blocked, waits_for=Waits.PAST)


def measure(roster: Roster, task_id: str, level: Level, prefix: MapPath) -> Measured:
    """Say how many instances a task has right below a path, one level short of `level`."""
    expansion = level.expansion
    ruling = _inputs(roster, task_id, level.inputs, prefix)
    if ruling.verdict is not Verdict.RUN:
        return Measured(ruling=ruling)
    lengths = {each: _length(roster, each, task_id, prefix) for each in level.inputs}
    for input_id, length in lengths.items():
        if length is None:
            return _unfit(
                f"mapped over {input_id!r}, which returned neither a list nor a dict:"
                " it must return one, an empty one for nothing"
            )
    total = prod(_size(source, lengths) for source in expansion.inputs)
    is_nested = roster.graph.depth(task_id) > 1
    limit = min(expansion.limit, PATH_STRIDE - 1) if is_nested else expansion.limit
    if total > limit:
        return _unfit(f"mapped over {total} values, more than its limit of {limit}")
    return Measured(ruling=ruling, length=total)


def _needed_setups(roster: Roster, task_id: str, prefix: MapPath) -> Ruling | None:
    """Say what the setups of a task make of it, whatever its rule; None once all succeeded."""
    setups = roster.graph.setups_needed.get(task_id, ())
    if not setups:
        return None
    standings = {each: _seen(roster, each, task_id, prefix) for each in setups}
    bad = next((each for each, tally in standings.items() if tally.bad), None)
    if bad is not None:
        return Ruling(verdict=Verdict.UPSTREAM_FAILED, reason=f"its setup {bad!r} failed")
    waiting = tuple(roster.unfinished_among(setups, (task_id, prefix)))
    if waiting:
        return Ruling(
            verdict=Verdict.WAIT, reason="it needs them", waits_for=Waits.SETUP, on=waiting
        )
    skipped = next((each for each, tally in standings.items() if tally.skipped), None)
    if skipped is not None:
        return Ruling(verdict=Verdict.SKIP, reason=f"its setup {skipped!r} was skipped")
    return None


def _direct_upstream(roster: Roster, task: TaskSpec, prefix: MapPath) -> Ruling:
    scope = roster.graph.scopes.get(task.task_id, ())
    waiting = tuple(roster.unfinished_among(scope, (task.task_id, prefix)))
    if waiting:
        return Ruling(
            verdict=Verdict.WAIT,
            reason="it is their teardown",
            waits_for=Waits.SCOPE,
            on=waiting,
        )
    tally = roster.upstream(task.task_id, prefix)
    setups = Tally()
    for setup in task.setups:
        setups.add(_seen(roster, setup, task.task_id, prefix))
    verdict = judge(task.trigger_rule, tally, setups)
    waits_for = Waits.UPSTREAM if verdict is Verdict.WAIT else None
    reason = f"{task.trigger_rule} over {in_words(tally)}"
    return Ruling(verdict=verdict, reason=reason, waits_for=waits_for)


def in_words(tally: Tally) -> str:
    """Say how many upstream instances there are and how they stand."""
    counted = (
        ("succeeded", tally.success),
        ("failed", tally.failed),
        ("skipped", tally.skipped),
        ("upstream_failed", tally.upstream_failed),
        ("removed", tally.removed),
        ("unfinished", tally.unfinished),
    )
    words = ", ".join(f"{count} {name}" for name, count in counted if count)
    return f"{tally.total} upstream: {words}" if words else "no upstream"


def _inputs(roster: Roster, task_id: str, inputs: Iterable[str], prefix: MapPath) -> Ruling:
    """Say whether what a task is mapped over is there. Of a mapped input, one success is enough:
    what its failures mean is for the trigger rule to say."""
    waiting = tuple(roster.unfinished_among(inputs, (task_id, prefix)))
    failed: list[str] = []
    skipped: list[str] = []
    for input_id in inputs:
        tally = _seen(roster, input_id, task_id, prefix)
        if not tally.unfinished and not tally.success:
            (failed if tally.bad else skipped).append(input_id)
    if failed:
        reason = f"mapped over {failed[0]!r}, which failed"
        return Ruling(verdict=Verdict.UPSTREAM_FAILED, reason=reason)
    if waiting:
        return Ruling(
            verdict=Verdict.WAIT, reason="mapped over it", waits_for=Waits.MAPPING, on=waiting
        )
    if skipped:
        reason = f"mapped over {skipped[0]!r}, which was skipped"
        return Ruling(verdict=Verdict.SKIP, reason=reason)
    return Ruling(verdict=Verdict.RUN)


def _seen(roster: Roster, other: str, task_id: str, prefix: MapPath) -> Tally:
    """Count the instances of another task that belong to a task at a path."""
    place = prefix[: roster.graph.shared(other, task_id)]
    return roster.standing(other, place, seen_by=task_id)


def _length(roster: Roster, input_id: str, task_id: str, prefix: MapPath) -> int | None:
    """How many values an input has: what it returned, or one for each instance that succeeded."""
    graph = roster.graph
    place = prefix[: graph.shared(input_id, task_id)]
    if len(place) < graph.depth(input_id):
        return roster.standing(input_id, place, seen_by=task_id).success
    instance = roster.at(input_id, place)
    assert instance is not None
    assert instance.state is TaskState.SUCCESS
    return instance.length


def _size(source: MapInput, lengths: dict[str, int | None]) -> int:
    match source:
        case LiteralLength():
            return source.length
        case ReturnLength():
            length = lengths[source.task_id]
            assert length is not None
            return length
        case ZipLength():
            sizes = [_size(part, lengths) for part in source.inputs]
            return max(sizes, default=0) if source.longest else min(sizes, default=0)
        case ConcatLength():
            return sum(_size(part, lengths) for part in source.inputs)
        case _:
            assert_never(source)


def _unfit(reason: str) -> Measured:
    return Measured(ruling=Ruling(verdict=Verdict.FAIL, reason=reason))
