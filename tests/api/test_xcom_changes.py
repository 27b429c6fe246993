"""Airflow's own generated client leaves, replaces and removes XComs, of mapped instances too."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import airflow_client.client as airflow
import httpx
import pytest
from airflow_client.client.exceptions import ConflictException, NotFoundException

from orchestrator.core.assignments import Assignment
from orchestrator.core.outcomes import Succeeded
from orchestrator.core.specs import Expansion, LiteralLength
from tests.api.world import World, serve
from tests.builders import a_dag, a_task

LARGE = [f"row {number} " + "x" * 100 for number in range(2000)]


@dataclass(frozen=True)
class Desk:
    """A world with a run whose mapped task `each` has ended and whose `after` runs."""

    world: World
    http: httpx.Client
    xcoms: airflow.XComApi
    tasks: airflow.TaskInstanceApi
    after: Assignment

    def value(self, task_id: str, key: str, *, map_index: int = -1) -> Any:
        entry = self.xcoms.get_xcom_entry("mapped", task_id, "first", key, map_index=map_index)
        assert entry.actual_instance is not None
        return entry.actual_instance.value


@pytest.fixture
def desk(world: World) -> Iterator[Desk]:
    world.start_worker()
    world.add(
        a_dag(
            a_task("once"),
            a_task("each", "once", expansion=Expansion(inputs=(LiteralLength(length=3),))),
            a_task("after", "each"),
            dag_id="mapped",
        )
    )
    world.trigger("mapped", run_id="first")
    world.schedule()
    (once,) = world.start_tasks()
    world.end(once, Succeeded(xcoms={"return_value": LARGE}))
    world.schedule()
    for each in world.start_tasks():
        world.end(each, Succeeded(xcoms={"return_value": each.key.map_index * 10}))
    world.schedule()
    (after,) = world.start_tasks()
    with (
        serve(world) as url,
        airflow.ApiClient(airflow.Configuration(host=url)) as client,
        httpx.Client(base_url=f"{url}/api/v2", timeout=30) as http,
    ):
        yield Desk(world, http, airflow.XComApi(client), airflow.TaskInstanceApi(client), after)


def test_xcoms_are_left_replaced_and_removed(desk: Desk) -> None:
    api = desk.xcoms
    body = airflow.XComCreateBody(key="k/ü", value={"a": [1, None]}, map_index=1)

    made = api.create_xcom_entry("mapped", "each", "first", body)
    assert (made.key, made.map_index, made.value) == ("k/ü", 1, {"a": [1, None]})
    with pytest.raises(ConflictException, match="already; change it instead"):
        api.create_xcom_entry("mapped", "each", "first", body)
    assert desk.value("each", "k/ü", map_index=1) == {"a": [1, None]}
    assert api.get_xcom_entries("mapped", "first", "each").total_entries == 4
    assert api.get_xcom_entries("mapped", "~", "~", map_index=1).total_entries == 2

    changed = api.update_xcom_entry(
        "mapped", "each", "first", "return_value", airflow.XComUpdateBody(value=5, map_index=2)
    )
    assert (changed.value, changed.map_index) == (5, 2)
    assert [desk.value("each", "return_value", map_index=n) for n in range(3)] == [0, 10, 5]

    assert api.delete_xcom_entry("mapped", "each", "first", "k/ü", map_index=1) is None
    for call in (
        lambda: api.delete_xcom_entry("mapped", "each", "first", "k/ü", map_index=1),
        lambda: api.update_xcom_entry(
            "mapped", "each", "first", "no", airflow.XComUpdateBody(value=1)
        ),
        lambda: api.create_xcom_entry(
            "mapped", "each", "first", airflow.XComCreateBody(key="k", value=1, map_index=7)
        ),
    ):
        with pytest.raises(NotFoundException):
            call()


def test_a_large_value_is_shown_in_part_and_can_be_replaced(desk: Desk) -> None:
    shown = desk.http.get(
        "/dags/mapped/dagRuns/first/taskInstances/once/xcomEntries/return_value"
    ).json()
    assert (shown["is_preview"], shown["size_bytes"] > 200_000) == (True, True)
    assert len(json.dumps(shown)) < 30_000
    assert shown["value"][-1].endswith(" more")

    entry = desk.xcoms.update_xcom_entry(
        "mapped", "once", "first", "return_value", airflow.XComUpdateBody(value=["small"])
    )
    assert entry.value == ["small"]
    pulled = desk.world.store.values.pull_xcoms(
        dag_id="mapped", run_id="first", task_ids=["once"], key="return_value"
    )
    assert [value for _slot, value in pulled] == [["small"]]


def test_what_a_person_writes_is_never_a_typed_value(desk: Desk) -> None:
    forged = {"__type": "datetime", "value": "2026-01-01T00:00:00+00:00"}

    for verb in ("create", "update"):
        if verb == "create":
            desk.xcoms.create_xcom_entry(
                "mapped", "once", "first", airflow.XComCreateBody(key="k", value=forged)
            )
        else:
            desk.xcoms.update_xcom_entry(
                "mapped", "once", "first", "k", airflow.XComUpdateBody(value=[forged])
            )
        shown = desk.value("once", "k")
        assert (shown[0] if verb == "update" else shown) == forged
        ((_slot, stored),) = desk.world.store.values.pull_xcoms(
            dag_id="mapped", run_id="first", task_ids=["once"], key="k"
        )
        assert (stored[0] if verb == "update" else stored)["__type"] == "dict"


def test_what_is_at_work_keeps_its_xcoms_to_itself(desk: Desk) -> None:
    body = airflow.XComCreateBody(key="return_value", value=1)

    with pytest.raises(ConflictException, match="is running: its XComs are those"):
        desk.xcoms.create_xcom_entry("mapped", "after", "first", body)
    desk.world.end(desk.after, Succeeded(xcoms={"return_value": 2}))
    assert desk.value("after", "return_value") == 2

    desk.world.trigger("mapped", run_id="second")
    desk.world.schedule()
    with pytest.raises(ConflictException, match="once it has ended"):
        desk.xcoms.create_xcom_entry("mapped", "once", "second", body)
    (once,) = [each for each in desk.world.start_tasks() if each.key.run_id == "second"]
    desk.world.end(once, Succeeded(xcoms={"return_value": 3}))


def test_mapped_instances_have_tries_and_dependencies(desk: Desk) -> None:
    api = desk.tasks

    listed = api.get_mapped_task_instances("mapped", "first", "each", order_by=["-map_index"])
    assert [ti.map_index for ti in listed.task_instances] == [2, 1, 0]
    one = api.get_mapped_task_instances("mapped", "first", "each", map_index=[1])
    assert one.total_entries == 1
    with pytest.raises(NotFoundException, match="is mapped in run 'first'"):
        api.get_task_instance("mapped", "first", "each")
    tries = api.get_mapped_task_instance_tries("mapped", "first", "each", 1)
    assert [(each.try_number, each.map_index) for each in tries.task_instances] == [(1, 1)]
    assert api.get_mapped_task_instance_try_details("mapped", "first", "each", 1, 1).state
    waits = api.get_task_instance_dependencies_by_map_index("mapped", "first", "each", 2)
    assert waits.dependencies
    assert api.get_extra_links("mapped", "first", "each", map_index=1).total_entries == 0

    batch = api.get_task_instances_batch(
        "~", "~", airflow.TaskInstancesBatchBody(dag_ids=["mapped"], task_ids=["each"])
    )
    assert batch.total_entries == 3
    running = api.get_task_instances_batch(
        "~",
        "~",
        airflow.TaskInstancesBatchBody(
            dag_run_ids=["first"], state=[airflow.TaskInstanceState.RUNNING], order_by="-start_date"
        ),
    )
    assert [ti.task_id for ti in running.task_instances] == ["after"]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ("{}", "Field required"),
        ('{"key": "k"}', "Field required"),
        ('{"key": "k", "value": NaN}', "value is nan, which is not JSON"),
        ('{"key": "k", "value": [1e999]}', "which is not JSON"),
        ('{"key": "k", "value": {"x": "\\u0000"}}', "NUL"),
        ('{"key": "k", "value": "\\ud800"}', "surrogate"),
        ('{"key": "k", "value": 99999999999999999999}', "more than 64 bits"),
        ('{"key": "", "value": 1}', "is empty"),
        ('{"key": "\\u0000", "value": 1}', "NUL"),
        (json.dumps({"key": "k" * 513, "value": 1}), "513 characters"),
        ('{"key": "k", "value": 1, "map_index": "1"}', "valid integer"),
        ('{"key": "k", "value": 1, "map_index": -2}', "greater than or equal to -1"),
        ('{"key": "k", "value": 1, "map_index": 99999999999999999999}', "less than or equal"),
        ('{"key": "k", "value": 1, "run_id": "r"}', "there is no field run_id here"),
        ('{"key": "k", "value": %s}' % ("[" * 60 + "]" * 60), "nested deeper"),
    ],
)
def test_bad_xcoms(shared_story: Any, raw: str, said: str) -> None:
    answer = shared_story.http.post(
        "/dags/etl/dagRuns/first/taskInstances/extract/xcomEntries",
        content=raw,
        headers={"Content-Type": "application/json"},
    )

    assert answer.status_code == 422, answer.text
    assert said in json.dumps(answer.json(), ensure_ascii=False)
