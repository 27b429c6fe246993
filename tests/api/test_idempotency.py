"""A request for a run that is sent again gives the run of the first time."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.api.conftest import Story

RUNS = "/dags/nightly/dagRuns"


def ask(story: Story, key: str | bytes, path: str = RUNS, **fields: Any) -> httpx.Response:
    body = {"logical_date": None, **fields}
    raw = key if isinstance(key, bytes) else key.encode()
    return story.http.post(path, json=body, headers=[(b"Idempotency-Key", raw)])


def test_a_repeated_request_gives_the_same_run(story: Story) -> None:
    first = ask(story, "k-1", conf={"a": 1})
    story.world.finish()
    again = ask(story, "k-1", conf={"a": 1})

    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json()["dag_run_id"] == again.json()["dag_run_id"]
    assert (first.json()["state"], again.json()["state"]) == ("queued", "success")
    other = ask(story, "k-1", conf={"a": 2})
    assert other.status_code == 409
    assert "was used for run" in other.json()["detail"]["message"]
    assert ask(story, "k-2", conf={"a": 1}).json()["dag_run_id"] != first.json()["dag_run_id"]
    assert ask(story, "k-1", "/dags/etl/dagRuns").status_code == 200
    assert story.http.get(RUNS).json()["total_entries"] == 2

    dated = ask(story, "k-3", logical_date="2026-05-01T02:00:00+02:00")
    same = ask(story, "k-3", logical_date="2026-05-01T00:00:00Z")
    assert same.json()["dag_run_id"] == dated.json()["dag_run_id"]
    taken = ask(story, "k-4", logical_date="2026-05-01T00:00:00Z")
    assert (taken.status_code, "already" in taken.text) == (409, True)


def test_requests_at_the_same_moment_give_one_run(story: Story) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(story, "at-once"), range(24)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["dag_run_id"] for answer in answers}) == 1
    assert story.http.get(RUNS).json()["total_entries"] == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", b"\xff"])
def test_bad_keys(shared_story: Story, key: str | bytes) -> None:
    answer = ask(shared_story, key)

    assert answer.status_code == 422
    assert "is not acceptable" in answer.text
