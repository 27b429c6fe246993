"""S2: the trigger-rule matrix, and that no order of completion changes a verdict."""

from itertools import combinations_with_replacement, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.specs import TriggerRule
from orchestrator.core.states import TaskState
from orchestrator.core.trigger_rules import Tally, Verdict, judge

STATES = {
    "S": TaskState.SUCCESS,
    "F": TaskState.FAILED,
    "K": TaskState.SKIPPED,
    "U": TaskState.UPSTREAM_FAILED,
}
VERDICTS = {"R": Verdict.RUN, "SK": Verdict.SKIP, "UF": Verdict.UPSTREAM_FAILED}

# Observed on Airflow 3.3.2; in all_success the cells FK and KU are ours: a failure always wins.
MATRIX = """
rule                         SS SF SK SU FF FK FU KK KU UU
all_success                  R  UF SK UF UF UF UF SK UF UF
all_failed                   SK SK SK SK R  SK R  SK SK R
all_done                     R  R  R  R  R  R  R  R  R  R
all_done_min_one_success     R  R  SK R  UF SK UF SK SK UF
all_done_setup_success       R  R  R  R  R  R  R  R  R  R
one_success                  R  R  R  R  UF UF UF SK UF UF
one_failed                   SK R  SK R  R  R  R  SK R  R
one_done                     R  R  R  R  R  R  R  SK SK SK
none_failed                  R  UF R  UF UF UF UF R  UF UF
none_failed_min_one_success  R  UF R  UF UF UF UF SK UF UF
none_skipped                 R  R  SK R  R  SK R  SK SK R
all_skipped                  SK SK SK SK SK SK SK R  SK SK
always                       R  R  R  R  R  R  R  R  R  R
"""


def cells() -> list[tuple[str, str, str]]:
    header, *rows = (line.split() for line in MATRIX.strip().splitlines())
    return [
        (row[0], pair, cell) for row in rows for pair, cell in zip(header[1:], row[1:], strict=True)
    ]


def tally_of(ended: str, *, unfinished: int = 0, removed: int = 0) -> Tally:
    tally = Tally(total=len(ended) + unfinished + removed, removed=removed)
    for letter in ended:
        tally.count(STATES[letter], 1)
    return tally


@pytest.mark.parametrize(("rule", "pair", "cell"), cells())
def test_s2_matrix_cell(rule: str, pair: str, cell: str) -> None:
    assert judge(TriggerRule(rule), tally_of(pair)) is VERDICTS[cell]


def test_the_matrix_names_every_rule() -> None:
    assert {rule for rule, _, _ in cells()} == set(TriggerRule)


@pytest.mark.parametrize("rule", TriggerRule)
def test_an_early_verdict_is_what_every_completion_would_give(rule: TriggerRule) -> None:
    """Given some endings and some instances to come, a verdict is given exactly when all the ways
    the rest can end agree on it (`always` never waits, whatever comes)."""
    for ended_count, open_count in product(range(4), range(1, 4)):
        for ended in combinations_with_replacement("SFKU", ended_count):
            finals = {
                judge(rule, tally_of("".join(ended) + "".join(rest)))
                for rest in combinations_with_replacement("SFKU", open_count)
            }
            early = judge(rule, tally_of("".join(ended), unfinished=open_count))
            if early is not Verdict.WAIT:
                assert finals == {early}, (rule, ended, open_count)
            elif rule not in (TriggerRule.ALL_DONE, TriggerRule.ALL_DONE_SETUP_SUCCESS):
                assert len(finals) > 1, (rule, ended, open_count)


@given(st.sampled_from(TriggerRule), st.permutations("SFKUSFKU"), st.integers(1, 8))
def test_the_verdict_does_not_depend_on_the_order(
    rule: TriggerRule, order: list[str], size: int
) -> None:
    ended = order[:size]
    verdicts = []
    for sequence in (ended, ended[::-1], sorted(ended)):
        tally = Tally(total=size)
        verdict = judge(rule, tally)
        for letter in sequence:
            tally.count(STATES[letter], 1)
            if verdict is Verdict.WAIT:
                verdict = judge(rule, tally)
        verdicts.append(verdict)
    assert len(set(verdicts)) == 1
    assert verdicts[0] is not Verdict.WAIT


@pytest.mark.parametrize("rule", TriggerRule)
def test_s2_no_upstream_always_runs(rule: TriggerRule) -> None:
    assert judge(rule, Tally()) is Verdict.RUN


@pytest.mark.parametrize(
    ("rule", "ended", "verdict"),
    [
        ("all_done", "FKS", Verdict.RUN),
        ("one_success", "FKS", Verdict.RUN),
        ("all_success", "FKS", Verdict.UPSTREAM_FAILED),
        ("none_failed", "FKS", Verdict.UPSTREAM_FAILED),
        ("none_skipped", "FKS", Verdict.SKIP),
    ],
)
def test_s2_counts_instances_not_tasks(rule: str, ended: str, verdict: Verdict) -> None:
    assert judge(TriggerRule(rule), tally_of(ended)) is verdict


@pytest.mark.parametrize("rule", ["all_success", "none_failed", "none_failed_min_one_success"])
def test_s2_removed_is_subtracted_from_the_need(rule: str) -> None:
    assert judge(TriggerRule(rule), tally_of("S", removed=1)) is Verdict.RUN


def test_s2_all_failed_does_not_wait_for_the_removed() -> None:
    assert judge(TriggerRule.ALL_FAILED, tally_of("F", removed=2)) is Verdict.RUN


@pytest.mark.parametrize(
    ("setups", "verdict"),
    [
        ("", Verdict.RUN),
        ("S", Verdict.RUN),
        ("SF", Verdict.RUN),
        ("KK", Verdict.SKIP),
        ("F", Verdict.UPSTREAM_FAILED),
        ("FK", Verdict.UPSTREAM_FAILED),
        ("U", Verdict.UPSTREAM_FAILED),
    ],
)
def test_s2_all_done_setup_success(setups: str, verdict: Verdict) -> None:
    upstream = tally_of(setups + "F")
    assert judge(TriggerRule.ALL_DONE_SETUP_SUCCESS, upstream, tally_of(setups)) is verdict
