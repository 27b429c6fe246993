"""Airflow's own generated client clears, marks and notes; what it cannot parse is asked plainly."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import airflow_client.client as airflow
import httpx
import pytest
from airflow_client.client.exceptions import (
    BadRequestException,
    ConflictException,
    NotFoundException,
    UnprocessableEntityException,
)

from orchestrator.core.outcomes import Failed
from orchestrator.core.specs import Expansion, GroupSpec, LiteralLength
from tests.api.world import World, serve
from tests.builders import a_dag, a_task

DAY = datetime(2026, 2, 1, tzinfo=UTC)
STEPS = a_dag(
    a_task("extract"),
    a_task("work.check", "extract", group_id="work"),
    a_task("work.load", "work.check", group_id="work"),
    a_task("report", "work.load"),
    dag_id="steps",
    groups=(GroupSpec(group_id="work"),),
)
MAPPED = a_dag(
    a_task("each", expansion=Expansion(inputs=(LiteralLength(length=3),))),
    a_task("after", "each"),
    dag_id="mapped",
)
TO = airflow.TaskInstanceState
Inner = airflow.ClearTaskInstancesBodyTaskIdsInner


@dataclass(frozen=True)
class Desk:
    """A world with three runs of `steps` (two failed, one succeeded) and a client of its API."""

    world: World
    http: httpx.Client
    tasks: airflow.TaskInstanceApi
    runs: airflow.DagRunApi

    def states(self, run_id: str = "first", dag_id: str = "steps") -> dict[str, str | None]:
        listed = self.tasks.get_task_instances(dag_id, run_id)
        return {
            ti.task_id if ti.map_index < 0 else f"{ti.task_id}[{ti.map_index}]": ti.state
            and ti.state.value
            for ti in listed.task_instances
        }

    def run(self, run_id: str = "first") -> airflow.DAGRunResponse:
        return self.runs.get_dag_run("steps", run_id)


@pytest.fixture
def desk(world: World) -> Iterator[Desk]:
    world.start_worker()
    world.add(STEPS)
    for number, run_id in enumerate(("first", "second", "third")):
        world.trigger("steps", run_id=run_id, logical_date=DAY + timedelta(days=number))
        world.finish({"work.check": Failed(reason="boom")} if number < 2 else {})
    with serve(world) as url:
        configuration = airflow.Configuration(host=url, access_token="ignored")
        with (
            airflow.ApiClient(configuration) as client,
            httpx.Client(base_url=f"{url}/api/v2", timeout=30) as http,
        ):
            yield Desk(world, http, airflow.TaskInstanceApi(client), airflow.DagRunApi(client))


BROKEN = {
    "extract": "success",
    "work.check": "failed",
    "work.load": "upstream_failed",
    "report": "upstream_failed",
}


def clear(desk: Desk, dag_id: str = "steps", **fields: Any) -> list[tuple[str, str]]:
    """Clear through the client; return the run and task of each instance answered."""
    if "task_ids" in fields:
        fields["task_ids"] = [Inner(one) for one in fields["task_ids"]]
    body = airflow.ClearTaskInstancesBody(**fields)
    answered = desk.tasks.post_clear_task_instances(dag_id, body)
    assert answered.total_entries == len(answered.task_instances)
    return [(ti.dag_run_id, ti.task_id) for ti in answered.task_instances]


def test_a_clear_is_a_dry_run_of_what_failed_unless_said_otherwise(desk: Desk) -> None:
    assert clear(desk, dag_run_id="first") == [
        ("first", "work.check"),
        ("first", "work.load"),
        ("first", "report"),
    ]
    assert desk.states() == BROKEN
    assert desk.run().state is airflow.DagRunState.FAILED


def test_what_is_cleared_runs_again(desk: Desk) -> None:
    cleared = clear(desk, dag_run_id="first", dry_run=False, note="after the repair")
    assert [task_id for _, task_id in cleared] == ["work.check", "work.load", "report"]

    run = desk.run()
    assert (run.state, run.start_date, run.end_date) == (airflow.DagRunState.QUEUED, None, None)
    seen = desk.tasks.get_task_instance("steps", "first", "work.check")
    assert (seen.state, seen.try_number, seen.note) == (None, 1, "after the repair")

    desk.world.finish()
    assert set(desk.states().values()) == {"success"}
    assert desk.run().state is airflow.DagRunState.SUCCESS
    tries = desk.tasks.get_task_instance_tries("steps", "first", "work.check")
    assert [(one.try_number, one.state) for one in tries.task_instances] == [
        (1, TO.FAILED),
        (2, TO.SUCCESS),
    ]


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"task_ids": ["work.load"], "only_failed": False}, ["work.load"]),
        (
            {"task_ids": ["work.load"], "include_upstream": True, "only_failed": False},
            ["extract", "work.check", "work.load"],
        ),
        ({"task_ids": ["extract"], "include_downstream": True}, list(BROKEN)[1:]),
        ({"task_ids": ["work"]}, ["work.check", "work.load"]),
        ({"only_failed": False, "only_running": True}, []),
        ({"only_failed": False}, list(BROKEN)),
    ],
)
def test_which_tasks_are_meant(desk: Desk, fields: dict[str, Any], found: list[str]) -> None:
    answered = clear(desk, dag_run_id="first", **fields)

    assert [task_id for _, task_id in answered] == found


def test_which_runs_are_meant(desk: Desk) -> None:
    def runs(**fields: Any) -> list[str]:
        return [
            run_id for run_id, _ in clear(desk, task_ids=["extract"], only_failed=False, **fields)
        ]

    assert runs() == ["first", "second", "third"]
    assert runs(dag_run_id="second", include_past=True) == ["first", "second"]
    assert runs(dag_run_id="second", include_future=True) == ["second", "third"]
    assert runs(start_date=DAY + timedelta(days=1)) == ["second", "third"]
    assert runs(end_date=DAY + timedelta(days=1)) == ["first", "second"]
    assert runs(start_date=DAY, end_date=DAY) == ["first"]


def test_without_reset_a_finished_run_stays_finished(desk: Desk) -> None:
    clear(desk, dag_run_id="first", dry_run=False, reset_dag_runs=False)

    assert desk.run().state is airflow.DagRunState.FAILED
    assert desk.states()["work.check"] is None


def test_prevent_running_task_refuses_what_runs(desk: Desk) -> None:
    desk.world.trigger("steps", run_id="now")
    desk.world.schedule()
    (running,) = desk.world.start_tasks()

    fields: dict[str, Any] = {"dag_run_id": "now", "only_failed": False, "dry_run": False}
    with pytest.raises(ConflictException, match="1 of these task instances running"):
        clear(desk, prevent_running_task=True, **fields)
    assert desk.states("now")["extract"] == "running"
    clear(desk, **fields)
    assert desk.states("now")["extract"] is None
    assert not desk.world.store.worker.beat("host-1-abc", lease_s=60)
    assert running.task.task_id == "extract"


def test_refusals_of_a_clear(desk: Desk) -> None:
    desk.world.trigger("steps", run_id="undated")
    with pytest.raises(NotFoundException, match="'steps' has no run 'fist'"):
        clear(desk, dag_run_id="fist")
    with pytest.raises(NotFoundException, match="DAG 'step' does not exist; did you mean 'steps'"):
        clear(desk, "step")
    with pytest.raises(NotFoundException, match="'reprt'; did you mean 'report'"):
        clear(desk, dag_run_id="first", task_ids=["reprt"])
    with pytest.raises(BadRequestException, match="no logical date"):
        clear(desk, dag_run_id="undated", include_past=True)
    refused: tuple[dict[str, Any], ...] = (
        {"dag_run_id": "first", "only_running": True},
        {"dag_run_id": "first", "start_date": DAY},
        {"start_date": DAY, "end_date": DAY - timedelta(days=1)},
        {"task_ids": []},
    )
    for fields in refused:
        with pytest.raises(UnprocessableEntityException):
            clear(desk, **fields)
    plain = desk.http.post("/dags/steps/clearTaskInstances", json={"dry_run": "no", "extra": 1})
    assert plain.status_code == 422
    assert {error["loc"][-1] for error in plain.json()["detail"]} == {"dry_run", "extra"}


def test_mapped_tasks_are_cleared_and_marked_by_index_or_all(desk: Desk) -> None:
    desk.world.add(MAPPED)
    desk.world.trigger("mapped", run_id="m")
    desk.world.finish()
    done = {"each[0]": "success", "each[1]": "success", "each[2]": "success", "after": "success"}
    assert desk.states("m", "mapped") == done

    fields: dict[str, Any] = {"dag_run_id": "m", "only_failed": False, "dry_run": False}
    assert len(clear(desk, "mapped", task_ids=["each"], **fields)) == 3
    desk.world.finish()
    assert len(clear(desk, "mapped", task_ids=[["each", 1]], **fields)) == 1
    assert desk.states("m", "mapped") == {**done, "each[1]": None}

    body = airflow.PatchTaskInstanceBody(new_state=TO.SKIPPED)
    one = desk.tasks.patch_task_instance_by_map_index("mapped", "m", "each", 1, body)
    assert [(ti.map_index, ti.state) for ti in one.task_instances] == [(1, TO.SKIPPED)]
    every = desk.tasks.patch_task_instance(
        "mapped", "m", "each", airflow.PatchTaskInstanceBody(new_state=TO.FAILED)
    )
    assert sorted(ti.map_index for ti in every.task_instances) == [0, 1, 2]
    again = desk.tasks.patch_task_instance("mapped", "m", "each", body, map_index=0)
    assert [ti.map_index for ti in again.task_instances] == [0]
    with pytest.raises(NotFoundException, match="has no map index 7"):
        desk.tasks.patch_task_instance_by_map_index("mapped", "m", "each", 7, body)


def test_a_mark_is_shown_first_and_then_done(desk: Desk) -> None:
    body = airflow.PatchTaskInstanceBody(new_state=TO.SUCCESS, note="seen to")

    shown = desk.tasks.patch_task_instance_dry_run("steps", "first", "work.check", body)
    assert [(ti.task_id, ti.state) for ti in shown.task_instances] == [("work.check", TO.FAILED)]
    assert desk.states() == BROKEN

    done = desk.tasks.patch_task_instance("steps", "first", "work.check", body)
    assert [(ti.task_id, ti.state, ti.note) for ti in done.task_instances] == [
        ("work.check", TO.SUCCESS, "seen to")
    ]
    assert desk.run().state is airflow.DagRunState.QUEUED
    desk.world.finish()
    assert set(desk.states().values()) == {"success"}
    with pytest.raises(ConflictException, match="is success already"):
        desk.tasks.patch_task_instance("steps", "first", "work.check", body)


def test_marks_reach_relatives_and_other_runs(desk: Desk) -> None:
    body = airflow.PatchTaskInstanceBody(
        new_state=TO.SKIPPED, include_downstream=True, include_future=True
    )

    done = desk.tasks.patch_task_instance("steps", "second", "work.load", body)

    assert [(ti.dag_run_id, ti.task_id) for ti in done.task_instances] == [
        (run_id, task_id) for run_id in ("second", "third") for task_id in ("work.load", "report")
    ]
    assert desk.states() == BROKEN


def test_s23_a_group_is_marked_as_a_unit(desk: Desk) -> None:
    body = airflow.PatchTaskInstanceBody(new_state=TO.SUCCESS)

    shown = desk.tasks.patch_task_group_instances_dry_run("steps", "first", "work", body)
    assert [ti.task_id for ti in shown.task_instances] == ["work.check", "work.load"]
    desk.tasks.patch_task_group_instances("steps", "first", "work", body)

    assert desk.states() == {
        "extract": "success",
        "work.check": "success",
        "work.load": "success",
        "report": None,
    }


def test_a_note_alone_and_what_a_patch_refuses(desk: Desk) -> None:
    noted = desk.tasks.patch_task_instance(
        "steps",
        "first",
        "extract",
        airflow.PatchTaskInstanceBody(note="fine"),
        update_mask=["note"],
    )
    assert [(ti.task_id, ti.state, ti.note) for ti in noted.task_instances] == [
        ("extract", TO.SUCCESS, "fine")
    ]
    path = "/dags/steps/dagRuns/first/taskInstances/extract"
    assert desk.http.patch(path, json={"note": None}).json()["task_instances"][0]["note"] is None
    refused = desk.http.patch(path, json={"new_state": "running"})
    assert refused.status_code == 422
    masked = desk.http.patch(path, params={"update_mask": "state"}, json={"note": "x"})
    assert (masked.status_code, masked.json()["detail"]) == (
        422,
        "update_mask names 'state'; new_state and note can be changed; did you mean 'new_state'?",
    )
    desk.world.trigger("steps", run_id="later", run_after=datetime(2090, 1, 1, tzinfo=UTC))
    body = airflow.PatchTaskInstanceBody(new_state=TO.SUCCESS)
    with pytest.raises(NotFoundException, match="made when the run starts"):
        desk.tasks.patch_task_instance("steps", "later", "extract", body)
    with pytest.raises(NotFoundException, match="did you mean 'extract'"):
        desk.tasks.patch_task_instance("steps", "first", "extrct", body)


def test_a_run_is_cleared_as_a_whole_or_where_it_failed(desk: Desk) -> None:
    path = "/dags/steps/dagRuns/first/clear"
    preview = desk.http.post(path, json={}).json()
    assert ([ti["task_id"] for ti in preview["task_instances"]], preview["total_entries"]) == (
        list(BROKEN),
        4,
    )
    assert desk.states() == BROKEN

    body = airflow.DAGRunClearBody(dry_run=False, only_failed=True, note="again")
    run = desk.runs.clear_dag_run("steps", "first", body).actual_instance
    assert isinstance(run, airflow.DAGRunResponse)
    assert (run.state, run.note) == (airflow.DagRunState.QUEUED, "again")
    desk.world.finish()
    assert desk.run().state is airflow.DagRunState.SUCCESS
    assert desk.tasks.get_task_instance("steps", "first", "extract").try_number == 1

    desk.runs.clear_dag_run("steps", "first", airflow.DAGRunClearBody(dry_run=False))
    desk.world.finish()
    assert desk.tasks.get_task_instance("steps", "first", "extract").try_number == 2
    assert desk.http.post(path, json={"only_new": True, "only_failed": True}).status_code == 422


def test_only_new_tasks_of_a_later_version(desk: Desk) -> None:
    newer = a_dag(
        *STEPS.tasks,
        a_task("archive", "report", display_name="Keep it"),
        dag_id="steps",
        groups=STEPS.groups,
    )
    desk.world.add(newer, source="# newer\n")

    path = "/dags/steps/dagRuns/third/clear"
    preview = desk.http.post(path, json={"only_new": True}).json()
    assert preview["task_instances"] == [{"task_id": "archive", "task_display_name": "Keep it"}]
    body = airflow.DAGRunClearBody(dry_run=False, only_new=True)
    desk.runs.clear_dag_run("steps", "third", body)
    desk.world.finish()

    assert desk.states("third")["archive"] == "success"
    assert desk.tasks.get_task_instance("steps", "third", "report").try_number == 1
    assert [one.version_number for one in desk.run("third").dag_versions] == [2]
    latest = airflow.ClearTaskInstancesBody(
        dag_run_id="first", dry_run=False, run_on_latest_version=True
    )
    desk.tasks.post_clear_task_instances("steps", latest)
    assert desk.states()["archive"] is None


def test_a_run_is_marked_queued_and_noted(desk: Desk) -> None:
    def patch(**fields: Any) -> airflow.DAGRunResponse:
        return desk.runs.patch_dag_run("steps", "first", airflow.DAGRunPatchBody(**fields))

    assert patch(note="by hand").note == "by hand"
    succeeded = patch(state=airflow.DagRunMutableStates.SUCCESS)
    assert (succeeded.state, succeeded.note) == (airflow.DagRunState.SUCCESS, "by hand")
    assert set(desk.states().values()) == {"success"}
    assert patch(state=airflow.DagRunMutableStates.FAILED).state is airflow.DagRunState.FAILED
    assert patch(state=airflow.DagRunMutableStates.QUEUED).state is airflow.DagRunState.QUEUED
    desk.world.schedule()
    assert desk.run().state is airflow.DagRunState.SUCCESS

    desk.world.trigger("steps", run_id="now")
    desk.world.schedule()
    body = airflow.DAGRunPatchBody(state=airflow.DagRunMutableStates.QUEUED)
    with pytest.raises(ConflictException, match="'now' of DAG 'steps' is running"):
        desk.runs.patch_dag_run("steps", "now", body)
    refused = desk.http.patch("/dags/steps/dagRuns/first", json={"state": "running"})
    assert refused.status_code == 422
