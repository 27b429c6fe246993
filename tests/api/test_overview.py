"""Airflow's own generated client counts, waits, lists in batches, and is told what is not here."""

import inspect
import json
import re
import threading
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import airflow_client.client as airflow
import airflow_client.client.api as airflow_api
import httpx
import pytest
from airflow_client.client.exceptions import (
    BadRequestException,
    ForbiddenException,
    NotFoundException,
)

from api.problems import API_PREFIX
from api.routes.unserved import UNSERVED
from orchestrator.core.outcomes import Succeeded
from orchestrator.core.states import RunState
from tests.api.conftest import Story
from tests.api.world import World, open_world, serve


def client_operations() -> set[tuple[str, str]]:
    """Read every method and path out of the generated client."""
    found = set()
    for name in dir(airflow_api):
        kind = getattr(airflow_api, name)
        if not inspect.isclass(kind):
            continue
        for source in (
            inspect.getsource(member)
            for label, member in inspect.getmembers(kind, inspect.isfunction)
            if label.endswith("_serialize")
        ):
            method = re.search(r"method='(\w+)'", source)
            path = re.search(r"resource_path='([^']+)'", source)
            assert method
            assert path
            found.add((method[1], path[1]))
    return found


def test_every_operation_of_the_client_is_served_or_refused_with_a_sentence(
    shared_story: Story,
) -> None:
    served = httpx.get(f"{shared_story.url}/openapi.json", timeout=60).json()["paths"]
    known = {(method.upper(), path) for path, methods in served.items() for method in methods}
    for operation in (one for many in UNSERVED.values() for one in many):
        method, path = operation.split(" ")
        known.add((method, API_PREFIX + path))
    answered = {(method, _shape(path)) for method, path in known}
    operations = client_operations()

    assert len(operations) == 128
    assert {(method, _shape(path)) for method, path in operations} - answered == set()


def _shape(path: str) -> str:
    """Return a path without the names of its parameters."""
    return re.sub(r"\{\w+(:path)?\}", "{}", path)


@pytest.mark.parametrize("operation", [one for many in UNSERVED.values() for one in many])
def test_what_is_not_here_says_so(shared_story: Story, operation: str) -> None:
    method, path = operation.split(" ")
    filled = re.sub(r"\{\w+\}", "1", path)
    content = {"content": b"{}", "headers": {"Content-Type": "application/json"}}

    answer = shared_story.http.request(method, filled, **({} if method == "GET" else content))  # type: ignore[arg-type]

    assert answer.status_code == 501, answer.text
    assert len(answer.json()["detail"].split()) > 4


def test_dag_stats(shared_story: Story) -> None:
    api = airflow.DagStatsApi(shared_story.client)

    stats = api.get_dag_stats(dag_ids=["etl", "nothing"])
    assert stats.total_entries == 1
    assert {each.state.value: each.count for each in stats.dags[0].stats} == {
        "queued": 0,
        "running": 1,
        "success": 1,
        "failed": 0,
    }
    everything = api.get_dag_stats()
    assert [each.dag_id for each in everything.dags] == ["choosy", "etl", "nightly"]
    assert [each.count for each in everything.dags[0].stats] == [0] * len(RunState)


def test_jobs(shared_story: Story) -> None:
    api = airflow.JobApi(shared_story.client)

    (job,) = api.get_jobs().jobs
    assert (job.job_type, job.state, job.hostname) == ("CeleryWorkerJob", "running", "host-1")
    assert api.get_jobs().jobs[0].id == job.id
    now = datetime.now(UTC)
    for filters, found in (
        ({"is_alive": True}, 1),
        ({"is_alive": False}, 0),
        ({"job_type": "SchedulerJob"}, 0),
        ({"job_state": "running", "hostname": "host-1"}, 1),
        ({"hostname": "host"}, 0),
        ({"start_date_lte": now + timedelta(days=1)}, 1),
        ({"end_date_gte": now + timedelta(days=1)}, 1),
        ({"end_date_lt": now}, 0),
        ({"order_by": ["-start_date", "id"]}, 1),
    ):
        assert api.get_jobs(**filters).total_entries == found, filters
    shared_story.world.store.scheduler.register_scheduler("s-1", lease_s=60)
    kinds = [each.job_type for each in api.get_jobs(order_by=["-job_type"]).jobs]
    assert set(kinds) == {"SchedulerJob", "CeleryWorkerJob"}


def test_settings_are_shown_without_secrets(shared_story: Story) -> None:
    api = airflow.ConfigApi(shared_story.client)

    (section,) = api.get_config(accept="application/json").sections
    shown = {option.key: option.value for option in section.options}
    assert section.name == "orchestrator"
    assert shown["secret_key"].actual_instance == "***"
    one = api.get_config_value("orchestrator", "api_port", accept="application/json")
    assert len(one.sections[0].options) == 1
    text = shared_story.http.get("/config", headers={"Accept": "text/plain"}).text
    assert text.startswith("[orchestrator]\n")
    assert "k" * 40 not in text
    with pytest.raises(NotFoundException):
        api.get_config(section="core", accept="application/json")
    assert airflow.PluginApi(shared_story.client).get_plugins().plugins == []
    assert airflow.PluginApi(shared_story.client).import_errors().total_entries == 0
    assert airflow.ProviderApi(shared_story.client).get_providers().providers == []


def test_settings_are_not_shown_where_anybody_is_served(
    tmp_path: Any, sqlite_url: str, redis_url: str
) -> None:
    with (
        open_world(tmp_path, sqlite_url, redis_url, api_allow_anonymous=True) as world,
        serve(world) as url,
        airflow.ApiClient(airflow.Configuration(host=url)) as client,
        pytest.raises(ForbiddenException, match="config list"),
    ):
        airflow.ConfigApi(client).get_config(accept="application/json")


def test_runs_in_batches(shared_story: Story) -> None:
    api = airflow.DagRunApi(shared_story.client)

    def ids(**fields: Any) -> list[str]:
        listed = api.get_list_dag_runs_batch("~", airflow.DAGRunsBatchBody(**fields))
        return [run.dag_run_id for run in listed.dag_runs]

    assert ids(dag_ids=["etl"], order_by="dag_run_id") == ["first", "second"]
    assert ids(dag_ids=["nightly"]) == []
    assert ids(states=["success"]) == ["first"]
    assert ids(order_by="-run_id", page_limit=1, page_offset=1) == ["first"]
    assert ids(logical_date_gte=datetime(2026, 1, 15, tzinfo=UTC)) == ["second"]
    assert ids(conf_contains='"size":7') == ["first"]
    with pytest.raises(BadRequestException):
        ids(order_by="sstate")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"states": ["bogus"]}, "states"),
        ({"page_limit": -1}, "greater than or equal to 0"),
        ({"page_limit": "1"}, "valid integer"),
        ({"start_date_gte": "2026-01-01T00:00:00"}, "no time zone"),
        ({"start_date_gte": 7}, "an instant is a text"),
        ({"start_date_gte": "yesterday"}, "Invalid isoformat"),
        ({"order_by": ["run_id"]}, "valid string"),
        ({"dag_id": "etl"}, "there is no field dag_id here"),
        ({"dag_ids": ["x"] * 1001}, "1000"),
    ],
)
def test_bad_batches(shared_story: Story, fields: dict[str, Any], said: str) -> None:
    answer = shared_story.http.post("/dags/~/dagRuns/list", json=fields)

    assert answer.status_code == 422, answer.text
    assert said in answer.text


def test_waiting_for_a_run(story: Story) -> None:
    """The lines come while the run goes on; the last one has the results."""
    (extract,) = story.world.start_tasks()
    lines: list[dict[str, Any]] = []
    has_begun = threading.Event()

    def wait() -> None:
        url = "/dags/etl/dagRuns/second/wait?interval=0.1&result=extract&result=load"
        with httpx.stream("GET", f"{story.http.base_url}{url}".replace("v2//", "v2/")) as answer:
            assert "content-type" not in answer.headers
            for line in answer.iter_lines():
                lines.append(json.loads(line))
                has_begun.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert has_begun.wait(30)
    story.world.end(extract, Succeeded(xcoms={"return_value": [1]}))
    story.world.finish()
    thread.join(30)
    assert not thread.is_alive()

    assert {line["state"] for line in lines[:-1]} == {"running"}
    assert lines[-1] == {"state": "success", "results": {"extract": [1]}}
    answer = airflow.DagRunApi(story.client).wait_dag_run_until_finished("etl", "second", 1.0)
    assert answer == {"state": "success"}


def test_waiting_for_what_a_mapped_task_returned(shared_story: Story) -> None:
    answer = shared_story.http.get("/dags/etl/dagRuns/first/wait?interval=1&result=extract")

    assert json.loads(answer.text)["results"] == {"extract": {"rows": [1, 2.5, None, "ü"]}}


def test_pools_go_and_change_in_bulk(story: Story) -> None:
    api = airflow.PoolApi(story.client)

    def ask(*actions: dict[str, Any]) -> airflow.BulkResponse:
        return api.bulk_pools(
            cast(airflow.BulkBodyPoolBody, airflow.BulkBodyPoolBody.from_dict({"actions": actions}))
        )

    wide, slim = {"name": "wide", "slots": 9}, {"name": "slim", "slots": 8, "description": "d"}
    done = ask(
        {"action": "create", "entities": [wide, slim], "action_on_existence": "overwrite"},
        {"action": "update", "entities": [{**wide, "description": "w"}], "update_mask": ["slots"]},
        {"action": "delete", "entities": ["default_pool"]},
    )
    assert done.create is not None
    assert done.update is not None
    assert done.delete is not None
    assert (done.create.success, done.update.success) == (["wide", "slim"], ["wide"])
    assert [error["status_code"] for error in done.delete.errors or ()] == [422]
    assert (api.get_pool("slim").slots, api.get_pool("wide").description) == (8, None)

    assert api.delete_pool("wide") is None
    with pytest.raises(NotFoundException):
        api.delete_pool("wide")
    with pytest.raises(BadRequestException, match="default_pool cannot be deleted"):
        api.delete_pool("default_pool")
    api.delete_pool("slim")
    waits = airflow.TaskInstanceApi(story.client).get_task_instance("etl", "first", "extract")
    assert waits.pool == "slim"


def test_many_dags_are_paused_at_once(story: Story) -> None:
    api = airflow.DAGApi(story.client)

    changed = api.patch_dags(airflow.DAGPatchBody(is_paused=True), dag_id_pattern="%y")
    assert [(dag.dag_id, dag.is_paused) for dag in changed.dags] == [
        ("choosy", True),
        ("nightly", True),
    ]
    assert api.get_dag("etl").is_paused is False
    everything = api.patch_dags(airflow.DAGPatchBody(is_paused=False), dag_id_pattern="~")
    assert [dag.is_paused for dag in everything.dags] == [False] * 3


def test_no_jobs_without_processes(world: World) -> None:
    with serve(world) as url:
        assert httpx.get(f"{url}/api/v2/jobs").json() == {"jobs": [], "total_entries": 0}
