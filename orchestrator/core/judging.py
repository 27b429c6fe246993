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
    rule = graph.tasks[task_id].trigger_rule
    tally = roster.upstream(task_id, prefix)
    reason = f"{rule} over {in_words(tally)}"
    verdict = judge(rule, tally)
    if verdict is Verdict.WAIT:
        return Ruling(verdict=verdict, reason=reason, waits_for=Waits.UPSTREAM)
    if rule is not TriggerRule.ALWAYS:
        # What a branch may still forbid is not decided before it has chosen: the end would
        # depend on who is quicker.
        choosers = graph.choosers.get(task_id, ())
        undecided = tuple(roster.unfinished_among(choosers, (task_id, prefix)))
        if undecided:
            return Ruling(verdict=Verdict.WAIT, reason=reason, waits_for=Waits.BRANCH, on=undecided)
    return Ruling(verdict=verdict, reason=reason)


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
        tally = _of_input(roster, input_id, task_id, prefix)
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


def _of_input(roster: Roster, input_id: str, task_id: str, prefix: MapPath) -> Tally:
    return roster.standing(input_id, prefix[: roster.graph.shared(input_id, task_id)])


def _length(roster: Roster, input_id: str, task_id: str, prefix: MapPath) -> int | None:
    """How many values an input has: what it returned, or one for each instance that succeeded."""
    graph = roster.graph
    place = prefix[: graph.shared(input_id, task_id)]
    if len(place) < graph.depth(input_id):
        return roster.standing(input_id, place).success
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
