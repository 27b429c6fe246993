"""Rows come out the same in both forms, whatever they hold."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from orchestrator.cli.output import Output, clock, duration, show_facts, show_rows
from orchestrator.core.states import RunState

AT = datetime(2024, 5, 31, 6, 0, 0, 123456, tzinfo=UTC)
ROW = {"run_id": "a[bold]b", "state": RunState.FAILED, "at": AT, "tags": ["x", "y"], "n": None}


def test_a_table_is_never_cut_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 500
    show_rows([{"a": long, "b": True}], Output.TABLE, empty="")
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["A", "B"]
    assert row.split() == [long, "yes"]


def test_a_table_shows_what_looks_like_markup_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows([ROW], Output.TABLE, empty="")
    _, row = capsys.readouterr().out.splitlines()
    assert row.split() == ["a[bold]b", "failed", "2024-05-31", "06:00:00", "x,", "y"]


def test_a_row_is_a_line_of_aligned_columns_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[dict[str, Any]] = [
        {"task_id": "日本", "why": "one\ntwo", "n": 1},
        {"task_id": "a", "why": None, "n": 22},
    ]
    show_rows(rows, Output.TABLE, empty="")
    assert capsys.readouterr().out.splitlines() == [
        "TASK ID  WHY      N",
        "日本     one two  1",
        "a                 22",
    ]


def test_json_has_the_same_columns(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows([ROW], Output.JSON, empty="")
    assert json.loads(capsys.readouterr().out) == [
        {
            "run_id": "a[bold]b",
            "state": "failed",
            "at": "2024-05-31T06:00:00.123456+00:00",
            "tags": ["x", "y"],
            "n": None,
        }
    ]


def test_nothing_is_a_sentence_for_people_and_a_list_for_programs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_rows([], Output.TABLE, empty="no runs")
    show_rows([], Output.JSON, empty="no runs")
    assert capsys.readouterr().out == "no runs\n[]\n"


def test_facts_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    show_facts({"run_id": "r", "conf": {"a": 1}}, Output.TABLE)
    assert capsys.readouterr().out == 'run_id  r\nconf    {"a": 1}\n'


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, ""),
        (0.04, "0.0 s"),
        (59.94, "59.9 s"),
        (60, "1 min 0 s"),
        (3599.4, "59 min 59 s"),
        (3780, "1 h 3 min"),
    ],
)
def test_durations(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


def test_instants_are_shown_in_utc() -> None:
    assert clock(AT.astimezone(timezone(timedelta(hours=5)))) == "2024-05-31 06:00:00"
    assert clock(None) == ""
